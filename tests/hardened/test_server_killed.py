"""The fork server dies again and again in the middle of forks and exits: nothing is lost of it."""

from __future__ import annotations

import itertools
import os
import signal
from typing import Any

import pytest
import trio

import actorcluster
from actorcluster import Primary, events
from tests.hardened import forks

STREAMS = 6
ROUNDS = 1
KILL_EVERY = 8
"""Exits after which the server is killed: in each stream one fork or so."""

ENDS = {  # what a worker does, and how that is told
    "return": (0, None, "normal"),
    "exit": (7, None, "exit"),
    "_exit": (9, None, "exit"),
    "error": (1, None, "error"),
    "signal": (None, "SIGKILL", "signal"),
    "told": (0, None, "shutdown"),
}


class Books:
    """What happened to each worker, by its name; kills the fork server while it is written."""

    def __init__(self, primary: Primary) -> None:
        self.happened: dict[str, list[events.Event]] = {}
        self.killed: set[int] = set()
        self._primary: Any = primary
        self._exits = 0

    async def keep(self, count: int, *, task_status: trio.TaskStatus[None]) -> None:
        """Write until so many have ended."""
        kinds = (events.Fork, events.Online, events.Disconnect, events.Exit)
        with self._primary.events(*kinds) as happenings:
            task_status.started()
            async for event in happenings:
                self.happened.setdefault(event.worker.name, []).append(event)
                if isinstance(event, events.Exit):
                    self._exits += 1
                    if self._exits == count:
                        return
                    if self._exits // KILL_EVERY > len(self.killed):
                        self._kill()

    def _kill(self) -> None:
        pid = self._primary._seating.starter._server.pid
        if pid is not None and pid not in self.killed:  # else the next exit will do
            os.kill(pid, signal.SIGKILL)
            self.killed.add(pid)


async def stream(primary: Primary, names: list[tuple[str, str]]) -> None:
    """Fork one after another, each once the one before has ended."""
    for name, how in names:
        if how == "told":
            worker = await primary.fork(forks.idle, name=name)
            status = await worker.disconnect()
        else:
            worker = await primary.fork(forks.ends, how, name=name)
            status = await worker.wait()
        assert "forkserver" == worker.start_method
        assert ENDS[how] == (status.code, status.signal, status.reason), name


@pytest.mark.own_fork_server
async def test_no_worker_no_status_and_no_event_is_lost() -> None:
    """Every fork gives a worker, whose life is told from Fork to Exit, with the right status."""
    number = itertools.count()
    streams = [
        [(f"{how} {next(number)}", how) for how in (*[*ENDS][begin:], *[*ENDS][:begin]) * ROUNDS]
        for begin in range(STREAMS)
    ]
    names = dict(itertools.chain(*streams))
    settings = {"start_method": "forkserver", "stdio": ["ignore"] * 3}
    async with actorcluster.open_primary(settings=settings) as primary:
        books = Books(primary)
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                await nursery.start(books.keep, len(names))
                for part in streams:
                    nursery.start_soon(stream, primary, part)
    assert len(names) // KILL_EVERY - 1 <= len(books.killed)
    assert names.keys() == books.happened.keys()
    for name, how in names.items():
        *kinds, last = books.happened[name]
        assert [events.Fork, events.Online, events.Disconnect] == [type(it) for it in kinds], name
        assert isinstance(last, events.Exit)
        assert ENDS[how] == (last.status.code, last.status.signal, last.status.reason), name
