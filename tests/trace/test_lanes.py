"""What goes by a side lane is in the trace, beside the frames that it belongs to."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import attrs
import pytest
import trio

from actorcluster import Handle, HandleError, open_primary
from actorcluster._link.nodelines import ACK, NACK, handle_line
from actorcluster.conform.frames import frame
from actorcluster.trace.lanes import LaneTap
from actorcluster.trace.reading import as_lines, load
from actorcluster.trace.replay import play_again
from actorcluster.trace.tap import Tap
from actorcluster.trace.tracefile import OPENING, Frame, Lane, Shut, Trace, read_trace
from actorcluster.wire._generated import FLAG_LANE, HandleKind, Kind
from tests.program import PATIENCE, ROOT
from tests.require import require

SECONDS = 120
PROGRAM = ("node", str(ROOT / "tests/lanes/worker.js"))
SECRET = b"nobody-is-to-read-this"
OTHER = json.dumps({"cmd": "hello", "x": SECRET.decode()}).encode() + b"\n"
ONE, TWO = handle_line(1, HandleKind.TCP_SOCKET), handle_line(2, HandleKind.UDP_SOCKET)


class Noted:
    """A tap of a lane, and what it has noted."""

    def __init__(self) -> None:
        self.data = bytearray(OPENING)
        self.tap = LaneTap(3, self.data.extend, lambda: 5)

    @property
    def said(self) -> list[tuple[int, str, int, tuple[tuple[int, int], ...]]]:
        records = read_trace(bytes(self.data)).records
        return [
            (one.direction, one.what, one.number, one.fds)
            for one in records
            if isinstance(one, Lane) and (one.time, one.worker) == (5, 3)
        ]


def test_lines_are_found_in_pieces_of_any_size() -> None:
    whole = ONE + OTHER + TWO + ACK + NACK
    for size in range(1, len(whole) + 1):
        noted = Noted()
        noted.tap.pass_on(0, (), [(8, 1), (9, 10)])
        for begin in range(0, len(whole), size):
            noted.tap.pass_on(0, [memoryview(whole)[begin : begin + size]])
        assert [
            (0, "handle", 1, ((8, 1),)),
            (0, "other", 0, ()),
            (0, "handle", 2, ((9, 10),)),
            (0, "ack", 0, ()),
            (0, "nack", 0, ()),
        ] == noted.said
        assert SECRET not in noted.data


def test_answers_have_the_number_of_what_they_answer() -> None:
    """Of the other direction, in order; what was lost and is sent again has its number again."""
    noted = Noted()
    noted.tap.pass_on(0, [ONE, TWO])
    noted.tap.pass_on(1, [handle_line(1, HandleKind.TCP_SOCKET) + NACK + ACK])
    noted.tap.pass_on(0, [ACK, ONE])
    noted.tap.pass_on(1, [ACK, ACK])
    assert [
        (0, "handle", 1), (0, "handle", 2),
        (1, "handle", 1), (1, "nack", 1), (1, "ack", 2),
        (0, "ack", 1), (0, "handle", 1),
        (1, "ack", 1), (1, "ack", 0),
    ] == [one[:3] for one in noted.said]  # fmt: skip


@pytest.mark.parametrize(
    "bad", [b"Traceback\n", b"[" * 50_000 + b"\n", b"x" * 65_537, b"\xff\n"], ids=range(4)
)
def test_what_is_no_line_ends_that_direction(bad: bytes) -> None:
    noted = Noted()
    noted.tap.pass_on(1, [ONE[:9]], [(8, 1)])
    noted.tap.pass_on(1, [ONE[9:] + bad + SECRET], [(9, 1)])
    assert "broken" == noted.said[-1][1]
    noted.tap.pass_on(1, [SECRET, ONE])
    noted.tap.end(1)
    noted.tap.pass_on(0, [ACK])
    assert [
        (1, "handle", 1, ((8, 1),)), (1, "broken", 0, ((9, 1),)), (0, "ack", 1, ())
    ] == noted.said  # fmt: skip
    assert SECRET not in noted.data


@pytest.mark.parametrize("number", [0, -1, True, 2**63, 1.5, "1", None])
def test_a_handle_without_a_number(number: object) -> None:
    noted = Noted()
    noted.tap.pass_on(1, [json.dumps({"cmd": "NODE_HANDLE", "msg": {"handle": number}}).encode()])
    noted.tap.pass_on(1, [b'\n{"cmd":"NODE_HANDLE"}\n{"cmd":["NODE_HANDLE"]}\n3\n'])
    noted.tap.end(1)
    noted.tap.end(1)
    assert ["handle", "handle", "other", "other", "end"] == [one[1] for one in noted.said]
    assert {0} == {one[2] for one in noted.said}


def test_frames_to_the_worker_have_the_flag_as_on_the_wire() -> None:
    """It is set behind the tap, where there are handles; those of the worker have it already."""
    data = bytearray(OPENING)
    tap = Tap(3, data.extend, lambda: 5, bodies=True, most=1000, lane=True)
    with_one = frame(Kind.TELL, [None, None, [[1, {}]]], None, nfds=1)
    tap.pass_on(0, [with_one, frame(Kind.TELL, [None], None)], [[(8, 1)]])
    tap.pass_on(1, [with_one])
    flags = [one.header[8] for one in read_trace(bytes(data)).records if isinstance(one, Frame)]
    assert [FLAG_LANE, 0, 0] == flags


@require("node")
async def test_a_worker_with_a_lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handles both ways, one that never comes, other words, the end: each line, in its order."""
    path = tmp_path / "t"
    settings = {"exec": PROGRAM, "lane": "node"}
    with trio.fail_after(SECONDS):
        async with open_primary(trace=path, trace_bodies=True) as primary:
            worker = await primary.fork(settings=settings, heartbeat=1e6)
            pairs = [socket.socketpair() for _ in range(2)]
            given_ = [Handle.of(theirs) for _, theirs in pairs]
            assert 2 == await worker.ask(["greet", SECRET.decode(), given_])
            for ours, _ in pairs:
                ours.close()
            for command in (["servers", 1], ["chatter"]):
                (handle,) = await worker.ask(command)
                handle.close()
            monkeypatch.setattr("actorcluster._link.lane.PATIENCE", 0.2)  # for nothing that comes
            with pytest.raises(HandleError, match="did not arrive"):
                await worker.ask(["silent"])
            await worker.ask(["leave"])
    stream, listener = int(HandleKind.UNIX_STREAM), int(HandleKind.TCP_LISTENER)
    records = load(str(path)).records
    said: list[tuple[int | str, ...]] = [
        (one.direction, one.what, one.number, *(kind for _, kind in one.fds))
        for one in records
        if isinstance(one, Lane)
    ]
    assert [
        (0, "handle", 1, stream), (0, "handle", 2, stream), (1, "ack", 1), (1, "ack", 2),
        (1, "handle", 1, listener), (0, "ack", 1),
        (1, "other", 0), (1, "other", 0), (1, "handle", 5000, listener), (0, "ack", 5000),
        (1, "handle", 2, listener), (0, "ack", 2),
        (1, "end", 0),
    ] == _in_streams(said)  # fmt: skip
    marked = [
        (Kind(one.header[7]).name, one.direction, one.header[9], *(kind for _, kind in one.fds))
        for one in records
        if isinstance(one, Frame) and one.header[8] & FLAG_LANE
    ]
    assert [
        ("CALL", 0, 2, stream, stream),
        ("REPLY", 1, 1, listener),
        ("REPLY", 1, 1, listener),
        ("REPLY", 1, 1),
    ] == marked
    data, lines = path.read_bytes(), list(as_lines(load(str(path))))
    for at in range(len(OPENING), len(data), 19):  # wherever it is cut
        shown = list(as_lines(read_trace(data[:at])))
        assert lines[: len(shown)] == shown
    assert len(lines) == len(shown) + 1
    first = next(at for at, line in enumerate(lines) if "->  lane: handle 1 fds [[" in line)
    assert "->  lane: handle 2 fds [[" in lines[first + 1]
    assert "->  CALL ch 2 LANE fds [[" in lines[first + 2]
    assert 1 == sum(line.endswith("<-  lane: end") for line in lines)


def _in_streams(said: list[tuple[int | str, ...]]) -> list[tuple[int | str, ...]]:
    """The first two answers may come before the second handle has been written."""
    return sorted(said[:4], key=lambda one: one[:1]) + said[4:]


@require("node")
async def test_a_talk_over_a_lane_is_played_again(tmp_path: Path) -> None:
    """To a program that has a lane, too; where there is none its handles do not get through."""
    path = str(tmp_path / "t")
    with trio.fail_after(SECONDS):
        async with open_primary(trace=path, trace_bodies=True) as primary:
            settings = {"exec": PROGRAM, "lane": "node"}
            worker = await primary.fork(settings=settings, heartbeat=1e6)
            pairs = [socket.socketpair() for _ in range(2)]
            given = [Handle.of(theirs) for _, theirs in pairs]
            assert ["Socket", "Socket"] == await worker.ask(["take", given])
            for ours, _ in pairs:
                ours.close()
            for handle in await worker.ask(["servers", 2]):
                handle.close()

    def play() -> list[str]:
        trace = load(path)
        # The primary's end may come behind the worker's, which waits for it all the same.
        kept = [one for one in trace.records if not (isinstance(one, Shut) and one.direction == 0)]
        talks: list[tuple[Trace, bool | None]] = [
            (trace, None),
            (attrs.evolve(trace, records=kept), None),
            (trace, False),
        ]
        found = (
            play_again(talk, PROGRAM, timeout=PATIENCE, payloads=True, lane=lane)
            for talk, lane in talks
        )
        return [outcome.difference for outcome in found]

    *same, without = await trio.to_thread.run_sync(play)
    assert ["", ""] == same
    assert "" != without
