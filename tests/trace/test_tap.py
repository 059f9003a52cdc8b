"""Frames are found in any pieces; what goes into a trace of them, and what never does."""

from __future__ import annotations

import itertools
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorcluster.conform.frames import frame, unpack_all
from actorcluster.trace.masks import shown
from actorcluster.trace.tap import Tap
from actorcluster.trace.tracefile import OPENING, Broken, Closed, Frame, Record, Shut, read_trace
from actorcluster.wire._generated import Kind

SECRET = "kept-from-everybody"


class Noted:
    """A tap, and what it has noted."""

    def __init__(self, *, bodies: bool = True, most: int = 1000) -> None:
        self.data = bytearray(OPENING)
        self.tap = Tap(3, self.data.extend, lambda: 5, bodies=bodies, most=most)

    @property
    def records(self) -> list[Record]:
        return read_trace(bytes(self.data)).records


FRAMES = [
    frame(Kind.HELLO, None, {"versions": [[1, 0]]}),
    frame(Kind.PING, body=b"\xc0\x07"),
    frame(Kind.TELL, [None], "x" * 300),
    frame(0xF0, body=b"", flags=0x80),
    frame(Kind.REPLY, None, 3, channel=7),
]


@given(st.lists(st.sampled_from(FRAMES), max_size=6), st.lists(st.integers(0, 2000), max_size=8))
def test_frames_are_found_in_any_pieces(said: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(said)
    noted = Noted()
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    for begin, end in itertools.pairwise(edges):
        noted.tap.pass_on(1, [memoryview(whole)[begin:end]])
    found = [one for one in noted.records if isinstance(one, Frame)]
    joined = b"".join(one.header + (one.envelope or b"") + (one.payload or b"") for one in found)
    assert (whole, len(said)) == (joined, len(found))
    assert {(5, 3, 1)} >= {(one.time, one.worker, one.direction) for one in found}


def test_what_is_longer_than_is_kept_has_its_length() -> None:
    noted = Noted(most=100)
    noted.tap.pass_on(0, [frame(Kind.TELL, ["name"], "x" * 300), FRAMES[4]])
    long, short = noted.records
    assert isinstance(long, Frame)
    assert isinstance(short, Frame)
    assert (msgpack.packb(["name"]), None, 303) == (long.envelope, long.payload, long.payload_size)
    assert b"\3" == short.payload


def test_descriptors_go_with_the_frames_that_declare_them() -> None:
    noted = Noted()
    noted.tap.pass_on(1, [FRAMES[0]], [[(9, 1)]])
    one = frame(Kind.TELL, [None, None, [[10, {}]]], None, nfds=1)
    noted.tap.pass_on(1, [one[:20]], [[(10, 10)]])
    noted.tap.pass_on(1, [one[20:] + one], [[(11, 4), (12, 4)], [(13, 5)]])
    noted.tap.close(4)
    *found, closed = noted.records
    assert [(), ((9, 1),), ((10, 10),)] == [r.fds for r in found if isinstance(r, Frame)]
    unclaimed = ((11, 4), (12, 4), (13, 5))
    assert Closed(time=5, worker=3, unsent=4, unfinished=0, unclaimed=unclaimed) == closed


def test_what_is_no_frame_is_not_in_it() -> None:
    noted = Noted()
    noted.tap.pass_on(1, [FRAMES[0] + b"Traceback: " + SECRET.encode()])
    noted.tap.pass_on(1, [SECRET.encode()])
    noted.tap.pass_on(0, [FRAMES[1]])
    _, broken, ping = noted.records
    assert Broken(time=5, worker=3, direction=1, first=b"Traceback: kept-") == broken
    assert isinstance(ping, Frame)


def test_an_unfinished_frame_is_counted() -> None:
    for size in range(len(FRAMES[2])):
        noted = Noted()
        noted.tap.pass_on(1, [FRAMES[2][:size]])
        noted.tap.shut(1)
        noted.tap.shut(1)
        noted.tap.close(0)
        shut, closed = noted.records
        assert Shut(time=5, worker=3, direction=1) == shut
        assert isinstance(closed, Closed)
        assert size == closed.unfinished


def parts(kind: int, envelope: Any, payload: Any, *, bodies: bool, flags: int = 0) -> list[Any]:
    """Envelope and payload as they are in the trace, and what was left out."""
    data = frame(kind, envelope, payload, flags=flags)
    found = shown(data[:16], data[16:], len(data) - 16, bodies=bodies)
    values = [None if part is None else unpack_all(part)[0] for part in found[:2]]
    return [*values, *found[3]]


HIDDEN_ALWAYS = [
    (Kind.HELLO, {"token": SECRET, "pid": 3}, {"pid": 3}, "token"),
    (Kind.LISTEN, {"data": {"keys": SECRET}, "port": 0}, {"port": 0}, "data"),
    (Kind.LISTENING, {"data": SECRET, "mode": "handoff"}, {"mode": "handoff"}, "data"),
    (Kind.SETTINGS, {"config": {"x": SECRET}, "heartbeat": 3}, {"heartbeat": 3}, "config"),
    (Kind.WELCOME, {"config": SECRET, "name": "w"}, {"name": "w"}, "config"),
    (
        Kind.WELCOME,
        {"config": {"args": [SECRET], "x": [], "incarnation": 1}},
        {"config": {"x": [], "incarnation": 1}},
        "config.args",
    ),
]


@pytest.mark.parametrize("bodies", [False, True])
@pytest.mark.parametrize(("kind", "payload", "kept", "masked"), HIDDEN_ALWAYS)
def test_secrets_are_never_in_it(
    kind: int, payload: Any, kept: Any, masked: str, bodies: bool
) -> None:
    assert [None, kept, masked] == parts(kind, None, payload, bodies=bodies)


HIDDEN = [
    (Kind.READY, {"info": {"x": SECRET}}, {}, ["info"]),
    (Kind.GOODBYE, {"recv": 1, "detail": SECRET}, {"recv": 1}, ["detail"]),
    (Kind.ERROR, {"code": "app", "message": SECRET}, {"code": "app"}, ["message"]),
    (Kind.EXIT_INFO, {"code": "app", "message": SECRET}, {"code": "app"}, ["message"]),
    (Kind.STOP, {"reason": 1, "later": SECRET}, {"reason": 1}, ["later"]),
    (Kind.TELL, SECRET, None, []),
    (Kind.CALL, {"x": SECRET}, None, []),
    (Kind.REPLY, [SECRET], None, []),
    (Kind.LOG, [SECRET], None, []),
]


@pytest.mark.parametrize(("kind", "payload", "kept", "masked"), HIDDEN)
def test_what_is_the_applications_is_in_it_with_bodies_only(
    kind: int, payload: Any, kept: Any, masked: list[str]
) -> None:
    assert [None, kept, *masked] == parts(kind, None, payload, bodies=False)
    assert [None, payload] == parts(kind, None, payload, bodies=True)


def test_heads_of_handles_are_bodies() -> None:
    handle = [1, {"head": SECRET.encode(), "peer": ["::1", 1]}]
    without = [None, None, [[1, {"peer": ["::1", 1]}]]]
    assert [without, None, "head"] == parts(Kind.TELL, [None, None, [handle]], None, bodies=False)
    whole = [None, None, [handle]]
    assert [whole, None] == parts(Kind.TELL, whole, None, bodies=True)


def test_unknown_kinds_and_broken_bodies() -> None:
    assert [None, None] == parts(0xC0, [SECRET], SECRET, bodies=False)
    assert [[SECRET], SECRET] == parts(0xC0, [SECRET], SECRET, bodies=True)
    for kind, body in ((Kind.LISTEN, b"\xc0\xc1" + SECRET.encode()), (Kind.TELL, b"\xc1")):
        header = frame(kind, body=body)[:16]
        envelope, payload, _, _ = shown(header, body, len(body), bodies=False)
        assert (SECRET.encode() in (envelope or b""), payload) == (False, None)
