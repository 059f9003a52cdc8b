"""Real workers that stand still: each is found, where it stands, and killed if that was wanted."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from actorcluster import (
    Backoff,
    Child,
    PeerClosed,
    Primary,
    Supervisor,
    Worker,
    events,
    open_primary,
)
from tests.liveness import actors
from tests.liveness.actors import line_of
from tests.together import Together

PATIENCE: Final = 60
"""Seconds for what takes one."""
HEARTBEAT: Final = 0.3
LONG: Final = 1.5
"""Seconds, many heartbeats."""
METHODS: Final = ["forkserver", "exec"]
QUIET: Final[dict[str, Any]] = {"stdio": ["ignore"] * 3}


class Scene:
    """A primary, and what happens to its workers."""

    def __init__(self, primary: Primary, subscription: events.Subscription[events.Event]) -> None:
        self.primary = primary
        self.seen: list[events.Event] = []
        self._subscription = subscription

    async def fork(self, target: Any = actors.still, *args: Any, **options: Any) -> Worker:
        """Fork one with a short heartbeat."""
        return await self.primary.fork(target, *args, **{"heartbeat": HEARTBEAT, **options})

    async def next(self, kind: type[Any]) -> Any:
        """Wait for the next event of a kind."""
        while True:
            event = await anext(self._subscription)
            self.seen.append(event)
            if isinstance(event, kind):
                return event

    def count(self, kind: type[Any]) -> int:
        return sum(isinstance(event, kind) for event in self.seen)


@contextlib.asynccontextmanager
async def _scene(tree: Supervisor | None = None) -> AsyncIterator[Scene]:
    async with open_primary(tree, settings=QUIET, shutdown_timeout=10) as primary:
        with primary.events() as subscription, trio.fail_after(PATIENCE):
            yield Scene(primary, subscription)
            for worker in primary.workers.values():
                worker.kill("SIGKILL")


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with _scene() as made:
        yield made


def place(hung: events.Hung) -> tuple[str | None, int | None, str | None]:
    line = hung.line
    if hung.function == "spins" and line == line_of("spins") + 1:
        line = line_of("spins")  # it spins over two lines
    return hung.file, line, hung.function


def place_of(way: str) -> tuple[str, int, str]:
    return actors.__file__, line_of(way), way


# ---- ways to stand still ----------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("way", ["spins", "holds", "holds_once", "deadlocks"])
async def test_where_it_stands(scene: Scene, way: str, method: str) -> None:
    worker = await scene.fork(settings={"start_method": method})
    await worker.send([way])
    hung = await scene.next(events.Hung)
    assert (worker, place_of(way)) == (hung.worker, place(hung))
    assert ("", False) == (hung.no_stack, hung.stopped)
    assert f'File "{hung.file}", line {hung.line} in {way}' in hung.stack
    assert "in still" in hung.stack
    assert HEARTBEAT / 2 <= hung.seconds


async def test_each_has_a_stack_of_its_own(scene: Scene) -> None:
    ways = ["spins", "holds", "deadlocks"]
    workers = [await scene.fork() for _ in ways]
    for worker, way in zip(workers, ways, strict=True):
        await worker.send([way])
    found = {hung.worker: place(hung) for hung in [await scene.next(events.Hung) for _ in ways]}
    assert dict(zip(workers, map(place_of, ways), strict=True)) == found


async def test_stopped(scene: Scene) -> None:
    worker = await scene.fork()
    await worker.send(["stops"])
    hung = await scene.next(events.Hung)
    assert (None, None, None) == place(hung)
    assert (None, "it is stopped", True) == (hung.stack, hung.no_stack, hung.stopped)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGCONT)
    assert "still there" == await worker.ask("still there")


@pytest.mark.parametrize(
    ("way", "why"),
    [
        ("forgets", "it does not listen to signal 46"),
        ("closes", "it is no Python worker of ours"),
        ("keeps_its_signal", "it does not listen to signal 46"),
    ],
)
async def test_who_cannot_tell_is_not_harmed(scene: Scene, way: str, why: str) -> None:
    worker = await scene.fork()
    await worker.send([way])
    hung = await scene.next(events.Hung)
    assert (None, why) == (hung.stack, hung.no_stack)
    with trio.move_on_after(2 * HEARTBEAT):
        await worker.wait()
    assert not worker.is_dead()


# ---- what becomes of it -----------------------------------------------------------------------


@pytest.mark.parametrize("way", ["sleeps", "spins", "holds", "stops"])
async def test_killed_after_a_while(scene: Scene, way: str) -> None:
    worker = await scene.fork(hung_after=0.6)
    await worker.send([way, 1000] if way == "sleeps" else [way])
    begun = trio.current_time()
    status = await worker.wait()
    assert 0.6 - HEARTBEAT / 3 <= trio.current_time() - begun
    assert ("hung", "SIGKILL", False) == (status.reason, status.signal, status.voluntary)
    assert "hung SIGKILL" == str(status)
    await scene.next(events.Exit)
    names = [type(event).__name__ for event in scene.seen]
    assert ["Fork", "Online", "Hung", "Disconnect", "Exit"] == names
    assert status.report is not None
    if way == "stops":
        assert status.report.stack is None
        assert "it was stuck:" not in str(status.report)
    else:
        assert f" in {way}\n" in (status.report.stack or "")
        assert f" in {way}\n" in str(status.report)


async def test_its_supervisor_starts_it_again() -> None:
    at_once = Backoff(min=0, max=0)
    options: dict[str, Any] = {"heartbeat": HEARTBEAT, "hung_after": 0.6, "backoff": at_once}
    tree = Supervisor(children=[Child("one", actors.still, restart="transient", **options)])
    async with _scene(tree) as scene:
        await scene.primary.ref("one").send(["spins"])
        restart = await scene.next(events.Restart)
        assert ("one", "hung", 1) == (restart.name, restart.status.reason, restart.attempt)
        assert "a new one" == await scene.primary.ref("one").ask("a new one")


async def test_told_to_stop_it_is_found_as_well(scene: Scene) -> None:
    """Without a limit of its own the stop would wait for ever."""
    worker = await scene.fork(actors.stubborn, hung_after=0.6)
    status = await worker.disconnect()
    assert ("hung", True) == (status.reason, status.voluntary)
    assert place_of("spins") == place(await scene.next(events.Hung))


async def test_stuck_and_then_told_to_stop(scene: Scene) -> None:
    worker = await scene.fork(hung_after=LONG)
    await worker.send(["spins"])
    await scene.next(events.Hung)
    status = await worker.disconnect()
    assert ("hung", True) == (status.reason, status.voluntary)


@pytest.mark.parametrize("way", ["spins", "stops"])
async def test_killed_while_somebody_looks_into_it(scene: Scene, way: str) -> None:
    """In any moment round the report; nothing comes of it but its end."""

    async def kill(worker: Worker, delay: float) -> None:
        await trio.sleep(delay)
        worker.kill("SIGKILL")
        assert "signal" == (await worker.wait()).reason

    async with trio.open_nursery() as nursery:
        for n in range(8):
            worker = await scene.fork()
            await worker.send([way])
            nursery.start_soon(kill, worker, HEARTBEAT * (0.6 + n / 16))
    for _ in range(8):
        await scene.next(events.Exit)
    by_worker: dict[int, list[str]] = {}
    for event in scene.seen:
        by_worker.setdefault(event.worker.id, []).append(type(event).__name__)
    for names in by_worker.values():
        names[:] = [name for name in names if name != "Hung"]
        assert ["Fork", "Online", "Disconnect", "Exit"] == names


async def test_its_name_may_be_anything(scene: Scene) -> None:
    worker = await scene.fork()
    await worker.send(["renames"])
    assert place_of("spins") == place(await scene.next(events.Hung))


async def test_the_block_is_left_while_they_are_stuck() -> None:
    async with open_primary(settings=QUIET, shutdown_timeout=0.1) as primary:
        workers = [await primary.fork(actors.still, heartbeat=HEARTBEAT) for _ in range(3)]
        for worker in workers:
            await worker.send(["spins"])
        with primary.events(events.Hung) as stuck:
            await anext(stuck)
    assert ["killed"] * 3 == [(await worker.wait()).reason for worker in workers]


# ---- what takes its time: all at once ----------------------------------------------------------


@contextlib.asynccontextmanager
async def logged(name: str) -> AsyncIterator[list[str]]:
    """What is logged of a worker, by its name."""
    said: list[str] = []
    handler = logging.Handler()
    handler.addFilter(lambda record: f"worker {name} " in record.getMessage())
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]  # all that a handler has to do
    log = logging.getLogger("actorcluster.worker")
    log.addHandler(handler)
    try:
        yield said
    finally:
        log.removeHandler(handler)


async def sleeping_is_reported_once_and_then_it_goes_on(method: str) -> None:
    name = f"sleeper-{method}"
    async with _scene() as scene, logged(name) as said:
        worker = await scene.fork(name=name, settings={"start_method": method})
        for _ in range(2):
            await worker.send(["sleeps", LONG])
            hung = await scene.next(events.Hung)
            assert place_of("sleeps") == place(hung)
            assert "still there" == await worker.ask("still there")
            await trio.sleep(HEARTBEAT)
        worker.kill()
        await scene.next(events.Exit)
        assert 2 == scene.count(events.Hung)
        where = f"it is in {actors.__file__}, line {line_of('sleeps')}, in sleeps"
        assert [True, False] * 2 == [line.endswith(where) for line in said]
        assert [f"worker {name} answers again"] * 2 == said[1::2]


async def seven_seconds_with_the_usual_heartbeat() -> None:
    async with _scene() as scene:
        worker = await scene.primary.fork(actors.still)
        await worker.send(["sleeps", 7])
        hung = await scene.next(events.Hung)
        assert place_of("sleeps") == place(hung)
        assert 2.5 <= hung.seconds
        assert "still there" == await worker.ask("still there")


async def whoever_recovers_in_time_is_not_killed() -> None:
    async with _scene() as scene:
        worker = await scene.fork(hung_after=40)
        await worker.send(["sleeps", LONG])
        await scene.next(events.Hung)
        assert "still there" == await worker.ask("still there")


async def not_before_it_is_ready() -> None:
    """For that there is `start_timeout`."""
    async with _scene() as scene:
        worker = await scene.fork(actors.late, LONG, ready="called", hung_after=HEARTBEAT)
        worker.kill()
        await scene.next(events.Exit)
        assert 0 == scene.count(events.Hung)


async def nobody_asks_without_a_heartbeat() -> None:
    async with _scene() as scene:
        worker = await scene.fork(heartbeat=float("inf"))
        await worker.send(["sleeps", LONG])
        assert "still there" == await worker.ask("still there")
        worker.kill()
        await scene.next(events.Exit)
        assert 0 == scene.count(events.Hung)


SLOW = Together(
    {
        **{
            f"sleeping, {one}": partial(sleeping_is_reported_once_and_then_it_goes_on, one)
            for one in METHODS
        },
        "seven seconds": seven_seconds_with_the_usual_heartbeat,
        "recovers": whoever_recovers_in_time_is_not_killed,
        "not ready": not_before_it_is_ready,
        "no heartbeat": nobody_asks_without_a_heartbeat,
    }
)


@pytest.mark.parametrize("story", SLOW.names)
def test_what_takes_its_time(story: str) -> None:
    SLOW.check(story)


# ---- who is not stuck -------------------------------------------------------------------------


async def test_an_interrupted_primary_accuses_nobody(scene: Scene) -> None:
    """Its own loop stands still for many heartbeats; the answers are there when it goes on."""
    workers = [await scene.fork(hung_after=HEARTBEAT) for _ in range(3)]
    for _ in range(3):
        actors.sleeps(LONG)
        await trio.sleep(HEARTBEAT)
    assert [1, 2, 3] == [await worker.ask(n) for n, worker in enumerate(workers, 1)]


async def test_asks_that_are_given_up_are_no_sign_of_life(scene: Scene) -> None:
    """What we do on our side of the channel is nothing that the worker says."""
    worker = await scene.fork(hung_after=0.6)
    await worker.send(["spins"])
    with pytest.raises(PeerClosed):
        while True:
            with trio.move_on_after(0.02):
                await worker.ask("are you there?")
    assert "hung" == (await worker.wait()).reason


# ---- workers of others ------------------------------------------------------------------------


async def test_one_that_is_not_ours_and_answers(scene: Scene) -> None:
    program = (sys.executable, str(Path(__file__).with_name("foreign.py")), "answers")
    worker = await scene.fork(None, exec=program, hung_after=5.0)
    with trio.move_on_after(LONG):
        await worker.wait()
    assert "shutdown" == (await worker.disconnect()).reason
    await scene.next(events.Exit)
    assert 0 == scene.count(events.Hung)


async def test_one_that_is_not_ours_and_does_not(scene: Scene) -> None:
    program = (sys.executable, str(Path(__file__).with_name("foreign.py")), "silent")
    worker = await scene.fork(None, exec=program, hung_after=0.6)
    hung = await scene.next(events.Hung)
    assert (None, "it is no Python worker of ours") == (hung.stack, hung.no_stack)
    assert "hung" == (await worker.wait()).reason
