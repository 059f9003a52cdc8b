"""A machine without a processor to spare, and workers of all kinds on it, of whom none is stuck."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from actorcluster import Primary, Worker, events, open_primary
from actorcluster._worker.pulse import BEATS
from actorcluster._worker.stackfile import processor_time
from tests.liveness import actors

__all__ = ["Cost", "Load", "cost", "load"]

PROCESSORS: Final = len(os.sched_getaffinity(0))
BUSY_ENOUGH: Final = 0.95
_QUIET: Final[dict[str, Any]] = {"stdio": ["ignore"] * 3}
_BURN: Final = "while True: pass"
_MAIL: Final = b"x" * 10_000


# ---- alarms that are none ---------------------------------------------------------------------


@attrs.define
class Load:
    """What happened under load.

    Attributes:
        alarms: of workers that were not stuck.
        messages: that the primary received.
        sent: messages that it sent.
        busy: share of all processors that was used.
        found: whether one that did get stuck in the end was found there.
    """

    alarms: list[events.Hung] = attrs.Factory(list)
    messages: int = 0
    sent: int = 0
    busy: float = 0.0
    found: bool = False

    def broken(self) -> list[str]:
        """What is wrong with this run."""
        found = [f"{alarm.worker.name} was accused" for alarm in self.alarms]
        if self.busy < BUSY_ENOUGH:
            found.append(f"void: the processors were busy for {self.busy:.1%} only")
        if not self.found:
            found.append("one that was stuck was not found")
        return found


async def load(seconds: float, *, heartbeat: float) -> Load:
    """Load the machine for so long, and count who is accused."""
    result = Load()
    with _burning(PROCESSORS):
        async with open_primary(settings=_QUIET, shutdown_timeout=0) as primary:
            with primary.events(events.Hung) as hung:
                async with trio.open_nursery() as nursery:
                    idle = await _fork_all(primary, nursery, result, heartbeat)
                    before = _processors()
                    with trio.move_on_after(seconds):
                        async for event in hung:
                            assert isinstance(event, events.Hung)
                            result.alarms.append(event)
                    after = _processors()
                    await idle.send(["spins"])
                    with trio.move_on_after(60):
                        async for event in hung:
                            assert isinstance(event, events.Hung)
                            result.found |= event.worker is idle
                            if result.found:
                                break
                            result.alarms.append(event)
                    nursery.cancel_scope.cancel()
    used, total = (now - then for now, then in zip(after, before, strict=True))
    result.busy = used / total
    return result


async def _fork_all(
    primary: Primary, nursery: trio.Nursery, result: Load, heartbeat: float
) -> Worker:
    """Fork workers that compute, flood, are flooded, and do nothing; give one of the last."""
    targets = [actors.computes] * PROCESSORS + [actors.floods] * 2
    for target in targets:
        await primary.fork(target, heartbeat=heartbeat)
    for _ in range(2):
        worker = await primary.fork(actors.swallows, heartbeat=heartbeat)
        nursery.start_soon(_flood, worker, result)
    nursery.start_soon(_receive, primary, result)
    await primary.fork(actors.still, heartbeat=heartbeat)
    return await primary.fork(actors.still, heartbeat=heartbeat)


async def _flood(worker: Worker, result: Load) -> None:
    while True:
        await worker.send(_MAIL)
        result.sent += 1


async def _receive(primary: Primary, result: Load) -> None:
    async for _ in primary.mailbox:
        result.messages += 1


@contextlib.contextmanager
def _burning(count: int) -> Iterator[None]:
    """Have processes that do nothing but burn."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-Sc", _BURN]))
            stack.callback(process.kill)
        yield


def _processors() -> tuple[int, int]:
    """Ticks of all processors so far: used, and all."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


# ---- what it costs ----------------------------------------------------------------------------


@attrs.frozen
class Cost:
    """What one question to one idle worker costs.

    Attributes:
        worker: seconds of a processor there.
        primary: seconds of a processor here, with so many workers.
    """

    worker: float
    primary: float

    def an_hour(self, heartbeat: float) -> tuple[float, float]:
        """The same for an hour, in the same order."""
        beats = 3600 * BEATS / heartbeat
        return self.worker * beats, self.primary * beats


async def cost(seconds: float, *, workers: int, heartbeat: float) -> Cost:
    """Measure it on a machine that should be quiet."""
    with_it = await _used(seconds, workers, heartbeat)
    without = await _used(seconds, workers, math.inf)
    questions = seconds * BEATS / heartbeat * workers
    worker, primary = ((a - b) / questions for a, b in zip(with_it, without, strict=True))
    return Cost(worker, primary)


async def _used(seconds: float, workers: int, heartbeat: float) -> tuple[float, float]:
    """What processor time idle workers use, and their primary."""
    async with _idle(workers, heartbeat) as pids:
        before = _ran(pids), _ran([os.getpid()])
        await trio.sleep(seconds)
        return _ran(pids) - before[0], _ran([os.getpid()]) - before[1]


@contextlib.asynccontextmanager
async def _idle(count: int, heartbeat: float) -> AsyncIterator[list[int]]:
    async with open_primary(settings=_QUIET, shutdown_timeout=0) as primary:
        for _ in itertools.repeat(None, count):
            await primary.fork(actors.still, heartbeat=heartbeat)
        await trio.sleep(1)
        yield [worker.pid or 0 for worker in primary.workers.values()]


def _ran(pids: list[int]) -> float:
    return sum(processor_time(pid) or math.nan for pid in pids)
