"""The primary's view of one worker."""

from __future__ import annotations

import math
from typing import Any

import pytest
import trio

from actorcluster import PeerClosed, Settings, Worker
from actorcluster._worker.worker import WorkerStatistics, patience
from actorcluster.wire import events
from tests.worker.rig import Rig, leaves, rig, settle


def worker_of(one: Rig) -> Worker:
    return Worker(incarnation=4, settings=Settings(args=["x"]), life=one.life, place=one.moments)


async def test_facts_through_a_whole_life() -> None:
    async with rig(worker_id=9, name="web") as one:
        worker = worker_of(one)
        assert (9, "web", 4, ("x",)) == (
            worker.id,
            worker.name,
            worker.incarnation,
            worker.settings.args,
        )
        assert (None, None, None) == (worker.pid, worker.start_method, worker.stdin)
        assert (None, None, None) == worker.stdio
        assert ("none", True, False, None) == facts(worker)
        assert worker.statistics().channel is None
        await one.comes_online()
        assert ("online", True, False, None) == facts(worker)
        assert one.life.process is not None
        assert (one.life.process.pid, "exec") == (worker.pid, worker.start_method)
        assert (None, None, None) == (worker.stdin, worker.stdout, worker.stderr)
        assert f"<Worker 9 'web' pid={worker.pid} online>" == repr(worker)
        one.life.set_listening()
        assert ("listening", True, False, None) == facts(worker)
        one.life.stop()
        assert ("disconnecting", True, False, True) == facts(worker)
        pid = worker.pid
        status = await leaves(one)
        assert ("dead", False, True, True) == facts(worker)
        assert pid == worker.pid
        assert status is await worker.wait()
        assert status is await worker.disconnect()
        assert isinstance(worker.statistics(), WorkerStatistics)


def facts(worker: Worker) -> tuple[str, bool, bool, bool | None]:
    return (
        worker.state,
        worker.is_connected(),
        worker.is_dead(),
        worker.exited_after_disconnect,
    )


async def test_exited_without_being_told() -> None:
    async with rig() as one:
        await one.comes_online()
        worker = worker_of(one)
        await leaves(one)
        assert worker.exited_after_disconnect is False
        await worker.disconnect()  # too late to make a difference
        assert worker.exited_after_disconnect is False


async def test_left_but_not_dead() -> None:
    """Whether it was told to is known as soon as it has left."""
    async with rig() as one:
        await one.comes_online()
        worker = worker_of(one)
        one.life.stop()
        one.life._disconnect()
        assert ("disconnected", False, False, True) == facts(worker)
        await leaves(one)


async def test_mail() -> None:
    async with rig() as one, trio.open_nursery() as nursery:
        worker = worker_of(one)

        async def ask() -> None:
            assert "answer" == await worker.ask("question")

        # Before it is online these wait, and that one would.
        nursery.start_soon(worker.send, 1)
        with pytest.raises(trio.WouldBlock):
            worker.send_nowait(2)
        await settle()
        await one.comes_online()
        assert 1 == (await one.worker.receive()).body
        worker.send_nowait(3)
        assert 3 == (await one.worker.receive()).body
        nursery.start_soon(ask)
        await (await one.worker.receive()).reply("answer")
        statistics = worker.statistics().channel
        assert statistics is not None
        assert 0 == statistics.senders_waiting
        await one.worker.channel.send("to you")
        assert "to you" == (await worker.mailbox.receive()).body
        assert worker.mailbox is one.life.mailbox


async def test_mail_for_the_dead() -> None:
    async with rig() as one:
        await one.comes_online()
        worker = worker_of(one)
        status = await leaves(one)
        for attempt in (worker.send, worker.ask):
            with pytest.raises(PeerClosed) as caught:
                await attempt("x")
            assert status is caught.value.status
        with pytest.raises(PeerClosed):
            worker.send_nowait("x")


async def test_waiting_for_one_that_never_comes_online() -> None:
    outcomes: list[Any] = []

    async def attempt(what: Any) -> None:
        try:
            await what("x")
        except PeerClosed as exc:
            outcomes.append(exc.status)

    async with rig() as one, trio.open_nursery() as nursery:
        worker = worker_of(one)
        nursery.start_soon(attempt, worker.send)
        nursery.start_soon(attempt, worker.ask)
        await settle()
        one.process_ends()
        status = await one.ends()
        await settle()
    assert [status, status] == outcomes


async def test_asks_when_the_primary_has_closed() -> None:
    async with rig() as one, trio.open_nursery() as nursery:
        worker = worker_of(one)
        outcomes: list[Any] = []

        async def ask() -> None:
            try:
                await worker.ask("x")
            except trio.ClosedResourceError as exc:
                outcomes.append(exc)

        nursery.start_soon(ask)  # waits until it is online
        await settle()
        await one.comes_online()
        nursery.start_soon(ask)  # waits for its answer
        await one.worker.receive()
        one.life.close_primary()
        await settle()
        nursery.start_soon(ask)  # comes too late
        await settle()
        assert [trio.ClosedResourceError] * 3 == [type(outcome) for outcome in outcomes]
        await worker.send("this still goes")


async def test_disconnect_joins_and_shortens() -> None:
    async with rig() as one, trio.open_nursery() as nursery:
        await one.comes_online()
        worker = worker_of(one)
        statuses = []

        async def disconnect(timeout: float | None) -> None:
            statuses.append(await worker.disconnect(timeout))

        for timeout in (None, 7):
            nursery.start_soon(disconnect, timeout)
            await one.hears(events.Stop)
        status = await leaves(one)
    assert [status, status] == statuses


async def test_a_cancelled_disconnect_stays_told() -> None:
    async with rig() as one:
        await one.comes_online()
        with trio.move_on_after(0):
            await worker_of(one).disconnect()
        await one.hears(events.Stop)


@pytest.mark.parametrize(("name", "expected"), [("SIGUSR1", "SIGUSR1"), (9, "SIGKILL")])
async def test_kill(name: str | int, expected: str) -> None:
    async with rig() as one:
        await one.comes_online()
        worker_of(one).kill(name)
        assert expected == (await one.ends()).signal


@pytest.mark.parametrize("name", ["NOSUCH", "sigterm", "", 0, 1000, -1, None, 9.5])
async def test_kill_with_no_signal(name: Any) -> None:
    async with rig() as one:
        with pytest.raises(ValueError, match="no such signal"):
            worker_of(one).kill(name)


@pytest.mark.parametrize(("given", "expected"), [(None, math.inf), (0, 0.0), (2.5, 2.5)])
def test_timeouts(given: float | None, expected: float) -> None:
    assert expected == patience(given)


@pytest.mark.parametrize(
    ("given", "error"),
    [(-1, ValueError), (math.nan, ValueError), ("5", TypeError), (True, TypeError)],
)
async def test_what_is_no_timeout(given: Any, error: type[Exception]) -> None:
    async with rig() as one:
        with pytest.raises(error, match="timeout"):
            await worker_of(one).disconnect(given)
        assert not one.life.told_to_stop
