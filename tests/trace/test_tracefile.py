"""The format by itself: what was written is read; what is cut is read up to there."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorcluster.trace.tracefile import (
    OPENING,
    BadTrace,
    Begin,
    Broken,
    Closed,
    End,
    Exit,
    Frame,
    Lane,
    Other,
    Record,
    Shut,
    Spawn,
    Trace,
    encode,
    frame_bytes,
    is_trace,
    read_trace,
)

HEADER = bytes.fromhex("95ce00000003ce06000000ce00000000")
BEGIN = Begin(time=0, part=2, began=1, primary=7, bodies=True, size=9, lives=((1, 70, "ä"),))
SPAWN = Spawn(
    time=1, worker=1, pid=70, name="ä", method="exec", protocol="awp", channel="fd", lane=False
)
FRAME = Frame(
    time=2, worker=1, direction=1, header=HEADER, envelope=b"\xc0", payload=None, payload_size=2,
    fds=((5, 1),), masked=("data",),
)  # fmt: skip
EVERY: list[Record] = [
    BEGIN,
    SPAWN,
    FRAME,
    Shut(time=3, worker=1, direction=0),
    Broken(time=4, worker=1, direction=1, first=b"x" * 16),
    Closed(time=5, worker=1, unsent=1, unfinished=2, unclaimed=((9, 8),)),
    Exit(time=6, worker=1, pid=70, code=None, signal="SIGKILL", reason="signal"),
    Exit(time=6, worker=2, pid=None, code=None, signal=None, reason="lost"),
    Lane(time=7, worker=1, direction=0, what="handle", number=3, fds=((5, 1),)),
    Lane(time=7, worker=1, direction=1, what="ack", number=3),
    Other(time=7, type=99, fields=(1, "x")),
    End(time=8, why="closed"),
]

numbers = st.integers(0, 2**40)
frames = st.builds(
    Frame, time=numbers, worker=numbers, direction=st.integers(0, 1), header=st.just(HEADER),
    envelope=st.none() | st.binary(max_size=9), payload=st.none() | st.binary(max_size=40),
    payload_size=numbers, fds=st.lists(st.tuples(numbers, numbers), max_size=2).map(tuple),
    masked=st.lists(st.text(max_size=3), max_size=2).map(tuple),
)  # fmt: skip


def file_of(records: list[Record]) -> bytes:
    return OPENING + b"".join(map(encode, records))


def test_every_record_is_read_as_it_was_written() -> None:
    trace = read_trace(file_of(EVERY))
    assert EVERY == trace.records
    assert (0, "", True) == (trace.left, trace.fault, trace.has_end)


@pytest.mark.parametrize(
    ("workers", "text"),
    [
        ([], "there is none"),
        ([7], "there is 7"),
        ([2, 1], "there are 1-2"),
        ([9, 1, 2, 3, 3, 5, 10], "there are 1-3, 5, 9-10"),
    ],
)
def test_whose_records_there_are(workers: list[int], text: str) -> None:
    shuts: list[Record] = [Shut(time=3, worker=worker, direction=0) for worker in workers]
    assert text == Trace(records=[*shuts, EVERY[-1]]).who_is_there()
    assert 1 in Trace(records=[BEGIN, *shuts]).workers  # it only lived


@given(st.lists(frames | st.sampled_from(EVERY), max_size=5))
def test_any_records_are(records: list[Record]) -> None:
    assert records == read_trace(file_of(records)).records


@given(st.lists(frames | st.sampled_from(EVERY), max_size=3), st.data())
def test_a_file_cut_at_any_byte_is_read_up_to_there(
    records: list[Record], data: st.DataObject
) -> None:
    whole = file_of(records)
    at = data.draw(st.integers(0, len(whole)))
    trace = read_trace(whole[:at])
    ends = [len(file_of(records[:count])) for count in range(len(records) + 1)]
    there = sum(end <= at for end in ends[1:])
    assert records[:there] == trace.records
    assert "" == trace.fault
    assert at - (ends[there] if at >= len(OPENING) else 0) == trace.left


def test_each_prefix_of_a_file() -> None:
    whole = file_of(EVERY)
    traces = [read_trace(whole[:at]) for at in range(len(whole) + 1)]
    assert {""} == {trace.fault for trace in traces}
    counts = [len(trace.records) for trace in traces]
    assert sorted(counts) == counts
    assert list(range(len(EVERY) + 1)) == sorted({*counts})


def test_a_wrong_byte_is_noticed_and_what_is_before_it_is_read() -> None:
    before = file_of([BEGIN])
    whole = file_of([BEGIN, SPAWN, FRAME])
    for at in range(len(before) + 4, len(file_of([BEGIN, SPAWN]))):
        bad = bytearray(whole)
        bad[at] ^= 1
        trace = read_trace(bytes(bad))
        assert [BEGIN] == trace.records
        assert "the checksum of a record is wrong" == trace.fault


def test_a_length_that_no_record_has() -> None:
    trace = read_trace(OPENING + b"\xff" * 12)
    assert ([], "no record has 4294967295 bytes", 12) == (trace.records, trace.fault, trace.left)


@pytest.mark.parametrize(
    "fields",
    [(), (2,), (2, 0, 1), (2, "x", 1, 1, HEADER, None, None, 0), (2, 0, 1, 1, None, None, None, 0)],
)
def test_a_record_that_says_nothing(fields: tuple[object, ...]) -> None:
    data = frame_bytes(fields[1:]) if fields[:1] == (2,) else b"\0\0\0\1\x29\xe5\x5f\x65\x90"
    trace = read_trace(OPENING + data)
    assert [] == trace.records
    assert trace.fault


def test_what_a_later_version_adds_is_passed_over() -> None:
    body = (*msgpack.unpackb(encode(SPAWN)[8:]), "more", {"x": 1})
    longer = frame_bytes(())[:0] + _record(body)
    assert [SPAWN] == read_trace(OPENING[:9] + b"\7" + OPENING[10:] + longer).records


def _record(body: tuple[object, ...]) -> bytes:
    import zlib

    data = msgpack.packb(body)
    return len(data).to_bytes(4, "big") + zlib.crc32(data).to_bytes(4, "big") + bytes(data)


@pytest.mark.parametrize("opening", [b"AWP!", b"#!/bin/sh\n", b"AWPTRACE\2" + bytes(7)])
def test_what_is_none(opening: bytes) -> None:
    with pytest.raises(BadTrace):
        read_trace(opening)


def test_an_empty_file_may_become_one() -> None:
    assert is_trace(b"")
    assert is_trace(OPENING)
    assert not is_trace(b"AWX")
