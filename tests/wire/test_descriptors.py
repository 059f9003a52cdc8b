"""Descriptors are dealt out in order, and each leaves exactly once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorcluster.errors import RemoteProtocolError
from actorcluster.wire._generated import AbortCode
from actorcluster.wire.descriptors import DescriptorQueue


def test_groups_go_to_frames_first_in_first_out() -> None:
    queue = DescriptorQueue(max_fds=4)
    queue.add([1, 2], False)
    queue.add([3], False)
    assert 3 == len(queue)
    assert [1, 2] == queue.take(2)
    assert [3] == queue.take(1)
    assert not queue
    assert [] == queue.take_discarded()


@pytest.mark.parametrize(
    ("group", "truncated"), [([1], False), ([1, 2], True), ([], True), ([], False)]
)
def test_what_is_not_all_there_is_lost(group: list[int], truncated: bool) -> None:
    queue = DescriptorQueue(max_fds=4)
    queue.add(group, truncated)
    queue.add([8, 9], False)
    assert queue.take(2) is None
    assert group == queue.take_discarded()
    assert [8, 9] == queue.take(2)


def test_a_frame_without_any_group_has_lost_its_descriptors() -> None:
    assert DescriptorQueue(max_fds=4).take(1) is None


def test_more_than_a_frame_declares() -> None:
    queue = DescriptorQueue(max_fds=4)
    queue.add([1, 2], False)
    with pytest.raises(RemoteProtocolError, match="2 descriptors came") as caught:
        queue.take(1)
    assert ("AWP-FD-6", AbortCode.FD_VIOLATION) == (caught.value.requirement, caught.value.code)
    assert [1, 2] == queue.take_discarded()


def test_more_than_the_limit() -> None:
    queue = DescriptorQueue(max_fds=2)
    queue.add([1, 2, 3], False)
    with pytest.raises(RemoteProtocolError, match="the limit is 2"):
        queue.take(3)
    queue.discard_all()
    assert [1, 2, 3] == queue.take_discarded()


def test_more_than_frames_under_way_could_declare() -> None:
    queue = DescriptorQueue(max_fds=1)
    for fd in range(4):
        queue.add([fd], False)
        queue.check()
    queue.add([4], False)
    with pytest.raises(RemoteProtocolError, match="5 descriptors"):
        queue.check()


groups = st.tuples(st.integers(0, 5), st.booleans())


@given(st.lists(st.one_of(groups, st.integers(1, 5)), max_size=30))
def test_each_descriptor_leaves_once(steps: list[tuple[int, bool] | int]) -> None:
    queue = DescriptorQueue(max_fds=4)
    given_out: list[int] = []
    count = 0
    for step in steps:
        if isinstance(step, int):
            try:
                given_out += queue.take(step) or []
            except RemoteProtocolError:
                break
        else:
            size, truncated = step
            queue.add(range(count, count + size), truncated)
            count += size
    queue.discard_all()
    assert list(range(count)) == sorted(given_out + queue.take_discarded())
    assert 0 == len(queue)
