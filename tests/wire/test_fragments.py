"""Reassembly: whole messages out of interleaved pieces, within bounds."""

from __future__ import annotations

from random import Random
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorcluster.errors import RemoteProtocolError
from actorcluster.wire._generated import (
    FLAG_FRAG,
    FLAG_MORE,
    AbortCode,
    ErrorCode,
    HandleKind,
    Kind,
)
from actorcluster.wire.fragments import MINIMUM_SIZE, Partial, Reassembly
from actorcluster.wire.frames import Frame

ENVELOPE = [None]


def fragment(
    piece: Any, *, more: bool, channel: int = 2, envelope: Any = ENVELOPE, nfds: int = 0
) -> Frame:
    """A decoded fragment."""
    flags = FLAG_FRAG | (FLAG_MORE if more else 0)
    length = len(msgpack.packb(envelope)) + len(msgpack.packb(piece))
    return Frame(Kind.TELL, flags, nfds, channel, length, envelope, piece)


def feed(reassembly: Reassembly, frame: Frame) -> Partial | None:
    """The message that this fragment completes."""
    partial = reassembly.get(frame.channel) or reassembly.begin(frame, [])
    return partial if reassembly.add(partial, frame) else None


@pytest.mark.parametrize("size", [0, 255, 256, 65535, 65536, 300_000])
def test_the_length_is_that_of_the_message_in_one_frame(size: int) -> None:
    reassembly = Reassembly(max_message=1 << 20, max_partial=1 << 20)
    assert feed(reassembly, fragment(bytes(size), more=True)) is None
    message = feed(reassembly, fragment(bytes(size), more=False, envelope=None))
    assert message is not None
    assert bytes(2 * size) == message.data
    assert len(msgpack.packb(ENVELOPE)) + 2 * size == message.length
    assert 0 == reassembly.held == len(reassembly)


def test_small_pieces_are_put_together_as_they_come() -> None:
    """Each by itself would take many times its size."""
    reassembly = Reassembly(max_message=1 << 20, max_partial=1 << 20)
    sizes = [1] * 20 + [20_000, 20_000] + [2] * 20
    for size in sizes:
        assert feed(reassembly, fragment(bytes([size % 251]) * size, more=True)) is None
    partial = reassembly.get(2)
    assert partial is not None
    assert [20, 20_000, 20_000, 40] == list(map(len, partial.pieces))
    assert b"".join(bytes([size % 251]) * size for size in sizes) == partial.data


def test_a_long_message_is_put_together_as_it_comes() -> None:
    """Its pieces and what they make would be there twice."""
    reassembly = Reassembly(max_message=1 << 24, max_partial=1 << 24)
    for number in range(20):
        feed(reassembly, fragment(bytes([number]) * (1 << 18), more=True))
    partial = reassembly.get(2)
    assert partial is not None
    assert [20 << 18] == list(map(len, partial.pieces))
    assert b"".join(bytes([number]) * (1 << 18) for number in range(20)) == partial.data


sizes_of_pieces = st.lists(st.sampled_from([0, 1, 300, 20_000, 70_000]), min_size=1, max_size=4)


@given(st.lists(st.tuples(st.integers(1, 3), sizes_of_pieces), max_size=6), st.integers(0, 2**32))
def test_messages_are_put_together_where_others_were(
    messages: list[tuple[int, list[int]]], seed: int
) -> None:
    """Whatever their sizes; several at once; out of a buffer that is read over."""
    random = Random(seed)  # one that Hypothesis looks into takes forty times as long
    reassembly = Reassembly(max_message=1 << 20, max_partial=1 << 20)
    reassembly.keep(Partial(Kind.TELL, 9, None, 1, 0, [], size=random.choice([0, 1000, 100_000])))
    lanes: dict[int, list[list[int]]] = {}
    for channel, sizes in messages:
        lanes.setdefault(channel, []).append(sizes)
    sent: dict[int, bytes] = dict.fromkeys(lanes, b"")
    while lanes:
        channel = random.choice(sorted(lanes))
        sizes = lanes[channel][0]
        piece = random.randbytes(sizes.pop(0))
        buffer = bytearray(piece)
        sent[channel] += piece
        partial = feed(reassembly, fragment(memoryview(buffer), more=bool(sizes), channel=channel))
        buffer[:] = bytes(len(buffer))
        assert (partial is None) == bool(sizes)
        if partial is not None:
            assert sent[channel] == partial.data
            reassembly.keep(partial)
            sent[channel] = b""
            del lanes[channel][0]
        lanes = {channel: waiting for channel, waiting in lanes.items() if waiting}


def test_little_is_kept_for_the_next_message() -> None:
    reassembly = Reassembly(max_message=1 << 24, max_partial=1 << 24)
    for size in (3 << 20, 1 << 20, 1 << 19):
        message = feed(reassembly, fragment(bytes(size), more=False))
        assert message is not None
        reassembly.keep(message)
    assert len(reassembly._spare or b"") == 1 << 20
    reassembly.shrink()
    assert reassembly._spare is None


def test_one_fragment_may_be_all() -> None:
    message = feed(Reassembly(100, 65536), fragment(b"abc", more=False))
    assert message is not None
    assert b"abc" == message.data
    assert message.fault is None


def test_envelope_and_descriptors_come_with_the_first() -> None:
    reassembly = Reassembly(max_message=100, max_partial=65536)
    frame = fragment(b"a", more=True, envelope=["name"], nfds=2)
    partial = reassembly.begin(frame, [7, 8])
    assert not reassembly.add(partial, frame)
    assert (["name"], 2, [7, 8]) == (partial.envelope, partial.nfds, partial.fds)
    assert partial is reassembly.get(2)


def test_a_message_that_grows_too_large_is_counted_and_dropped() -> None:
    reassembly = Reassembly(max_message=10, max_partial=65536)
    feed(reassembly, fragment(b"12345", more=True))
    assert 5 == reassembly.held
    feed(reassembly, fragment(b"123456", more=True))
    assert 0 == reassembly.held
    message = feed(reassembly, fragment(b"x" * 100, more=False))
    assert message is not None
    assert (ErrorCode.TOO_LARGE, "over max_message (10)") == message.fault
    assert len(msgpack.packb(ENVELOPE)) + 111 == message.length
    assert b"" == message.data


def test_all_unfinished_messages_share_one_bound() -> None:
    reassembly = Reassembly(max_message=50_000, max_partial=65_536)
    feed(reassembly, fragment(bytes(40_000), more=True, channel=2))
    feed(reassembly, fragment(bytes(40_000), more=True, channel=4))
    assert 40_000 == reassembly.held
    good = feed(reassembly, fragment(b"", more=False, channel=2))
    bad = feed(reassembly, fragment(b"", more=False, channel=4))
    assert good is not None
    assert bad is not None
    assert good.fault is None
    assert (ErrorCode.TOO_LARGE, "over max_partial (65536)") == bad.fault


def test_large_envelopes_count() -> None:
    reassembly = Reassembly(max_message=50_000, max_partial=65_536)
    feed(reassembly, fragment(b"", more=True, envelope=["x" * 60_000], channel=2))
    assert 60_004 - MINIMUM_SIZE == reassembly.held
    feed(reassembly, fragment(bytes(10_000), more=True, channel=4))
    partial = reassembly.get(4)
    assert partial is not None
    assert partial.fault is not None
    feed(reassembly, fragment(b"", more=False, channel=2))
    assert 0 == reassembly.held


def test_so_many_may_be_open_and_not_one_more() -> None:
    reassembly = Reassembly(max_message=50_000, max_partial=65_536)
    for number in range(65_536 // MINIMUM_SIZE):
        feed(reassembly, fragment(b"", more=True, channel=2 + 2 * number))
    with pytest.raises(RemoteProtocolError) as caught:
        feed(reassembly, fragment(b"", more=True, channel=100_000))
    assert ("AWP-LG-8", AbortCode.LIMIT_EXCEEDED) == (caught.value.requirement, caught.value.code)


def test_a_piece_that_is_no_bin_spoils_its_message_only() -> None:
    reassembly = Reassembly(max_message=100, max_partial=65536)
    feed(reassembly, fragment(b"12345", more=True))
    broken = fragment(None, more=True)
    broken.error = "torn"
    feed(reassembly, broken)
    message = feed(reassembly, fragment(b"6", more=False))
    assert message is not None
    assert (ErrorCode.BAD_PAYLOAD, "torn") == message.fault
    first = feed(reassembly, fragment("text", more=False))
    assert first is not None
    assert (ErrorCode.BAD_PAYLOAD, "a fragment must be bin") == first.fault


def test_the_first_fault_counts() -> None:
    reassembly = Reassembly(max_message=10, max_partial=65536)
    frame = fragment(b"1", more=True)
    partial = reassembly.begin(frame, [])
    reassembly.spoil(partial, ErrorCode.REFUSED, "stopping")
    reassembly.add(partial, frame)
    reassembly.add(partial, fragment(bytes(100), more=True))
    assert (ErrorCode.REFUSED, "stopping") == partial.fault


def test_what_is_dropped_frees_its_memory() -> None:
    reassembly = Reassembly(max_message=100, max_partial=65536)
    feed(reassembly, fragment(b"12345", more=True, channel=2))
    feed(reassembly, fragment(b"123", more=True, channel=4))
    partial = reassembly.get(2)
    assert partial is not None
    reassembly.drop(partial)
    assert 3 == reassembly.held
    assert [4] == [rest.channel for rest in reassembly.drop_all()]
    assert 0 == reassembly.held == len(reassembly)


@given(
    st.lists(st.binary(max_size=60), min_size=1, max_size=6),
    st.integers(1, 40),
    st.randoms(use_true_random=False),
)
def test_interleaved_messages_come_out_as_they_went_in(
    bodies: list[bytes], size: int, dice: Any
) -> None:
    reassembly = Reassembly(max_message=100, max_partial=65536)
    rest = {2 + 2 * index: body for index, body in enumerate(bodies)}
    whole: dict[int, bytes] = {}
    while rest:
        channel = dice.choice(list(rest))
        piece, rest[channel] = rest[channel][:size], rest[channel][size:]
        more = bool(rest[channel])
        message = feed(reassembly, fragment(piece, more=more, channel=channel))
        if not more:
            del rest[channel]
            assert message is not None
            whole[channel] = bytes(message.data)
    assert bodies == [whole[channel] for channel in sorted(whole)]
    assert 0 == reassembly.held


@pytest.mark.parametrize(
    ("envelope", "most"),
    [(ENVELOPE, 13_107), ([None, [[]] * 200], 621), ([{"a": {"b": 1}}], 9_341), (None, 14_563)],
)
def test_envelopes_weigh_what_they_take_in_memory(envelope: Any, most: int) -> None:
    """A byte of an envelope may become an object of 64, however short it is."""
    reassembly = Reassembly(max_message=1 << 24, max_partial=1 << 24)
    for number in range(most):
        feed(reassembly, fragment(b"", more=True, channel=number, envelope=envelope))
    with pytest.raises(RemoteProtocolError) as caught:
        feed(reassembly, fragment(b"", more=True, channel=most, envelope=envelope))
    assert ("AWP-LG-8", AbortCode.LIMIT_EXCEEDED) == (caught.value.requirement, caught.value.code)
    for number in range(most):
        feed(reassembly, fragment(b"", more=False, channel=number))
    assert 0 == reassembly.held == reassembly._weight


def test_a_head_makes_no_room_for_more_objects() -> None:
    """Heads of handles count as pieces do; what stands beside them weighs what it weighs."""
    entry = [int(HandleKind.TCP_SOCKET), {"head": bytes(500_000)}]
    reassembly = Reassembly(max_message=1 << 24, max_partial=1 << 24)
    for count in (0, 100_000):
        fine: list[Any] = [None, None, [entry], {"objects": [[]] * count}]
        feed(reassembly, fragment(b"", more=True, channel=count, envelope=fine, nfds=1))
    envelope: list[Any] = [None, None, [entry], {"objects": [[]] * 150_000}]
    with pytest.raises(RemoteProtocolError) as caught:
        Reassembly(1 << 24, 1 << 24).begin(fragment(b"", more=True, envelope=envelope, nfds=1), [])
    assert "AWP-LG-8" == caught.value.requirement
