"""What children that crash without end cost: ``python -m tests.crashloop --seconds 30``.

A tree whose children all crash as soon as they are ready, or in each start, runs for so long at the
default backoff. The CPU time of the primary and of all that it starts, fork server included, may be
5 % of one core; what is logged is looked at, too.

``python -m tests.crashloop --failed-starts 1000`` makes starts fail, in every way there is, and
compares what the primary holds with what it held before: descriptors, children, memory.

Each prints a line; the exit code is 1 if a limit is exceeded.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import logging
import math
import os
import re
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from actorcluster import (
    Backoff,
    Child,
    Primary,
    Supervisor,
    WorkerStartError,
    events,
    open_primary,
)
from tests import crashing
from tests.hardened.memory import MIB, resident

MAX_CORE: Final = 0.05
MAX_MEMORY: Final = 4 * MIB
WARM_UP: Final = 200
"""Starts before the first look: memory of the interpreter settles only then."""

LINE: Final = re.compile(
    r"(?P<name>\S+): (?P<reason>.+); restart in (?P<delay>[\d.e-]+) s, number (?P<number>\d+)"
    r" in a row(?P<rest>.*)"
)
QUIET: Final[dict[str, Any]] = {"stdio": ["ignore"] * 3}


# ---- a crash loop ---------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Loop:
    """What a crash loop was.

    Attributes:
        seconds: that it lasted.
        cpu: seconds of CPU of the primary and all processes it started.
        restarts: how many there were, by name of the child.
        logged: what was logged about them: name, reason, delay, number in a row.
    """

    seconds: float
    cpu: float
    restarts: dict[str, int]
    logged: list[tuple[str, str, float, int]]

    @property
    def core(self) -> float:
        """The share of one core."""
        return self.cpu / self.seconds


async def crash_loop(
    seconds: float, *, backoff: Backoff | None = None, most: int = sys.maxsize
) -> Loop:
    """Have two children crash for so long.

    Args:
        seconds: how long.
        backoff: of the children; the default if None.
        most: restarts after which it ends earlier.
    """
    options: dict[str, Any] = {"ready": "called"}
    if backoff is not None:
        options["backoff"] = backoff
    children = [
        Child("crashes", crashing.crashes, **options),
        Child("cannot-start", crashing.starts_once, **options),
    ]
    tree = Supervisor(children=children, max_restarts=10**9)
    restarts = {"crashes": 0, "cannot-start": 0}
    with logged() as lines:
        before = _cpu()
        async with open_primary(tree, settings=QUIET) as primary:
            with primary.events(events.Restart) as happened:
                for worker in primary.workers.values():
                    await worker.send("crash")
                begin = trio.current_time()
                with trio.move_on_after(seconds):
                    async for event in happened:
                        assert isinstance(event, events.Restart)
                        restarts[event.name] += 1
                        if sum(restarts.values()) >= most:
                            break
                lasted = trio.current_time() - begin
        cpu = _cpu() - before
    return Loop(seconds=lasted, cpu=cpu, restarts=restarts, logged=[*map(_read, lines)])


def _cpu() -> float:
    """Seconds of this process and of its children that have ended."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return math.fsum(one.ru_utime + one.ru_stime for one in used)


@contextlib.contextmanager
def logged() -> Iterator[list[str]]:
    """Give what the supervisor logs meanwhile."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger, handler = logging.getLogger("actorcluster.supervisor"), Keep()
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def _read(line: str) -> tuple[str, str, float, int]:
    match = LINE.fullmatch(line)
    assert match is not None, line
    return match["name"], match["reason"], float(match["delay"]), int(match["number"])


# ---- starts that fail -----------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Held:
    """What a process holds.

    Attributes:
        descriptors: open files, as they are shown.
        children: process ids.
        memory: bytes.
    """

    descriptors: list[str]
    children: list[int]
    memory: int

    @classmethod
    def now(cls) -> Held:
        """Look, when garbage is collected."""
        gc.collect()
        return cls(descriptors=sorted(_open_files()), children=_children(), memory=resident())


def _open_files() -> Iterator[str]:
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            yield re.sub(r"\d+", "N", os.readlink(f"/proc/self/fd/{fd}"))


def _children() -> list[int]:
    tasks = Path("/proc/self/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


Fail = Callable[[Primary], Awaitable[object]]


def ways(home: str) -> list[Fail]:
    """Give all ways in which a start can fail.

    Args:
        home: an empty directory.
    """
    gone = os.path.join(home, "gone")
    raises = functools.partial(_fork, crashing.raises, ready="called")
    return [
        raises,
        functools.partial(raises, settings={"stdio": ["pipe"] * 3}),
        functools.partial(raises, settings={"stdio": ["ignore"] * 2, "stderr": "capture"}),
        functools.partial(raises, name="always-the-same"),
        functools.partial(_fork, crashing.returns, ready="called"),
        functools.partial(_fork, crashing.dies, ready="called"),
        functools.partial(_fork, crashing.talks_nonsense, ready="called"),
        functools.partial(_fork, crashing.sleeps, ready="called", start_timeout=0.02),
        functools.partial(_fork, crashing.raises, settings={"cwd": gone}),
        functools.partial(_fork, None, exec=(gone,)),
        functools.partial(_fork, None, exec=("true",)),
        _cancelled,
        _child,
        _child_of_a_new_name,
    ]


async def _fork(target: Any, primary: Primary, **options: Any) -> None:
    with contextlib.suppress(WorkerStartError):
        await primary.fork(target, **options)
        raise AssertionError("it was started")


async def _cancelled(primary: Primary) -> None:
    with trio.move_on_after(0.01):
        await primary.fork(crashing.sleeps, ready="called")


async def _child(primary: Primary) -> None:
    """A child of the tree that cannot be started; it is forgotten."""
    with contextlib.suppress(WorkerStartError):
        await primary.start_child(Child("child", crashing.raises, ready="called"))


async def _child_of_a_new_name(primary: Primary) -> None:
    """The same with a name that nobody has ever had."""
    await _fork(crashing.returns, primary, ready="called", name=f"once-{time.monotonic_ns()}")


async def failed_starts(count: int, *, warm_up: int = WARM_UP) -> tuple[Held, Held]:
    """Make so many starts fail; gives what was held before and after."""
    with tempfile.TemporaryDirectory() as home:
        async with _quiet_primary() as primary:
            fails = ways(home)
            for number in range(warm_up):
                await fails[number % len(fails)](primary)
            before = Held.now()
            for number in range(count):
                await fails[number % len(fails)](primary)
            return before, Held.now()


@contextlib.asynccontextmanager
async def _quiet_primary() -> AsyncIterator[Primary]:
    """Give a primary that logs nothing, and whose workers' stderr nobody sees."""
    log = logging.getLogger("actorcluster")
    level, stderr = log.level, os.dup(2)
    with open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), 2)
    log.setLevel(logging.CRITICAL + 1)
    try:
        async with open_primary(settings=QUIET) as primary:
            yield primary
    finally:
        log.setLevel(level)
        os.dup2(stderr, 2)
        os.close(stderr)


# ---- on the command line --------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    """Measure what the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tests.crashloop")
    parser.add_argument("--seconds", type=float, help="length of a crash loop")
    parser.add_argument("--failed-starts", type=int, metavar="N", help="how many")
    options = parser.parse_args(arguments)
    if options.seconds is None and options.failed_starts is None:
        parser.error("say --seconds or --failed-starts")
    good = True
    if options.seconds is not None:
        good = _loop(options.seconds)
    if options.failed_starts is not None:
        good = _starts(options.failed_starts) and good
    return 0 if good else 1


def _loop(seconds: float) -> bool:
    loop = trio.run(crash_loop, seconds)
    print(
        f"seconds={loop.seconds:.1f} restarts={sum(loop.restarts.values())}"
        f" lines={len(loop.logged)} cpu={loop.cpu:.2f} core={loop.core:.1%}"
    )
    return loop.core <= MAX_CORE


def _starts(count: int) -> bool:
    begin = time.monotonic()
    before, after = trio.run(failed_starts, count)
    memory = after.memory - before.memory
    print(
        f"failed={count} seconds={time.monotonic() - begin:.1f}"
        f" descriptors={len(before.descriptors)}->{len(after.descriptors)}"
        f" children={len(before.children)}->{len(after.children)} rss={memory / MIB:+.2f} MiB"
    )
    same = (before.descriptors, before.children) == (after.descriptors, after.children)
    return same and abs(memory) <= MAX_MEMORY


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
