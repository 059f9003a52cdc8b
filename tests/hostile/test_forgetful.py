"""A worker that never says HANDLE_ACK: what becomes of a connection says that it has arrived."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import trio

import actorcluster
from actorcluster import Primary, events
from tests.e2e import actors

#: Connections that it is given, and has forgotten to acknowledge.
MANY: Final = 10


def _open() -> int:
    return len(os.listdir("/proc/self/fd"))


async def _start(primary: Primary, what: str, port: int) -> int:
    """Start one that listens; returns its port."""
    worker = primary.fork_soon(
        exec=(sys.executable, "-m", "tests.hostile.forgetful", what, str(port)),
        shutdown=0.1,
        settings={"cwd": str(Path(__file__).parents[2])},
    )
    event = await primary.wait_for(events.Listening, worker)
    assert isinstance(event.address, tuple)
    return event.address[1]


async def _visit(port: int) -> bytes:
    """Be a client until the end of the connection."""
    with trio.fail_after(60):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            return b"".join([data async for data in stream])


async def test_connections_that_it_gives_back() -> None:
    """Others have served them, and there they end, while it lives on."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(actors.serve_pid)
        event = await primary.wait_for(events.Listening, worker)
        assert isinstance(event.address, tuple)
        port = await _start(primary, "rejects", event.address[1])
        before = _open()
        while primary.statistics().ports[0].dealt_again < MANY:
            number, _ = (await _visit(port)).split()
            assert worker.id == int(number)
        assert before == _open()


async def test_connections_that_it_takes() -> None:
    """They end when it closes them."""
    async with actorcluster.open_primary() as primary:
        port = await _start(primary, "takes", 0)
        before = _open()
        for _ in range(MANY):
            assert b"" == await _visit(port)
        assert before == _open()
        (statistics,) = primary.statistics().ports
        assert MANY == sum(statistics.dealt.values())
