"""open_primary(): how the block ends, whatever ends it."""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
import weakref
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import trio
from trio.lowlevel import currently_ki_protected
from trio.testing import wait_all_tasks_blocked

import actorcluster
from actorcluster import Primary, Settings, Worker, events, open_primary
from actorcluster._cluster.open import open_primaries
from tests.e2e import actors

PACKAGE = str(Path(actorcluster.__file__).parent)
RUNNER = trio.run.__code__.co_filename
"""Where Trio gives each task its turn."""


async def reasons(*workers: Worker) -> list[str]:
    """How workers ended; they have."""
    assert all(worker.is_dead() for worker in workers)
    return [(await worker.wait()).reason for worker in workers]


# ---- the body raises ----------------------------------------------------------------------


class Strange(BaseException):
    """Not an Exception."""


@pytest.mark.parametrize(
    "error",
    [
        ValueError("mine"),
        Strange(),
        SystemExit(3),
        StopIteration(1),
        StopAsyncIteration(),
        GeneratorExit(),
        OSError(5, "mine"),
        ExceptionGroup("mine", [ValueError(), KeyError()]),
        BaseExceptionGroup("mixed", [KeyboardInterrupt(), ValueError()]),
    ],
    ids=repr,
)
async def test_what_the_body_raises_leaves_as_it_is(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        async with open_primary():
            raise error
    assert error is caught.value
    assert (None, None) == (error.__cause__, error.__context__)
    assert set() == open_primaries


async def test_groups_of_nurseries_in_the_body_leave_as_they_are() -> None:
    async def fail(number: int) -> None:
        raise ValueError(number)

    async def body() -> None:
        async with trio.open_nursery() as outer:
            outer.start_soon(fail, 1)
            async with trio.open_nursery() as inner:
                inner.start_soon(fail, 2)

    inside: list[ExceptionGroup] = []
    with pytest.raises(ExceptionGroup) as caught:
        async with open_primary():
            try:
                await body()
            except ExceptionGroup as exc:
                inside.append(exc)
                raise
    assert inside == [caught.value]


async def test_what_the_body_raised_is_freed_at_once() -> None:
    """No cycle of exception, traceback and frame keeps the body's objects alive."""

    class Thing:
        pass

    async def body() -> None:
        thing = Thing()
        references.append(weakref.ref(thing))
        raise ValueError(thing)

    references: list[weakref.ref[Thing]] = []
    gc.disable()
    try:
        with contextlib.suppress(ValueError):
            async with open_primary():
                await body()
        assert [None] == [reference() for reference in references]
    finally:
        gc.enable()


async def test_body_raises_while_a_stop_cancels_it() -> None:
    """A stop absorbs the cancellation, not the error of cleaning up."""
    with pytest.raises(KeyError, match="while cleaning up"):
        async with open_primary() as primary:
            primary._stop_soon()
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("while cleaning up")


async def test_body_raises_and_is_cancelled_from_outside() -> None:
    """The error is not lost in the shielded stop."""
    with trio.CancelScope() as scope:
        with pytest.raises(KeyError, match="mine"):
            async with open_primary() as primary:
                worker = await primary.fork(actors.idle)
                scope.cancel()
                raise KeyError("mine")
    assert not scope.cancelled_caught
    assert ["shutdown"] == await reasons(worker)


# ---- the body is cancelled ----------------------------------------------------------------


async def test_cancelled_from_outside_stops_all_workers_gracefully() -> None:
    """Shielded; only then the cancellation goes on."""
    with trio.CancelScope() as scope:
        async with open_primary() as primary:
            workers = [await primary.fork(actors.cleans_up) for _ in range(2)]
            scope.cancel()
            await trio.sleep_forever()
        raise AssertionError("the block ended normally")
    assert scope.cancelled_caught
    assert ["shutdown"] * 2 == await reasons(*workers)
    assert ["cleaned up"] * 2 == [worker.mailbox.receive_nowait().body for worker in workers]
    assert set() == open_primaries


async def test_cancelled_before_it_is_entered() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_primary():
            raise AssertionError("the block was entered")
    assert scope.cancelled_caught
    assert set() == open_primaries


async def test_a_stop_is_absorbed() -> None:
    """It cancels the body alone, and what comes after the block happens."""
    async with open_primary() as primary:
        worker = await primary.fork(actors.idle)
        primary._stop_soon()
        await trio.sleep_forever()
    await trio.lowlevel.checkpoint()
    assert ["shutdown"] == await reasons(worker)


async def test_a_stop_may_be_asked_for_anywhere() -> None:
    """In another thread, twice, and when all is over."""
    async with open_primary() as primary:
        await trio.to_thread.run_sync(primary._stop_soon)
        primary._stop_soon()
        await trio.sleep_forever()
    primary._stop_soon()
    await trio.lowlevel.checkpoint()


def test_a_stop_after_the_loop_is_nothing() -> None:
    async def main() -> Primary:
        async with open_primary() as primary:
            pass
        return primary

    trio.run(main)._stop_soon()


async def test_nested_primaries_end_from_the_inside() -> None:
    """Stopping the outer one stops both; stopping the inner one leaves the outer as it is."""
    async with open_primary() as outer:
        first = await outer.fork(actors.idle)
        async with open_primary() as inner:
            second = await inner.fork(actors.idle)
            inner._stop_soon()
            await trio.sleep_forever()
        assert second.is_dead()
        assert first.is_connected()
        async with open_primary() as inner:
            third = await inner.fork(actors.idle)
            outer._stop_soon()
            await trio.sleep_forever()
        await trio.sleep_forever()
    assert ["shutdown"] * 3 == await reasons(first, second, third)


async def test_a_bug_in_a_task_of_ours_leaves_nothing_behind() -> None:
    """The only way to a group that is not the body's."""

    async def crash() -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as caught:
        async with open_primary() as primary:
            worker = await primary.fork(actors.idle)
            primary._nursery.start_soon(crash)
            await trio.sleep_forever()
    assert caught.group_contains(ZeroDivisionError)
    assert worker.is_dead()


# ---- leaving it ---------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0, 0.2])
async def test_shutdown_timeout(timeout: float) -> None:
    """However much time the worker was promised, then it is killed."""
    async with open_primary(shutdown_timeout=timeout) as primary:
        worker = await primary.fork(actors.stubborn, shutdown=float("inf"))
        begin = trio.current_time()
    assert timeout <= trio.current_time() - begin < timeout + 2
    assert ["killed"] == await reasons(worker)


async def test_last_words_are_readable_after_the_block() -> None:
    async with open_primary() as primary:
        await primary.fork(actors.cleans_up)
    assert "cleaned up" == (await primary.mailbox.receive()).body


async def test_everything_waiting_is_woken() -> None:
    """Who waits for an event, a worker or mail when the primary closes hears of it."""
    outcomes: list[str] = []

    async def note(name: str, async_fn: Callable[[], Awaitable[object]]) -> None:
        try:
            await async_fn()
        except Exception as exc:  # noqa: BLE001  (whatever it is, it is compared)
            name = f"{name} {type(exc).__name__}"
        outcomes.append(name)

    async with trio.open_nursery() as nursery:
        async with open_primary() as primary:
            worker = await primary.fork(actors.idle)
            waits: dict[str, Callable[[], Awaitable[object]]] = {
                "mail": primary.mailbox.receive,
                "its mail": worker.mailbox.receive,
                "worker": worker.wait,
                "listening": lambda: primary.wait_for(events.Listening, worker),
                "fork": lambda: primary.fork(actors.never_ready, ready="called"),
                "all": primary.wait,
            }
            for name, wait in waits.items():
                nursery.start_soon(note, name, wait)
            await wait_all_tasks_blocked()
    assert [
        "all",
        "fork ClosedResourceError",
        "its mail EndOfChannel",
        "listening ClosedResourceError",
        "mail EndOfChannel",
        "worker",
    ] == sorted(outcomes)


# ---- arguments ----------------------------------------------------------------------------


@pytest.mark.parametrize("given", [Settings(args=("x",)), {"args": ["x"]}])
async def test_settings(given: Any) -> None:
    async with open_primary(settings=given) as primary:
        assert Settings(args=("x",)) == primary.settings


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"settings": {"agrs": []}}, TypeError, "no such setting: 'agrs'; there are: exec, args"),
        ({"settings": {"uid": -1}}, ValueError, "uid must be"),
        ({"settings": ["args"]}, TypeError, "settings must be a Settings or a mapping"),
        ({"scheduling_policy": "rr"}, ValueError, "must be SCHED_RR or SCHED_NONE, not 'rr'"),
        ({"shutdown_timeout": -1}, ValueError, "shutdown_timeout must not be negative, not -1"),
        ({"shutdown_timeout": float("nan")}, ValueError, "shutdown_timeout must not be negative"),
        ({"shutdown_timeout": "5"}, TypeError, "shutdown_timeout must be a number of seconds or"),
        ({"shutdown_timeout": True}, TypeError, "shutdown_timeout must be a number of seconds or"),
    ],
)
async def test_bad_arguments(options: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        async with open_primary(**options):
            raise AssertionError("the block was entered")
    assert set() == open_primaries


async def test_the_variable_replaces_the_default_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    async def policy(**given: Any) -> str:
        async with open_primary(**given) as primary:
            pass
        return primary._ports._policy

    name = "ACTORCLUSTER_SCHED_POLICY"
    found = []
    for value in ("", "rr", "none"):
        monkeypatch.setenv(name, value)
        found.append(await policy())
    assert [actorcluster.SCHED_RR, actorcluster.SCHED_RR, actorcluster.SCHED_NONE] == found
    monkeypatch.setenv(name, "rr")
    none = actorcluster.SCHED_NONE
    assert none == await policy(scheduling_policy=none)
    monkeypatch.setenv(name, "fair")
    with pytest.raises(ValueError, match=f"{name} must be 'rr' or 'none', not 'fair'"):
        await policy()


# ---- KeyboardInterrupt under plain trio.run -----------------------------------------------


@pytest.fixture
def interrupts() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, also where the tests run as a background job."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    """Press Ctrl-C now."""
    signal.raise_signal(signal.SIGINT)


async def interrupt_sleepers() -> None:
    """Press Ctrl-C when nothing runs."""
    await wait_all_tasks_blocked()
    interrupt()


async def interrupt_when_draining(
    primary: Primary, times: int, task_status: trio.TaskStatus[None]
) -> None:
    """Press Ctrl-C while the workers are being stopped."""
    with primary.events(events.Draining) as drains:
        task_status.started()
        await anext(drains)
    for _ in range(times):
        trio.lowlevel.spawn_system_task(interrupt_sleepers)
        await wait_all_tasks_blocked(0.01)


@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize(("nurseries", "sleeping"), [(0, False), (0, True), (1, False), (2, True)])
def test_interrupt_in_the_body_is_a_stop(nurseries: int, sleeping: bool) -> None:
    """However many nurseries wrap it."""

    async def body(depth: int) -> None:
        if depth:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                await body(depth - 1)
        if sleeping:
            trio.lowlevel.spawn_system_task(interrupt_sleepers)
        else:
            interrupt()
        await trio.sleep_forever()

    async def main() -> str:
        async with open_primary() as primary:
            worker = await primary.fork(actors.idle)
            await body(nurseries)
        (reason,) = await reasons(worker)
        return reason

    assert "shutdown" == trio.run(main)


@pytest.mark.usefixtures("interrupts")
def test_interrupt_at_the_door() -> None:
    """The block is not entered, and KeyboardInterrupt is as bare as anywhere else."""

    @trio.lowlevel.enable_ki_protection
    def interrupt_next_wait() -> None:
        interrupt()

    async def main() -> None:
        interrupt_next_wait()
        async with open_primary():
            raise AssertionError("the block was entered")

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert set() == open_primaries


@pytest.mark.usefixtures("interrupts")
def test_interrupt_of_another_task() -> None:
    """Where the block is not in the main task the interrupt goes up, behind a graceful stop."""
    workers = []

    async def block() -> None:
        async with open_primary() as primary:
            workers.append(await primary.fork(actors.idle))
            trio.lowlevel.spawn_system_task(interrupt_sleepers)
            await trio.sleep_forever()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(block)

    with pytest.raises(BaseExceptionGroup) as caught:
        trio.run(main)
    assert caught.group_contains(KeyboardInterrupt)
    assert ["shutdown"] == trio.run(reasons, *workers)


@pytest.mark.usefixtures("interrupts")
def test_first_interrupt_when_the_body_is_over() -> None:
    """The stop under way stays graceful; then the interrupt leaves: nobody else heard of it."""
    workers = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            async with open_primary() as primary:
                workers.append(await primary.fork(actors.cleans_up))
                await nursery.start(interrupt_when_draining, primary, 1)

    with pytest.raises(BaseExceptionGroup) as caught:
        trio.run(main)
    assert caught.group_contains(KeyboardInterrupt)
    assert ["shutdown"] == trio.run(reasons, *workers)


@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize("in_body", [True, False])
def test_second_interrupt_kills_all(in_body: bool) -> None:
    """And goes up, with what ended the body as its context."""
    workers = []
    error = ValueError("mine")

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            async with open_primary() as primary:
                workers.append(await primary.fork(actors.stubborn, shutdown=float("inf")))
                await nursery.start(interrupt_when_draining, primary, 1 if in_body else 2)
                if in_body:
                    interrupt()
                raise error

    with pytest.raises(BaseExceptionGroup) as caught:
        trio.run(main)
    (second,) = caught.value.exceptions
    assert isinstance(second, KeyboardInterrupt)
    assert (KeyboardInterrupt if in_body else ValueError) is type(second.__context__)
    assert ["killed"] == trio.run(reasons, *workers)


async def test_an_interrupt_hits_no_task_of_ours() -> None:
    """It would end a worker's life half done.

    What runs in the caller's task may be hit, but not where the books are changed.
    """
    tasks, calls = set(), set()

    def look(frame: FrameType, what: str, _: object) -> None:
        name = frame.f_code.co_filename
        if what == "call" and name.startswith(PACKAGE) and not currently_ki_protected():
            calls.add(frame.f_code.co_qualname)
            assert frame.f_back is not None
            if frame.f_back.f_code.co_filename == RUNNER:
                tasks.add(frame.f_code.co_qualname)

    sys.setprofile(look)
    try:
        async with open_primary() as primary:
            worker = await primary.fork(actors.serve_pid, ready="listening")
            executed = await primary.fork(actors.echo, settings={"start_method": "exec"})
            assert "hello" == await executed.ask("hello")
            await worker.disconnect()
            with pytest.raises(actorcluster.WorkerStartError):
                await primary.fork(actors.never_ready, ready="called", start_timeout=0)
    finally:
        sys.setprofile(None)
    assert set() == tasks
    assert "ForkOperations.fork" in calls
    assert set() == calls & {"Seating._begin", "Life.stop", "Seat.emit", "Starter.start"}
