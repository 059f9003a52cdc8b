"""How a task is stopped, and what becomes of one that does not stop."""

from __future__ import annotations

import math
import os
from typing import Any

import pytest
import trio

from actorcluster import (
    Backoff,
    Child,
    Primary,
    Supervisor,
    WorkerStartError,
    current_actor,
    events,
    open_primary,
)
from actorcluster._worker.overseer import GRACE_SECONDS
from tests.e2e.supervised import comes, dies, run_tree, stops
from tests.tasks import actors


def task(name: str, main: Any, *args: Any, **options: Any) -> Child:
    return Child(name, main, run="task", args=args, **options)


class Stopwatch:
    """Seconds of the test's clock."""

    def __init__(self) -> None:
        self._begin = trio.current_time()

    @property
    def seconds(self) -> float:
        return round(trio.current_time() - self._begin, 1)


# ---- stopping ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("main", "args", "seconds"),
    [
        (actors.sleeps, (), 0),
        (actors.echo, (), 0),
        (actors.awaits_draining, (3.0,), 3),
        (actors.awaits_draining, (30.0,), 5),
        (actors.is_busy, (), 5),
        (actors.waits_shielded, (2.0,), 2),
    ],
)
async def test_a_stop_takes_as_long_as_what_is_under_way(
    main: Any, args: Any, seconds: float, autojump_clock: trio.abc.Clock
) -> None:
    """Idle at once, when it has finished, or at its limit."""
    async with run_tree([task("a", main, *args)]) as scene:
        watch, worker = Stopwatch(), scene.worker("a")
    assert seconds == watch.seconds
    status = await worker.wait()
    assert ("shutdown", 0, True) == (status.reason, status.code, status.voluntary)
    assert worker.exited_after_disconnect
    assert stops("a") == scene.lines
    assert ("dead", False, True) == (worker.state, worker.is_connected(), worker.is_dead())


@pytest.mark.parametrize(
    ("timeout", "seconds"), [(None, math.inf), (2.0, 2.0), (0, 0.0), (math.inf, math.inf)]
)
async def test_disconnect(
    timeout: float | None, seconds: float, autojump_clock: trio.abc.Clock
) -> None:
    """A later call can shorten the time."""
    async with run_tree([task("a", actors.is_busy)], shutdown_timeout=100) as scene:
        watch, worker = Stopwatch(), scene.worker("a")
        if seconds == math.inf:
            with trio.move_on_after(10):
                await worker.disconnect(timeout)
            assert "disconnecting" == worker.state
            timeout = 1
            seconds = 11.0
        assert "shutdown" == (await worker.disconnect(timeout)).reason
        assert seconds == watch.seconds
        assert {"a": "down"} == scene.states()


async def says_goodbye(actor: Any) -> None:
    await actor.disconnect()
    assert actor.draining.is_set()
    await actor.send("left")
    await trio.sleep_forever()


async def test_one_that_asks_to_leave_goes_on_until_it_is_idle(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with run_tree([task("a", says_goodbye, restart="temporary")]) as scene:
        assert "left" == (await scene.primary.mailbox.receive()).body
        await scene.until("exit a shutdown")


async def test_brutal_kill(autojump_clock: trio.abc.Clock) -> None:
    async with run_tree([task("a", actors.is_busy, shutdown="brutal_kill")]) as scene:
        watch, worker = Stopwatch(), scene.worker("a")
    assert 0 == watch.seconds
    status = await worker.wait()
    assert ("killed", None, None) == (status.reason, status.code, status.signal)


async def test_kill(autojump_clock: trio.abc.Clock) -> None:
    """As if by the signal; what is no signal is refused."""
    async with run_tree([task("a", actors.is_busy, restart="temporary")]) as scene:
        worker = scene.worker("a")
        for wrong in (0, "SIGNOTHING"):
            with pytest.raises(ValueError, match="no such signal"):
                worker.kill(wrong)
        await trio.sleep(1)
        assert "online" == worker.state
        worker.kill()
        worker.kill("SIGKILL")  # the first counts
        status = await worker.wait()
        worker.kill()  # nothing happens
    assert ("signal", "SIGTERM", None) == (status.reason, status.signal, status.code)
    assert not status.voluntary


async def test_who_it_is(autojump_clock: trio.abc.Clock) -> None:
    async with run_tree([task("a", actors.sleeps)]) as scene:
        worker = scene.worker("a")
        assert (os.getpid(), "task") == (worker.pid, worker.start_method)
        assert (None, None, None) == worker.stdio
        assert "root up\n  a up task" == str(scene.primary.tree())
        (info,) = scene.primary.which_children()
        assert (worker, "up") == (info.worker, info.state)
        assert 1 == scene.primary.count_children().workers


async def test_the_end_of_the_block_is_shorter_than_what_a_task_was_promised(
    autojump_clock: trio.abc.Clock,
) -> None:
    tree = Supervisor(children=[task("a", actors.is_busy, shutdown=60)])
    async with open_primary(tree, shutdown_timeout=10):
        watch = Stopwatch()
    assert 6 == watch.seconds


# ---- one that does not end --------------------------------------------------------------------


@pytest.mark.parametrize("main", [actors.waits_shielded, actors.swallows])
async def test_one_that_ignores_its_stop(
    main: Any, caplog: pytest.LogCaptureFixture, autojump_clock: trio.abc.Clock
) -> None:
    """Told, counted, and waited for by nobody; when it ends after all, that is noticed."""
    children = [task("a", actors.sleeps), task("b", main, 100.0, shutdown=1.0)]
    async with run_tree(children) as scene:
        watch, worker = Stopwatch(), scene.worker("b")
        await worker.disconnect(1.0)  # it is idle, so cancelled at once
        assert GRACE_SECONDS == watch.seconds
        assert 1 == scene.primary.statistics().given_up
        assert "up" == scene.states()["a"]
    assert GRACE_SECONDS == watch.seconds  # nobody has waited for it
    status = await worker.wait()
    assert ("lost", None, None, True) == (
        status.reason,
        status.code,
        status.signal,
        status.voluntary,
    )
    assert status.error is not None
    assert "cancelled 4 s ago and still runs, at" in status.error.text
    assert "tests/tasks/actors.py:" in status.error.text
    assert f"in {main.__name__}" in (status.error.traceback or "")
    assert status.report is not None
    expected = ["draining b", "error b", *dies("b", "lost"), *stops("a")]
    assert expected == scene.lines
    assert "b is given up" in caplog.text
    assert "ended after all" not in caplog.text
    await trio.sleep(200)
    assert "b, life 1, which was given up, has ended after all" in caplog.text
    assert 0 == scene.primary.statistics().given_up


async def test_its_place_is_served_again(autojump_clock: trio.abc.Clock) -> None:
    """One that was killed and goes on is replaced; the old one is not heard any more."""
    children = [task("b", shouts_when_deaf)]
    async with run_tree(children) as scene:
        old = scene.worker("b")
        old.kill()
        await scene.until("restart b 1")
        await scene.until("online b")
        assert 2 == scene.worker("b").incarnation
        await trio.sleep(10)
        assert ["first", "first"] == [scene.primary.mailbox.receive_nowait().body for _ in range(2)]
        with pytest.raises(trio.WouldBlock):
            scene.primary.mailbox.receive_nowait()
        assert 0 == scene.primary.statistics().given_up


async def shouts_when_deaf(actor: Any) -> None:
    await actor.send("first")
    with trio.CancelScope(shield=True):
        await trio.sleep(12)
    assert not actor.is_connected()
    await actor.send("never heard")


async def test_one_that_ignores_its_start_timeout(autojump_clock: trio.abc.Clock) -> None:
    async with run_tree([]) as scene:
        watch = Stopwatch()
        with pytest.raises(WorkerStartError) as info:
            await scene.primary.fork(
                actors.waits_shielded, 10.0, run="task", ready="called", start_timeout=2
            )
        assert 2 + GRACE_SECONDS == watch.seconds
        assert info.value.status is not None
        assert "lost" == info.value.status.reason
        await trio.sleep(10)


async def test_a_start_that_takes_too_long(autojump_clock: trio.abc.Clock) -> None:
    async with run_tree([]) as scene:
        with pytest.raises(WorkerStartError, match=r"not ready within 2 seconds") as info:
            await scene.primary.fork(
                actors.sleeps, False, run="task", ready="called", start_timeout=2
            )
    assert 2 == info.value.timeout


# ---- forks ------------------------------------------------------------------------------------


async def test_fork(autojump_clock: trio.abc.Clock) -> None:
    async with run_tree([]) as scene:
        worker = await scene.primary.fork(actors.echo, run="task", name="x")
        assert ["x", 1] == await worker.ask(1)
        again = scene.primary.fork_soon(
            actors.crashes, run="task", name="y", restart="permanent", ready="called"
        )
        assert "none" == again.state
        assert "error" == (await again.wait()).reason  # a first start is not retried
        with trio.move_on_after(1) as scope:
            await scene.primary.fork(actors.sleeps, False, run="task", ready="called", name="z")
        assert scope.cancelled_caught
        assert [worker] == list(scene.primary.workers.values())
    assert [*comes("x", "y"), *dies("y", "error")] == scene.lines[:6]


@pytest.mark.parametrize("how", ["stop", "brutal_kill", "kill"])
async def test_one_that_is_told_to_end_before_it_has_begun(
    how: str, autojump_clock: trio.abc.Clock
) -> None:
    """It never runs main."""
    async with open_primary() as primary:
        with primary.events() as happened:
            worker = primary.fork_soon(actors.crashes, run="task")
            getattr(worker._life, how)(*([15] if how == "kill" else []))
            reasons = {"stop": "shutdown", "brutal_kill": "killed", "kill": "signal"}
            assert reasons[how] == (await worker.wait()).reason
            assert not worker._life.was_ready
    assert events.Online not in [type(event) async for event in happened]


async def test_what_fork_refuses(autojump_clock: trio.abc.Clock) -> None:
    async with open_primary() as primary:
        for wrong, text in [
            ({"exec": "x.py"}, "exec: 'worker-1' runs as a task"),
            ({"settings": {"cwd": "/"}}, "settings: 'worker-1' runs as a task"),
        ]:
            with pytest.raises(ValueError, match=text):
                primary.fork_soon(actors.sleeps, run="task", **wrong)  # type: ignore[arg-type]  # wrong on purpose
        with pytest.raises(ValueError, match="needs a function"):
            primary.fork_soon(run="task")
        with pytest.raises(TypeError, match="it takes"):
            primary.fork_soon(actors.sleeps, 1, 2, 3, run="task")
        assert {} == primary.workers


async def test_a_name_that_leads_nowhere(autojump_clock: trio.abc.Clock) -> None:
    """Found before it starts, or by its start."""
    async with open_primary() as primary:
        with pytest.raises(TypeError, match="has no 'nobody'"):
            await primary.fork("tests.tasks.actors:nobody", run="task")
        worker = await primary.fork("tests.tasks.actors:echo", run="task")
        assert [worker.name, 1] == await worker.ask(1)


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
async def test_a_fork_waits_while_all_are_restarted(
    strategy: str, autojump_clock: trio.abc.Clock
) -> None:
    """What is forked belongs to the children that the strategy ties to one that failed."""
    slowly = Backoff(min=3, max=3, jitter=0)
    child = task("a", actors.puppet, ready="called", backoff=slowly)
    async with run_tree([child], strategy=strategy) as scene:
        first = await scene.primary.fork(actors.echo, run="task", name="x", restart="permanent")
        await scene.worker("a").send("raise")
        await first.wait()
        watch = Stopwatch()
        with pytest.raises(trio.ClosedResourceError, match="stopped just now"):
            scene.primary.fork_soon(actors.echo, run="task")
        with trio.move_on_after(1) as scope:
            await scene.primary.fork(actors.echo, run="task")
        assert scope.cancelled_caught
        worker = await scene.primary.fork(actors.echo, run="task", name="y")
        assert 3 == watch.seconds
        assert ["y", 1] == await worker.ask(1)
        assert {"a": "up", "x": "up", "y": "up"} == scene.states()
    with pytest.raises(trio.ClosedResourceError):
        await scene.primary.fork(actors.echo, run="task")


# ---- interrupts, and the primary's end --------------------------------------------------------


async def test_an_interrupt_in_a_task_is_one_of_the_program(autojump_clock: trio.abc.Clock) -> None:
    """As in the body: the block is stopped, and the program goes on behind it."""
    reached: list[str] = []
    tree = Supervisor(children=[task("a", actors.puppet, ready="called"), task("b", actors.echo)])
    async with open_primary(tree) as primary:
        a = next(iter(primary.workers.values()))
        await a.send("interrupt")
        await trio.sleep(60)
        reached.append("never")
    assert [] == reached
    status = await a.wait()
    assert ("signal", "SIGINT") == (status.reason, status.signal)


async def test_a_body_that_fails(autojump_clock: trio.abc.Clock) -> None:
    async def body(primary: Primary) -> None:
        await primary.fork(actors.is_busy, run="task")
        raise KeyError("body")

    with pytest.raises(KeyError, match="body"):
        async with open_primary() as primary:
            await body(primary)
    with pytest.raises(RuntimeError, match="no actor"):
        current_actor()
