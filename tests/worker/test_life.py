"""One worker life: a real process, and a worker that says whatever the test wants."""

from __future__ import annotations

import math
import signal
from typing import Any

import pytest
import trio
import trio.testing

from actorcluster import PeerClosed
from actorcluster._worker.mailbox import MergedMailbox
from actorcluster._worker.process import Process
from actorcluster.wire import events
from actorcluster.wire._generated import Reason
from tests.worker.lines import until
from tests.worker.rig import DEAF, FINE, OBEDIENT, Rig, Start, leaves, rig, settle, shape

Clock = trio.testing.MockClock


# ---- a whole life -----------------------------------------------------------------------------


async def test_from_start_to_exit_status() -> None:
    async with rig() as one:
        states: list[str] = []
        one.moments.look = lambda _: states.append(one.life.state)
        await one.comes_online()
        assert one.life.settled.is_set()
        assert one.life.was_ready
        assert (0, None, "normal", False) == shape(await leaves(one))
        assert ["online", "disconnected", "exited"] == one.moments.names
        assert ["online", "disconnected", "dead"] == states
        assert one.life.dead.is_set()


async def test_the_worker_learns_who_it_is() -> None:
    async with rig(worker_id=7, name="web", config={"x": 1}, cluster=bytes(range(16))) as one:
        one.worker.connection.send_hello()
        one.worker.channel.flush()
        welcome = await one.hears(events.Welcome)
    assert (7, "web", {"x": 1}, bytes(range(16))) == (
        welcome.worker,
        welcome.name,
        welcome.config,
        welcome.cluster,
    )


@pytest.mark.parametrize("ready", ["online", "listening", "called"])
async def test_what_counts_as_ready(ready: str) -> None:
    async with rig(ready=ready) as one:
        await one.comes_online()
        assert (ready == "online") is one.life.settled.is_set()
        one.life.set_listening()
        assert "listening" == one.life.state
        assert (ready != "called") is one.life.settled.is_set()
        one.worker.connection.send_serving()
        one.worker.channel.flush()
        await settle()
        assert one.life.settled.is_set()
        assert one.life.was_ready


@pytest.mark.parametrize("address", [("127.0.0.1", 80), "/run/web"])
async def test_a_listener_of_its_own(address: tuple[str, int] | str) -> None:
    """The owner is told, who calls `set_listening`; it is not what "called" waits for."""
    async with rig(ready="called") as one:
        await one.comes_online()
        one.worker.connection.send_serving(address=address)
        one.worker.channel.flush()
        await settle()
        assert [address] == one.moments.ports
        assert not one.life.settled.is_set()


async def test_last_words_are_there_before_anything_is_told() -> None:
    """What a process sent before it died is in the mailbox first, and can be read afterwards."""
    merged = MergedMailbox()
    async with rig(merged=merged) as one:
        await one.comes_online()
        waiting: list[int] = []
        one.moments.look = lambda _: waiting.append(len(one.life.mailbox))
        for number in range(500):
            one.worker.channel.send_nowait(number)
        await one.worker.channel.wait_flushed()
        one.process_ends()
        assert "normal" == (await one.ends()).reason
        assert [500, 500] == waiting
        assert list(range(500)) == [message.body async for message in one.life.mailbox]


async def test_a_grandchild_that_inherited_the_channel_keeps_nobody_alive() -> None:
    """The process has ended, and the other end of its channel is still open: here, in the test."""
    async with rig() as one:
        await one.comes_online()
        one.process_ends()
        assert (0, None, "normal", False) == shape(await one.ends())


async def test_it_dies_of_a_signal() -> None:
    async with rig() as one:
        await one.comes_online()
        one.life.kill(signal.SIGUSR1)
        assert (None, "SIGUSR1", "signal", False) == shape(await one.ends())
        one.life.kill(signal.SIGKILL)  # nothing happens
        one.life.kill_now()
        one.life.stop()
        assert not one.life.told_to_stop
        assert "disconnected" == one.moments.names[-2]


async def test_main_raised() -> None:
    async with rig(OBEDIENT) as one:
        await one.comes_online()
        one.worker.connection.send_exit_info({"code": "app", "message": "broken"})
        status = await leaves(one)
        assert "exit" == status.reason  # its exit code is not that of a main that raised
        assert status.error is not None
        assert "broken" == status.error.text


# ---- starting ---------------------------------------------------------------------------------


async def test_a_start_that_fails() -> None:
    async def start(_: Start) -> Process:
        raise FileNotFoundError(2, "no such program")

    async with rig(start=start) as one:
        status = await one.ends()
        assert (None, None, "lost", False) == shape(status)
        assert status.error is not None
        assert "no such program" in status.error.text
        assert ["disconnected", "exited"] == one.moments.names
        assert one.life.settled.is_set()
        assert not one.life.was_ready
        assert 0 == one.life.closed("x").unconfirmed


async def test_a_start_that_takes_too_long(autojump_clock: Clock) -> None:
    async def start(_: Start) -> Process:
        await trio.sleep_forever()
        raise AssertionError

    async with rig(start=start, start_timeout=3) as one:
        status = await one.ends()
        assert 3 == trio.current_time()
        assert (None, None, "start_timeout", False) == shape(status)


@pytest.mark.parametrize("by", ["kill", "cancellation"])
async def test_a_start_that_is_given_up(by: str) -> None:
    """Nothing waits for a process that will never be."""
    begun = trio.Event()

    async def start(_: Start) -> Process:
        begun.set()
        await trio.sleep_forever()
        raise AssertionError

    async with rig(start=start) as one:
        await begun.wait()
        if by == "kill":
            one.life.brutal_kill()
        else:
            one.running.cancel()
        assert (None, None, "killed", False) == shape(await one.ends())
        assert ["disconnected", "exited"] == one.moments.names


async def test_signals_before_there_is_a_process() -> None:
    """They are kept for it."""
    may_start = trio.Event()

    async def start(make: Start) -> Process:
        await may_start.wait()
        return await make()

    async with rig(start=start) as one:
        await settle()
        one.life.kill(signal.SIGUSR2)
        may_start.set()
        assert (None, "SIGUSR2", "signal", False) == shape(await one.ends())


async def test_not_ready_in_time(fast_clock: Clock) -> None:
    async with rig(start_timeout=1) as one:
        assert (None, "SIGKILL", "start_timeout", False) == shape(await one.ends())


async def test_online_and_still_not_ready_in_time(fast_clock: Clock) -> None:
    async with rig(start_timeout=8, ready="called") as one:
        await one.comes_online()
        assert "start_timeout" == (await one.ends()).reason


async def test_it_ends_before_it_was_ready() -> None:
    async with rig(OBEDIENT) as one:
        one.process_ends()
        assert (3, None, "exit", False) == shape(await one.ends())
        assert ["disconnected", "exited"] == one.moments.names
        assert not one.life.was_ready


# ---- cancelled --------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["starting", "introduced", "online", "stopping", "disconnected"])
@pytest.mark.parametrize("program", [FINE, DEAF])
async def test_cancelled_at_any_time(when: str, program: tuple[str, ...]) -> None:
    """The process is killed and reaped, and every moment has been told once."""
    async with rig(program) as one:
        if when == "introduced":
            one.worker.connection.send_hello()
            one.worker.channel.flush()
            await one.hears(events.Welcome)
        elif when != "starting":
            await one.comes_online()
        if when == "stopping":
            one.life.stop()
        if when == "disconnected":
            one.channel_ends()
            await until(lambda: one.life.state == "disconnected")
        one.running.cancel()
        assert (None, "SIGKILL", "killed") == shape(await one.ends())[:3]
        assert 1 == one.moments.names.count("disconnected")
        assert ["exited"] == one.moments.names[-1:]


async def test_cancelled_before_it_ran_at_all() -> None:
    async with rig() as one:
        one.running.cancel()
        assert "killed" == (await one.ends()).reason


# ---- stopping ---------------------------------------------------------------------------------


async def test_stop_is_told() -> None:
    async with rig() as one:
        await one.comes_online()
        one.life.stop(10, Reason.RELOAD)
        stop = await one.hears(events.Stop)
        assert 9 < stop.deadline <= 10
        assert Reason.RELOAD == stop.reason
        assert ("disconnecting", True) == (one.life.state, one.life.told_to_stop)
        assert (0, None, "shutdown", True) == shape(await leaves(one))
        assert ["online", "draining", "disconnected", "exited"] == one.moments.names


async def test_a_second_stop_can_only_shorten() -> None:
    async with rig() as one:
        await one.comes_online()
        one.life.stop()
        assert (await one.hears(events.Stop)).deadline is None
        one.life.stop(5)
        assert 4 < (await one.hears(events.Stop)).deadline <= 5
        one.life.stop(20)
        one.life.stop()
        await settle()
        assert [] == one.worker.events
        one.life.stop(0)
        assert 0 == (await one.hears(events.Stop)).deadline
        assert 1 == one.moments.names.count("draining")
        await leaves(one)


async def test_stop_before_there_is_a_process() -> None:
    """It is told when the introductions are made, with the time that is left then."""
    may_start = trio.Event()

    async def start(make: Start) -> Process:
        await may_start.wait()
        return await make()

    async with rig(start=start) as one, trio.open_nursery() as nursery:

        async def sender() -> None:
            await one.life.sendable.wait()
            with pytest.raises(PeerClosed):
                one.life.channel_or_raise()

        nursery.start_soon(sender)
        await settle()
        one.life.stop(10)
        one.life.stop()
        await settle()
        assert "disconnecting" == one.life.state
        may_start.set()
        one.worker.connection.send_hello()
        one.worker.channel.flush()
        assert 8 < (await one.hears(events.Stop)).deadline <= 10
        assert one.life.channel is not None
        with pytest.raises(PeerClosed):
            await one.life.channel.send("x")
        assert (0, None, "shutdown", True) == shape(await leaves(one))
        assert ["draining", "disconnected", "exited"] == one.moments.names


async def test_stop_during_the_introductions() -> None:
    async with rig() as one:
        one.worker.connection.send_hello()
        one.worker.channel.flush()
        await one.hears(events.Welcome)
        one.life.stop(10)
        one.worker.connection.send_ready()  # it crosses the Stop
        one.worker.channel.flush()
        await one.hears(events.Stop)
        await settle()
        assert "online" not in one.moments.names
        assert (0, None, "shutdown", True) == shape(await leaves(one))


async def test_who_was_told_to_stop_need_not_become_ready(fast_clock: Clock) -> None:
    """The time to start is over, and it is still draining."""
    async with rig(start_timeout=8) as one:
        one.worker.connection.send_hello()
        one.worker.channel.flush()
        await one.hears(events.Welcome)
        one.life.stop()
        await trio.sleep(10)
        assert "shutdown" == (await leaves(one)).reason


async def test_who_never_came_up_gets_no_more_time_by_a_stop(fast_clock: Clock) -> None:
    async with rig(start_timeout=1) as one:
        await settle()
        one.life.stop()
        assert "start_timeout" == (await one.ends()).reason


async def test_the_worker_asks_to_leave() -> None:
    async with rig(shutdown=4) as one:
        await one.comes_online()
        one.worker.connection.send_leave(Reason.IDLE)
        one.worker.channel.flush()
        stop = await one.hears(events.Stop)
        assert 3 < stop.deadline <= 4
        assert Reason.IDLE == stop.reason
        assert (0, None, "shutdown", True) == shape(await leaves(one))


@pytest.mark.parametrize(("shutdown", "deadline"), [(math.inf, None), ("brutal_kill", 0)])
async def test_how_long_a_worker_may_take_to_leave(shutdown: Any, deadline: float | None) -> None:
    async with rig(shutdown=shutdown) as one:
        await one.comes_online()
        one.worker.connection.send_leave()
        one.worker.channel.flush()
        assert deadline == (await one.hears(events.Stop)).deadline
        await leaves(one)


async def test_killed_now() -> None:
    async with rig(DEAF) as one:
        await one.comes_online()
        one.life.kill_now()
        assert (None, "SIGKILL", "killed", True) == shape(await one.ends())


# ---- the ladder -------------------------------------------------------------------------------


@pytest.mark.parametrize(("program", "sign"), [(FINE, "SIGTERM"), (DEAF, "SIGKILL")])
async def test_ladder(fast_clock: Clock, program: tuple[str, ...], sign: str) -> None:
    """Two seconds after main should have been cancelled SIGTERM, two later SIGKILL."""
    async with rig(program) as one:
        await one.comes_online()
        begin = trio.current_time()
        one.life.stop(1)
        assert (None, sign, "killed", True) == shape(await one.ends())
        passed = trio.current_time() - begin
        assert 3 <= passed if program is FINE else 5 <= passed


@pytest.mark.parametrize(("program", "sign"), [(FINE, "SIGTERM"), (DEAF, "SIGKILL")])
async def test_the_channel_ends_and_the_process_does_not(
    fast_clock: Clock, program: tuple[str, ...], sign: str
) -> None:
    async with rig(program) as one, trio.open_nursery() as nursery:
        await one.comes_online()
        outcomes: list[Exception] = []
        nursery.start_soon(failing_ask, one, outcomes)
        await settle()
        one.channel_ends()
        assert (None, sign, "lost", False) == shape(await one.ends())
        await settle()  # the asker is awake, and may not have had its turn
        assert isinstance(outcomes[0], PeerClosed)
        if program is DEAF:  # the asker did not have to wait for the end of the process
            assert outcomes[0].status is None


async def failing_ask(one: Rig, outcomes: list[Exception]) -> None:
    assert one.life.channel is not None
    try:
        await one.life.channel.ask("x")
    except Exception as exc:  # noqa: BLE001  (the outcome)
        outcomes.append(exc)


async def test_said_goodbye_and_does_not_go(fast_clock: Clock) -> None:
    """It has as long as it would have had after a Stop."""
    async with rig(shutdown=1) as one:
        await one.comes_online()
        begin = trio.current_time()
        one.worker.connection.send_goodbye()
        one.worker.channel.flush()
        await one.worker.channel.wait_flushed()
        one.channel_ends()
        assert (None, "SIGTERM", "killed", False) == shape(await one.ends())
        assert 3 <= trio.current_time() - begin


async def test_said_goodbye_and_goes_on_talking(fast_clock: Clock) -> None:
    """The same, whether or not its side of the stream ends."""
    async with rig(shutdown=1) as one:
        await one.comes_online()
        begin = trio.current_time()
        one.worker.connection.send_goodbye()
        one.worker.channel.flush()
        await one.worker.channel.wait_flushed()
        assert (None, "SIGTERM", "killed", False) == shape(await one.ends())
        assert 3 <= trio.current_time() - begin


async def test_stop_for_one_that_is_leaving_by_itself(fast_clock: Clock) -> None:
    """It cannot be told anything any more, but there is a limit now."""
    async with rig(shutdown=math.inf) as one:
        await one.comes_online()
        one.worker.connection.send_goodbye()
        one.worker.channel.flush()
        await one.worker.channel.wait_flushed()
        one.channel_ends()
        await until(lambda: one.life.state == "disconnected")
        one.life.stop(1)
        assert (None, "SIGTERM", "killed", False) == shape(await one.ends())
        assert "draining" not in one.moments.names


# ---- who waits --------------------------------------------------------------------------------


async def test_asks_learn_how_it_ended() -> None:
    async with rig() as one, trio.open_nursery() as nursery:
        await one.comes_online()
        outcomes: list[Exception] = []
        nursery.start_soon(failing_ask, one, outcomes)
        await settle()
        one.life.kill(signal.SIGKILL)
        status = await one.ends()
        await settle()
        assert isinstance(outcomes[0], PeerClosed)
        assert status is outcomes[0].status


async def test_unconfirmed_counts_sends_that_were_not_acknowledged() -> None:
    """Exactly those: no asks, and nothing that the worker has said that it took."""
    async with rig() as one, trio.open_nursery() as nursery:
        await one.comes_online()
        channel = one.life.channel
        assert channel is not None
        outcomes: list[Exception] = []
        for number in range(3):
            await channel.send(number)
        nursery.start_soon(failing_ask, one, outcomes)
        kept = [await one.worker.receive() for _ in range(4)]
        await until(lambda: not channel.unconfirmed)  # acknowledgements are in no hurry
        with one.deaf_end():  # it hears nothing any more, and nobody can tell
            one.channel_ends()
            await settle()
            for number in range(5):
                await channel.send(number)
            nursery.start_soon(failing_ask, one, outcomes)
            await settle()
            one.life.kill(signal.SIGKILL)
            await one.ends()
        await settle()
        assert [5, 5] == [
            outcome.unconfirmed for outcome in outcomes if isinstance(outcome, PeerClosed)
        ]
        assert [0, 1, 2, "x"] == [message.body for message in kept]
        with pytest.raises(PeerClosed) as caught:
            one.life.channel_or_raise()
        assert 5 == caught.value.unconfirmed


async def test_senders_that_wait_for_room_learn_of_the_stop() -> None:
    async with rig() as one, trio.open_nursery() as nursery:
        await one.comes_online()
        channel = one.life.channel
        assert channel is not None

        async def sender() -> None:
            with pytest.raises(PeerClosed):
                await channel.send(b"x" * 5_000_000)

        await channel.send("first")
        nursery.start_soon(sender)
        await settle()
        one.life.stop()
        await settle()
        assert 0 == channel.statistics().senders_waiting
        assert "first" == (await one.worker.receive()).body


async def test_when_sendable() -> None:
    async with rig() as one:
        order: list[int] = []
        one.life.when_sendable(lambda: order.append(1))
        one.life.when_sendable(lambda: order.append(2))
        assert [] == order
        await one.comes_online()
        assert [1, 2] == order
        one.life.when_sendable(lambda: order.append(3))
        assert [1, 2, 3] == order


async def test_the_primary_closes() -> None:
    """Asks end at once, and the worker is told to cancel; the rest of the life goes on."""
    async with rig() as one, trio.open_nursery() as nursery:
        await one.comes_online()
        outcomes: list[Exception] = []
        nursery.start_soon(failing_ask, one, outcomes)
        message = await one.worker.receive()
        with message:
            one.life.close_primary()
            await trio.sleep_forever()
        assert isinstance(outcomes[0], PeerClosed)
        assert one.life.primary_closed
        assert "normal" == (await leaves(one)).reason


async def test_the_primary_closes_before_there_is_a_channel() -> None:
    async with rig() as one:
        one.life.close_primary()
        assert one.life.primary_closed
