"""The primary's books: forks that are refused, events, waiting, names, and what is kept of whom."""

from __future__ import annotations

import contextlib
import gc
import math
import weakref
from typing import Any, cast

import pytest
import trio
import trio.testing

import actorcluster
from actorcluster import PeerClosed, Settings, Worker, WorkerStartError, events
from actorcluster._cluster.seating import drain_seconds
from tests.e2e import actors

# ---- settings ---------------------------------------------------------------------------------


async def test_setup_is_cumulative_and_told() -> None:
    """Later forks only; one event for each call, also for one that is about nobody."""
    async with actorcluster.open_primary(settings={"args": ["a"]}) as primary:
        with primary.events(events.Setup) as setups:
            primary.setup_primary(silent=True)
            primary.setup_primary(args=["b"])
            with pytest.raises(TypeError, match="nosuch"):
                primary.setup_primary(nosuch=1)
            told = [cast("events.Setup", await anext(setups)).settings for _ in range(2)]
        assert [Settings(args=["a"], silent=True), Settings(args=["b"], silent=True)] == told
        assert told[1] == primary.settings
        worker = await primary.fork(actors.idle, settings={"silent": False})
        assert Settings(args=["b"]) == worker.settings


# ---- forks that are refused -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "primary", 5, b"x"])
async def test_what_is_no_name(name: Any) -> None:
    async with actorcluster.open_primary() as primary:
        with pytest.raises((TypeError, ValueError), match="name must be a"):
            primary.fork_soon(actors.idle, name=name)
        assert {} == dict(primary.workers)


async def test_a_default_name_may_be_taken() -> None:
    async with actorcluster.open_primary() as primary:
        await primary.fork(actors.idle, name="worker-2")
        third = await primary.fork(actors.idle)
        assert (3, "worker-3") == (third.id, third.name)  # there is no worker 2
        fourth = await primary.fork(actors.idle)
        assert (4, "worker-4", 1) == (fourth.id, fourth.name, fourth.incarnation)


async def test_a_refused_fork_has_used_up_nothing() -> None:
    """No id, no name, no event, no process."""
    async with actorcluster.open_primary() as primary:
        with primary.events() as everything:
            for wrong in ({"ready": "maybe"}, {"restart": "always"}, {"nosuch": 1}):
                with pytest.raises((TypeError, ValueError)):
                    primary.fork_soon(actors.idle, name="web", **cast("Any", wrong))
            with pytest.raises(TypeError):
                primary.fork_soon(lambda actor: None, name="web")
            worker = await primary.fork(actors.idle, name="web")
            assert isinstance(await anext(everything), events.Fork)
        assert (1, 1) == (worker.id, worker.incarnation)


async def test_a_fork_that_is_cancelled_already() -> None:
    """It did not happen."""
    async with actorcluster.open_primary() as primary:
        with primary.events() as everything, trio.CancelScope() as scope:
            scope.cancel()
            await primary.fork(actors.idle)
        assert scope.cancelled_caught
        assert [] == [event async for event in everything]


async def test_a_worker_that_is_told_to_stop_while_it_starts() -> None:
    """Who waits for it to be ready learns that it will not be."""
    async with actorcluster.open_primary() as primary, trio.open_nursery() as nursery:

        async def fork() -> None:
            with pytest.raises(WorkerStartError) as caught:
                await primary.fork(actors.never_ready, ready="called")
            assert caught.value.status is not None
            assert "shutdown" == caught.value.status.reason

        nursery.start_soon(fork)
        await trio.testing.wait_all_tasks_blocked()
        await primary.disconnect()


@pytest.mark.parametrize("kind", ["ends", "is stopped", "is cancelled"])
async def test_the_pipes_of_a_failed_start_are_closed(kind: str) -> None:
    """Nobody has them: the caller did not get the worker."""
    target = raises_escapes if kind == "ends" else actors.never_ready
    options: dict[str, Any] = {"ready": "called", "settings": {"stdio": ["pipe"] * 3}}
    async with actorcluster.open_primary() as primary:
        with primary.events(events.Fork, events.Online) as happened:
            async with trio.open_nursery() as nursery:

                async def fork() -> None:
                    with contextlib.suppress(WorkerStartError):
                        await primary.fork(target, **options)

                nursery.start_soon(fork)
                worker = (await anext(happened)).worker
                await anext(happened)
                if kind == "is cancelled":
                    nursery.cancel_scope.cancel()
                elif kind == "is stopped":
                    nursery.start_soon(worker.disconnect)
        assert worker.stdin is not None
        with pytest.raises(trio.ClosedResourceError):
            await worker.stdin.send_all(b"x")
        for stream in (worker.stdout, worker.stderr):
            assert stream is not None
            with pytest.raises(trio.ClosedResourceError):
                await stream.receive_some()


async def test_untrusted_words_in_the_error_of_a_start() -> None:
    async with actorcluster.open_primary(settings={"stdio": ["ignore"] * 3}) as primary:
        with pytest.raises(WorkerStartError) as caught:
            await primary.fork(raises_escapes, ready="called")
    assert "\x1b" not in str(caught.value)
    assert r"\x1b]0;title" in str(caught.value)


async def raises_escapes(actor: actorcluster.Actor) -> None:
    raise ValueError("\x1b]0;title\x07")


# ---- waiting ----------------------------------------------------------------------------------


async def test_wait_for_the_past_the_future_and_never() -> None:
    async with actorcluster.open_primary() as primary, trio.open_nursery() as nursery:
        worker = primary.fork_soon(actors.idle)
        got = []

        async def wait_for(kind: type[events.Event]) -> None:
            got.append(await primary.wait_for(kind, worker))

        for kind in (events.Exit, events.Disconnect, events.Draining, events.Online, events.Fork):
            nursery.start_soon(wait_for, kind)
        await primary.wait_for(events.Online, worker)
        assert isinstance(await primary.wait_for(events.Event, worker), events.Fork)
        status = await worker.disconnect()
    assert {"Fork", "Online", "Draining", "Disconnect", "Exit"} == {
        type(event).__name__ for event in got
    }
    assert [status] == [event.status for event in got if isinstance(event, events.Exit)]


async def test_wait_for_what_can_no_longer_happen() -> None:
    """Known as soon as it is impossible: with the channel goes all but the exit."""
    async with actorcluster.open_primary() as primary, trio.open_nursery() as nursery:
        worker = await primary.fork(actors.closes_its_channel)

        async def never() -> None:
            with pytest.raises(PeerClosed, match="Listening"):
                await primary.wait_for(events.Listening, worker)
            assert not worker.is_dead()
            worker.kill("SIGKILL")

        nursery.start_soon(never)
        assert "SIGKILL" == (await primary.wait_for(events.Exit, worker)).status.signal
        with pytest.raises(PeerClosed):
            await primary.wait_for(events.Error, worker)


async def test_wait_for_is_checked() -> None:
    async with actorcluster.open_primary() as one, actorcluster.open_primary() as other:
        worker = one.fork_soon(actors.idle)
        with pytest.raises(ValueError, match="not a worker of this primary"):
            await other.wait_for(events.Exit, worker)
        with pytest.raises(TypeError, match="a worker is a Worker, as fork returns it, not 'x'"):
            await one.wait_for(events.Exit, cast("Any", "x"))
        with pytest.raises(TypeError, match="not an event class"):
            await one.wait_for(cast("Any", int), worker)


async def test_disconnect_is_checked() -> None:
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(actors.idle)
        with pytest.raises(ValueError, match="timeout"):
            await primary.disconnect(-1)
        assert "online" == worker.state


async def test_wait_until_nobody_lives() -> None:
    async with actorcluster.open_primary() as primary, trio.open_nursery() as nursery:
        await primary.wait()
        for _ in range(2):
            worker = await primary.fork(actors.idle)
            nursery.start_soon(worker.disconnect)
        await primary.wait()
        assert {} == dict(primary.workers)


async def test_workers_is_a_snapshot() -> None:
    async with actorcluster.open_primary() as primary:
        before = primary.workers
        worker = await primary.fork(actors.idle)
        assert {} == dict(before)
        assert {1: worker} == dict(primary.workers)
        with pytest.raises(TypeError):
            primary.workers[2] = worker  # type: ignore[index]  # wrong on purpose


async def test_statistics() -> None:
    async with actorcluster.open_primary() as primary:
        await primary.fork(actors.tell_args)
        await primary.wait()
        statistics = primary.statistics()
        assert 1 == statistics.mailbox.messages
        assert {} == dict(statistics.workers)
        worker = await primary.fork(actors.idle)
        assert {worker.id} == set(primary.statistics().workers)


# ---- what is kept -----------------------------------------------------------------------------


async def test_nothing_is_kept_of_a_worker_that_is_gone() -> None:
    """A primary that lives for years forks many workers."""
    async with actorcluster.open_primary() as primary:
        gone: list[weakref.ref[Worker]] = []
        for name in (None, "web", "web"):
            worker = await primary.fork(actors.names_itself, name=name)
            assert [worker.name, "primary", 1] == await primary.ref(worker.name).ask(1)
            await worker.disconnect()
            gone.append(weakref.ref(worker))
            del worker
        gc.collect()
        assert [None] * 3 == [ref() for ref in gone]
        with pytest.raises(PeerClosed):
            await primary.ref("web").send("x")


# ---- the end ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shutdown", "limit", "expected"),
    [
        (5.0, math.inf, 5.0),
        (math.inf, math.inf, math.inf),
        (5.0, 20.0, 5.0),  # the rungs fit below the limit anyway
        (5.0, 8.0, 4.0),  # main is cancelled so early that they fit
        (math.inf, 10.0, 6.0),
        (5.0, 1.0, 0.5),  # they cannot; main has half of the time
        (5.0, 0.0, 0.0),
        (0.1, 1.0, 0.1),
    ],
)
def test_when_main_is_cancelled_under_a_limit(
    shutdown: float, limit: float, expected: float
) -> None:
    assert expected == drain_seconds(shutdown, limit)


async def test_kill_all() -> None:
    async with actorcluster.open_primary() as primary:
        workers = [await primary.fork(actors.deaf, ready="called") for _ in range(2)]
        primary._kill_all()
        with trio.fail_after(60):
            statuses = [await worker.wait() for worker in workers]
    assert ["killed", "killed"] == [status.reason for status in statuses]


async def test_stop_soon_from_a_thread() -> None:
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(actors.idle)
        await trio.to_thread.run_sync(primary._stop_soon)
        await trio.sleep_forever()
    assert "shutdown" == (await worker.wait()).reason


def test_stop_soon_after_the_run() -> None:
    async def main() -> None:
        async with actorcluster.open_primary() as primary:
            left.append(primary)

    left: list[actorcluster.Primary] = []
    trio.run(main)
    left[0]._stop_soon()
