"""The stream vectors of protocol/vectors against our own connection, cut in every way.

Runs in: both
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs
import pytest

from actorcluster.errors import RemoteProtocolError
from actorcluster.wire._generated import FLAG_MORE
from actorcluster.wire.frames import Frame, FrameReader
from actorcluster.wire.values import Values

from .diagnostic import same
from .vector_runner import Outcome, Stage
from .vectors import (
    STREAMS,
    Read,
    Vector,
    as_given,
    bytewise,
    each,
    ends_inside_a_frame,
    load,
    merged,
    reads_of,
    split_frames,
)

PING = bytes.fromhex("95ce00000002ce06000000ce00000000c00b")
PONG = {"kind": "PONG", "channel": 0, "body": "c00b"}


def play(vector: Vector, reads: Iterable[Read]) -> Outcome:
    stage = Stage(vector)
    for read in reads:
        stage.receive(read)
    if "eof" in vector:
        stage.receive_eof()
    return stage.outcome()


@pytest.mark.parametrize("cut", [as_given, bytewise, merged])
@each(STREAMS)
def test_stream(vector: Vector, cut: Callable[[list[Read]], Iterator[Read]]) -> None:
    if cut is as_given or "exact" not in vector:
        check(vector, play(vector, cut(reads_of(vector))), answers_of(vector))


@each(vector for vector in STREAMS if "eof" not in vector)
def test_stream_with_more_behind_it(vector: Vector) -> None:
    reads = reads_of(vector)
    before = play(vector, reads)
    if before.state in ("HANDSHAKE", "STARTING") and vector["prelude"].startswith("primary"):
        return  # the worker may not say PING here
    if before.abort is not None and ends_inside_a_frame(reads):
        return  # it would be the rest of that frame
    reads[-1] = attrs.evolve(reads[-1], data=reads[-1].data + PING)
    answers = answers_of(vector)
    check(vector, play(vector, reads), answers if before.state == "CLOSED" else [*answers, PONG])


def answers_of(vector: Vector) -> list[dict[str, Any]]:
    return [
        {field: answer[field] for field in answer if field != "repeat"}
        for answer in vector.get("answers", ())
        for _ in range(answer.get("repeat", 1))
    ]


def check(vector: Vector, outcome: Outcome, answers: list[dict[str, Any]]) -> None:
    abort = vector.get("abort")
    assert (abort and abort["code"]) == (outcome.abort and outcome.abort[0]), outcome
    if outcome.abort is not None:
        assert outcome.abort[1] in vector["abort"]["requirement"]
    check_events(vector, outcome.events)
    left = list(outcome.answers)
    for answer in answers:
        match = next((found for found in left if answers_match(answer, found)), None)
        assert match is not None, (answer, left)
        left.remove(match)
    allowed = vector.get("may_answer", ())
    assert all(any(answers_match(may, found) for may in allowed) for found in left), left
    assert vector.get("handle_ack") == outcome.handle_ack
    assert sorted(vector.get("discarded", [])) == outcome.discarded
    assert vector.get("eof") == outcome.eof
    assert vector.get("state", outcome.state) == outcome.state


def check_events(vector: Vector, found: list[dict[str, Any]]) -> None:
    expected = [e for e in vector["expect"] for _ in range(e.get("repeat", 1))]
    if not any(e["event"] == "Acknowledged" for e in expected):
        # REPLY, ERROR and GOODBYE acknowledge too; whether that is an event of its own is free.
        found = [event for event in found if event["event"] != "Acknowledged"]
    assert [e["event"] for e in expected] == [e["event"] for e in found], found
    for want, event in zip(expected, found, strict=True):
        for field in want.keys() - {"event", "repeat"}:
            partial = field == "error"
            assert contains(want[field], event[field], partial=partial), (field, event)


def contains(want: Any, found: Any, *, partial: bool) -> bool:
    if partial and isinstance(want, dict) and isinstance(found, dict):
        return want.keys() <= found.keys() and all(same(want[key], found[key]) for key in want)
    return same(want, found)


def answers_match(want: dict[str, Any], found: dict[str, Any]) -> bool:
    """Trailing nils of envelopes are no matter, nor are texts in error maps."""
    for field, value in want.items():
        if field == "envelope":
            if not same(trimmed(value), trimmed(found[field])):
                return False
        elif not contains(value, found[field], partial=True):
            return False
    return True


def trimmed(envelope: Any) -> list[Any]:
    elements = list(envelope or [])
    while elements and elements[-1] is None:
        elements.pop()
    return elements


@each(STREAMS)
def test_reader_does_not_care_how_a_stream_is_split(vector: Vector) -> None:
    data = b"".join(read.data for read in reads_of(vector))
    assert read_all([data]) == read_all(data[at : at + 1] for at in range(len(data)))
    by_three = (data[at : at + 3] for at in range(0, len(data), 3))
    assert read_all([data]) == read_all(by_three)


def read_all(pieces: Iterable[bytes]) -> tuple[list[Frame], tuple[str, int] | None, int]:
    reader = FrameReader(Values(), max_frame=16384)
    frames: list[Frame] = []
    for piece in pieces:
        try:
            frames += reader.feed(piece)
        except RemoteProtocolError as exc:
            return frames + reader.take_frames(), (exc.requirement, exc.code), 0
    return frames, None, reader.buffered()


def test_fragments_in_vectors_end() -> None:
    """A vector that forgets its last fragment would prove less than it says."""
    for vector in load("fragments"):
        data = b"".join(read.data for read in reads_of(vector))
        flags = [frame["flags"] for frame in split_frames(data)]
        assert any(not flag & FLAG_MORE for flag in flags)
