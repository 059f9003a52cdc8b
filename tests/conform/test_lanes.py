"""Handles by a side lane: the kit, a worker in Node, and one that says it wrongly."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from actorcluster.conform.frames import Cutter, Marker, frame
from actorcluster.conform.lane import Lane, lane_type
from actorcluster.wire._generated import FLAG_LANE, Kind
from tests.conform.kit import tried
from tests.require import require

WORKER: Final = ("node", str(Path(__file__).with_name("lane_worker.js")))
#: What needs a lane, and what is there with any other way of handles.
PLAYED: Final = ("ln.*", "watch.lane", "watch.declared", "ha.take.*", "fds.many", "tr.unknown-lane")


@require("node")
def test_all_about_lanes_is_played() -> None:
    report = tried(WORKER, only=PLAYED, lane="node", jobs=8)
    assert 0 == report.exit_status, "\n".join(report.lines())
    outcomes = {one.case.id: str(one.outcome) for one in report.results}
    of_lanes = {name: one for name, one in outcomes.items() if name.startswith("ln.")}
    assert 7 == len(of_lanes)
    assert {"pass", "non-strict"} >= set(of_lanes.values())  # late on a slow machine
    assert ("pass", "info") == (outcomes["watch.lane"], outcomes["ha.take.memfd"])


# ---- the flag -----------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1000, 17, 40, 13])
def test_what_has_handles_is_marked(step: int) -> None:
    """However it is written, as long as flags and number are in one piece."""
    plain = frame(Kind.TELL, [None], "x" * 20)
    data = plain + frame(Kind.TELL, [None], "y", nfds=2) + plain + frame(0x60, nfds=1)
    marker = Marker()
    marked = b"".join(marker.marked(data[at : at + step]) for at in range(0, len(data), step))
    flags = [one.flags for one in Cutter().feed(marked, 0.0)]
    assert [0, FLAG_LANE, 0, FLAG_LANE] == flags


def test_what_is_no_frame_stays_as_it_is() -> None:
    text = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert text == Marker().marked(text)


# ---- what a worker may say ----------------------------------------------------------------------


async def heard(*lines: dict[str, Any], declared: int, flags: int = FLAG_LANE) -> list[str]:
    """Give the sentences that a worker breaks with these lines, each with a descriptor."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        came = trio.Event()
        lane = Lane(ours, came.set)
        for line in lines:
            data = json.dumps({"cmd": "NODE_HANDLE", "type": "net.Socket", "msg": line}) + "\n"
            socket.send_fds(theirs, [data.encode()], [theirs.fileno()])
        theirs.shutdown(socket.SHUT_WR)
        await lane.read_forever()
        cutter = Cutter(lane)
        (frame_,) = cutter.feed(frame(Kind.REPLY, nfds=declared, flags=flags), 0.0)
        for fd in frame_.fds:
            os.close(fd)
        lane.close_descriptors()
        return sorted({one.requirement for one in frame_.faults})


async def test_handles_without_the_flag() -> None:
    assert ["AWP-LN-1"] == await heard({"handle": 1}, declared=1, flags=0)


@pytest.mark.parametrize("number", [0, 2, "1", None, 1])
async def test_numbers(number: object) -> None:
    expected = [] if number == 1 else ["AWP-LN-2"]
    assert expected == await heard({"handle": number}, declared=1)


async def test_one_number_twice() -> None:
    assert ["AWP-LN-2"] == await heard({"handle": 1}, {"handle": 1}, declared=1)


def test_types() -> None:
    read, write = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(type=2) as udp:
        found = [lane_type(fd) for fd in (read, server.fileno(), udp.fileno())]
    os.close(read)
    os.close(write)
    datagram = {"type": "dgram.Socket", "dgramType": "udp4"}
    assert [{"type": "net.Socket"}, {"type": "net.Server"}, datagram] == found
    memory = os.memfd_create("x")
    assert lane_type(memory) is None
    os.close(memory)
