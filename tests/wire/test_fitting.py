"""How much is read at once: so much that few messages come in two reads."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from actorcluster.wire._generated import Kind
from actorcluster.wire.frames import FrameReader
from actorcluster.wire.runs import Frame, Run
from actorcluster.wire.values import Values
from tests.wire.talk import frame

MOST = 100_000
MAX_FRAME = 300_000


def bodies_of(frames: list[Frame]) -> list[Any]:
    return [body for run in frames for body in (run.bodies if isinstance(run, Run) else [run])]


def read_fitting(stream: bytes, most: int = MOST) -> tuple[list[Any], list[int], int]:
    """Read as one is told to: the bodies, what each read took, and how many ended in a frame."""
    reader = FrameReader(Values(), max_frame=MAX_FRAME, gather=True)
    bodies: list[Any] = []
    sizes: list[int] = []
    cut = start = 0
    while start < len(stream):
        size = reader.fitting(most)
        assert 0 < size <= most
        bodies += bodies_of(reader.feed(stream[start : start + size]))
        sizes.append(size)
        start += size
        cut += reader.buffered() > 0
    return bodies, sizes, cut


def told(bodies: list[bytes]) -> bytes:
    return b"".join(frame(Kind.TELL, [None], body) for body in bodies)


@given(st.lists(st.sampled_from([0, 10, 16_300, 20_000, 33_000, 99_970, 99_980, 250_000])))
def test_whatever_comes_is_read(sizes: list[int]) -> None:
    bodies = [bytes(size) for size in sizes]
    assert bodies == read_fitting(told(bodies))[0]


def test_long_messages_of_one_length_are_cut_once() -> None:
    bodies = [bytes(30_000)] * 40
    found, sizes, cut = read_fitting(told(bodies))
    assert bodies == found
    assert 1 == cut
    length = len(told([bytes(30_000)]))
    assert [MOST, 4 * length - MOST + 2 * length, 3 * length] == sizes[:3]


def test_short_messages_are_read_as_many_as_there_are() -> None:
    assert {MOST} == set(read_fitting(told([bytes(900)] * 1000))[1])


def test_when_short_ones_come_again_reads_are_full_again() -> None:
    sizes = read_fitting(told([bytes(30_000)] * 10 + [bytes(900)] * 1000))[1]
    assert [MOST] * 5 == sizes[-5:]


def test_a_frame_that_is_longer_than_a_read_takes_full_ones_to_its_end() -> None:
    data = told([bytes(250_000)] * 2)
    rest = len(data) // 2 - 2 * MOST
    assert [MOST, MOST, rest] * 2 == read_fitting(data)[1]
