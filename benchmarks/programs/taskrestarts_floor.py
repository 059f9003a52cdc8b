"""Restarts of a task that crashes at once, at the least that our way to tell of them asks for.

A new actor and a new worker for each life, the failure as a value whose traceback can be written
down, a budget and a delay, and an event for who listens. One Trio task lives all lives, in one
cancel scope, and lets others run after a dozen.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import AsyncIterator
from types import CodeType
from typing import Any

import attrs
import trio

from benchmarks.programs.common import Arguments, arguments, now, say

EVERY = 12
WITHIN = 1.0


@attrs.frozen
class Failure:
    """What a main raised, and where."""

    type: str
    text: str
    frames: list[tuple[CodeType, int, int]]


@attrs.frozen
class Status:
    """How a life ended."""

    code: int | None
    signal: str | None
    reason: str
    error: Failure | None


@attrs.frozen
class Restart:
    """What a listener is told."""

    worker: Worker
    name: str
    status: Status
    delay: float
    attempt: int


class Worker:
    """One life, as others see it."""

    def __init__(self, number: int, name: str) -> None:
        self.id = number
        self.name = name
        self.status: Status | None = None


class Actor:
    """One life, as its main sees it."""

    def __init__(self, worker: Worker, scope: trio.CancelScope) -> None:
        self.id = worker.id
        self.name = worker.name
        self.scope = scope


class Listener(AsyncIterator[Restart]):
    """Events that nobody has read yet."""

    def __init__(self) -> None:
        self._unread: deque[Restart] = deque()
        self._news: trio.Event | None = None

    def put(self, event: Restart) -> None:
        """Take one."""
        self._unread.append(event)
        if self._news is not None:
            self._news.set()
            self._news = None

    async def __anext__(self) -> Restart:
        while not self._unread:
            self._news = trio.Event()
            await self._news.wait()
        return self._unread.popleft()


async def crashes(_: Actor) -> None:
    """Fail."""
    raise ValueError("at once")


async def run_one(actor: Actor) -> Status:
    """Live to the end; say how it was."""
    try:
        await crashes(actor)
    except Exception as exc:  # noqa: BLE001  (whatever it is, it is the status)
        frames = []
        link = exc.__traceback__
        while link is not None:
            frames.append((link.tb_frame.f_code, link.tb_lasti, link.tb_lineno))
            link = link.tb_next
        return Status(1, None, "error", Failure(type(exc).__name__, str(exc), frames))
    return Status(0, None, "normal", None)


async def supervise(listener: Listener) -> None:
    """Begin again and again."""
    spent: deque[float] = deque()
    living: dict[int, Worker] = {}
    with trio.CancelScope() as scope:
        for number in itertools.count(1):
            worker = living[number] = Worker(number, "crashes")
            worker.status = status = await run_one(Actor(worker, scope))
            del living[number]
            when = trio.current_time()
            while spent and spent[0] < when - WITHIN:
                spent.popleft()
            spent.append(when)
            if len(spent) > 10**9:
                break
            delay = min(15.0, 0.0 * (1 + 0.2 * random.random()))  # noqa: S311  (no secret)
            listener.put(Restart(worker, worker.name, status, delay, number))
            if number % EVERY == 0:
                await trio.lowlevel.checkpoint()


async def count_until(restarts: Listener, until: float) -> int:
    """Count restarts."""
    count = 0
    while now() < until:
        event: Any = await anext(restarts)
        assert event.status.reason == "error"
        count += 1
    return count


async def main(given: Arguments) -> None:
    warmup, seconds = given.phases()
    restarts = Listener()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervise, restarts)
        await count_until(restarts, now() + warmup)
        started = now()
        count = await count_until(restarts, started + seconds)
        took = now() - started
        nursery.cancel_scope.cancel()
    say(sent=count, received=count, seconds=took)


if __name__ == "__main__":
    trio.run(main, arguments())
