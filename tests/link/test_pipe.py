"""The reader, the writer and the timer of a channel: what leaves when, and who waits for it."""

from __future__ import annotations

import itertools
import os
import socket
import time
import types
from typing import Any

import pytest
import trio
import trio.testing

from actorcluster._link import pipe
from actorcluster._link.handles import Handle
from actorcluster._link.pace import EVERY_SECONDS, Pace
from actorcluster._link.writing import close_all
from actorcluster.wire import events
from tests.descriptors import memfd
from tests.link.mail import all_blocked
from tests.link.pair import End, Passes, Peer, linked, played
from tests.link.pipes import fill, writes

# ---- what leaves when ----


async def test_a_lone_message_leaves_at_once() -> None:
    """Before any task has had a turn, and without further ado."""
    async with played() as (end, peer):
        before = writes(end)
        end.channel.send_nowait("hello")
        assert before + 1 == writes(end)
        assert ["hello"] == [event.body for event in peer.hear()]
        passes = Passes()
        trio.lowlevel.add_instrument(passes)
        await all_blocked()
        trio.lowlevel.remove_instrument(passes)
        assert 3 >= passes.count
        assert before + 1 == writes(end)


async def test_the_rest_of_a_burst_leaves_together() -> None:
    async with played() as (end, peer):
        before = writes(end)
        for number in range(30):
            end.channel.send_nowait(number)
        assert before + 1 == writes(end)
        await all_blocked()
        assert before + 2 == writes(end)
        assert list(range(30)) == [event.body for event in peer.hear()]


async def test_a_burst_of_large_messages_leaves_together() -> None:
    async with played() as (end, _peer):
        before = writes(end)
        for _ in range(3):
            end.channel.send_nowait(b"x" * 1000)
        await all_blocked()
        assert before + 2 == writes(end)


async def test_a_dense_stream_gathers() -> None:
    """Fewer system calls than passes; what came last still leaves when the stream ends."""
    async with played() as (end, peer):
        before = writes(end)
        for number in range(64 * 20):
            await end.channel.send(number)
        await all_blocked()
        assert 13 >= writes(end) - before
        bodies: list[Any] = []
        while len(bodies) < 64 * 20:
            bodies += [event.body for event in peer.hear()]
        assert list(range(64 * 20)) == bodies


async def test_of_large_messages_a_portion_leaves_earlier() -> None:
    """Half of what the other end reads at once."""
    async with played() as (end, peer):
        before = writes(end)
        for number in range(9):
            await end.channel.send([number, b"x" * 65_000])
        assert before + 3 == writes(end)
        bodies = [(await peer.next(events.TellReceived)).body[0] for _ in range(9)]
        assert list(range(9)) == bodies


class Stream(trio.abc.Instrument):
    """Sends a lot after each of the writer's first looks, and notes what that had written."""

    def __init__(self, end: End) -> None:
        self.end = end
        self.writes: list[int] = []

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.end.channel._writer and len(self.writes) < 2:
            self.writes.append(writes(self.end))
            self.send()

    def send(self) -> None:
        for number in range(60):
            self.end.channel.send_nowait(number)


@pytest.mark.parametrize("urgent", [False, True])
async def test_anything_else_hurries_a_dense_stream(urgent: bool) -> None:
    """What somebody may wait for does not wait for the stream to grow."""
    async with played() as (end, _):
        stream = Stream(end)
        stream.send()
        before = writes(end)
        if urgent:
            end.connection.send_ping("now")
            end.channel.flush()
        trio.lowlevel.add_instrument(stream)
        await all_blocked()
        trio.lowlevel.remove_instrument(stream)
        assert [before + urgent] * 2 == stream.writes
        assert before + urgent + 1 == writes(end)


async def test_flush_any_number_of_times() -> None:
    """Each wakes the writer, who can be woken once."""
    async with played() as (end, peer):
        for _ in range(5):
            end.channel.flush()
            end.channel.flush()
            await trio.lowlevel.checkpoint()
        end.channel.send_nowait(1)
        end.channel.flush()
        await all_blocked()
        end.channel.flush()
        assert 1 == len(peer.hear())


async def test_what_is_queued_before_the_start_leaves_at_the_start() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        end = End("worker", ours, {})
        end.connection.send_hello()
        end.channel.flush()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end.run)
            await trio.lowlevel.wait_readable(theirs)
            assert b"\x95\xce" == theirs.recv(2)
            nursery.cancel_scope.cancel()


async def test_a_full_socket_is_written_on() -> None:
    """What did not fit goes on as the peer reads, in order."""
    async with linked() as (one, other):
        count = fill(one, 20_000) + 50
        for _ in range(50):
            one.channel.send_nowait(b"")
        bodies = await other.bodies(count)
        assert [20_000] * (count - 50) + [0] * 50 == [len(body) for body in bodies]


# ---- pace ----


async def test_pace_of_steps() -> None:
    """A scheduling point at least every 64 messages, and a cancellation point always."""
    passes = Passes()
    trio.lowlevel.add_instrument(passes)
    pace = Pace()
    for _ in range(640):
        await pace.step()
    trio.lowlevel.remove_instrument(passes)
    assert 10 <= passes.count
    with trio.CancelScope() as scope:
        scope.cancel()
        for _ in range(200):
            with pytest.raises(trio.Cancelled):
                await pace.step()


async def test_pace_counts_and_restarts() -> None:
    """What was scheduled for another reason starts from zero."""
    pace = Pace()
    pace.restart()
    dues = [pace.is_due() for _ in range(64)]
    assert [False] * 63 == dues[:63] or time_was_up(dues)
    assert dues[63]
    pace.restart()
    assert not pace.is_due()
    with trio.CancelScope() as scope:
        scope.cancel()
        await pace.rest()
    assert not scope.cancelled_caught


def time_was_up(dues: list[bool]) -> bool:
    """The machine was so busy that a millisecond went by meanwhile."""
    return dues == sorted(dues)


async def test_pace_by_time() -> None:
    pace = Pace()
    pace.restart()
    until = time.perf_counter() + EVERY_SECONDS
    while time.perf_counter() <= until:
        pass
    assert pace.is_due()


# ---- reading ----


class Arrivals(trio.abc.Instrument):
    """Notes after each pass how many events the owner has been told in all."""

    def __init__(self, end: End) -> None:
        self.end = end
        self.counts = [0]

    def before_io_wait(self, timeout: float) -> None:
        self.counts.append(len(self.end.events))


async def arrivals(end: End, peer: Peer, count: int, body: bytes) -> list[int]:
    """Let so many messages arrive in one go, and a second time; events pass by pass of that."""
    noted = Arrivals(end)
    trio.lowlevel.add_instrument(noted)
    for _ in range(2):
        end.events.clear()
        noted.counts = [0]
        for _ in range(count):
            peer.connection.send_tell(peer.connection.encode(body))
        peer.say()
        while len(end.events) < count:
            await trio.lowlevel.checkpoint()
    trio.lowlevel.remove_instrument(noted)
    return noted.counts


async def test_small_messages_are_read_as_fast_as_they_are_received(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A task that receives 64 in each pass keeps up with the reader."""
    # No time passes: the reader does not wait for a task that takes long.
    monkeypatch.setattr(pipe, "time", types.SimpleNamespace(perf_counter=lambda: 0.0))
    async with played() as (end, peer):
        counts = await arrivals(end, peer, 2000, b"x" * 50)
        backlog = longest = 0
        for before, after in itertools.pairwise(counts):
            backlog = max(0, backlog + after - before - 64)
            longest = max(longest, backlog)
        assert pipe._DENSE_SIZE / 70 > longest


@pytest.mark.parametrize(
    ("seconds", "least", "most"),
    [pytest.param(0.02, 0, 31, id="slow"), pytest.param(0.0, 35, 100, id="quick")],
)
async def test_the_reader_waits_for_quick_receivers_only(
    seconds: float, least: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of slow ones: what comes behind all that mail is heard while they work on the first few."""
    now = 0.0
    monkeypatch.setattr(pipe, "time", types.SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(pipe, "RECEIVE_SIZE", pipe._DENSE_SIZE)  # so all takes nine reads
    async with played() as (_, peer):
        done = False

        async def work() -> None:
            nonlocal now
            while not done:
                now += seconds
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            for _ in range(2000):
                peer.connection.send_tell(peer.connection.encode(b"x" * 50))
            peer.say()
            peer.connection.send_ping("behind it")
            peer.say()
            passes = Passes()
            trio.lowlevel.add_instrument(passes)
            await peer.next(events.Pong)
            trio.lowlevel.remove_instrument(passes)
            done = True
        assert least < passes.count < most


async def test_large_messages_are_read_as_fast_as_they_come() -> None:
    async with played() as (end, peer):
        counts = await arrivals(end, peer, 150, b"x" * 1000)
        assert 10 > len(counts)


async def test_of_what_takes_long_no_more_is_read_at_once_than_others_can_wait_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What four messages take is not long; then eight are read, and no more after these."""
    async with played() as (end, peer):
        clock = types.SimpleNamespace(perf_counter=lambda: 0.002 * len(end.events))
        monkeypatch.setattr(pipe, "time", clock)
        counts = await arrivals(end, peer, 40, b"x" * 4000)
        assert 8 == max(after - before for before, after in itertools.pairwise(counts))


async def test_two_reads_that_fill_the_buffer_follow_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And before the third others have a turn."""
    monkeypatch.setattr(pipe, "time", types.SimpleNamespace(perf_counter=lambda: 0.0))
    monkeypatch.setattr(pipe, "RECEIVE_SIZE", 4096)
    async with played() as (end, peer):
        counts = await arrivals(end, peer, 40, b"x" * 4000)
        assert 2 == max(after - before for before, after in itertools.pairwise(counts))
        assert 30 > len(counts)


# ---- waiting for what was written ----


async def test_wait_flushed() -> None:
    async with played() as (end, peer):
        await end.channel.wait_flushed()
        fill(end)
        done = trio.Event()

        async def wait() -> None:
            await end.channel.wait_flushed()
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await all_blocked()
            assert not done.is_set()
            assert not end.channel.is_flushed
            while not done.is_set():
                peer.read()
                await all_blocked()
        assert end.channel.is_flushed


async def test_wait_flushed_is_a_cancellation_point() -> None:
    async with played() as (end, _peer):
        with trio.CancelScope() as scope:
            scope.cancel()
            await end.channel.wait_flushed()
        assert scope.cancelled_caught


async def test_wait_flushed_waits_for_handles_to_be_acknowledged() -> None:
    """They wait for the peer's hands to be free, and everything behind them does."""
    async with played(peer={"limits": {"fds_in_flight": 1}}) as (end, peer):
        for _ in range(2):
            end.channel.send_nowait(None, memfd())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end.channel.wait_flushed)
            await all_blocked()
            assert not end.channel.is_flushed
            close_all((await peer.next(events.TellReceived)).handles)
            peer.say()
            close_all((await peer.next(events.TellReceived)).handles)
        assert end.channel.is_flushed


@pytest.mark.parametrize("wait", ["wait_flushed", "write_out"])
async def test_the_end_wakes_who_waits_for_what_was_written(wait: str) -> None:
    async with played() as (end, _peer):
        fill(end)
        end.connection.send_ping("x")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(getattr(end.channel, wait))
            await all_blocked()
            assert 2 == len(nursery.child_tasks) + 1
            end.channel.finish()
    await getattr(end.channel, wait)()


async def test_flush_once_does_not_wake_the_writer() -> None:
    """What is queued leaves at once, any number of times in a pass; `flush` does so only once."""
    async with played() as (end, _peer):
        await all_blocked()
        before = writes(end)
        for count in (1, 2):
            end.connection.send_ping("now")
            end.channel.flush_once()
            assert (before + count, False) == (writes(end), end.channel._writing)
        await all_blocked()
        for awake in (False, True):
            end.connection.send_ping("now")
            end.channel.flush()
            assert (before + 3, awake) == (writes(end), end.channel._writing)
        await all_blocked()
        assert before + 4 == writes(end)


async def test_messages_are_acknowledged_although_their_handles_were() -> None:
    """HANDLE_ACK leaves at once; ACK with the timer, all the same."""
    async with linked() as (one, other):
        one.channel.send_nowait("x", Handle.of(os.open(os.devnull, os.O_RDONLY)))
        close_all((await other.next(events.TellReceived)).handles)
        while one.channel.unconfirmed:  # the timer's 20 ms
            await trio.lowlevel.checkpoint()


async def test_flush_once_leaves_the_rest_to_the_writer() -> None:
    """And all of it, where that is awake already."""
    async with played() as (end, peer):
        fill(end)
        end.channel.send_nowait("last")
        end.channel.flush_once()
        assert end.channel._writing
        while "last" != (await peer.next(events.TellReceived)).body:
            peer.say()
        end.channel.send_nowait("first of a burst")
        end.connection.send_ping("behind it")
        before = writes(end)
        end.channel.flush_once()
        assert before == writes(end)
        await all_blocked()
        assert before < writes(end)


async def test_write_out_needs_no_turn() -> None:
    """With room in the socket it is done at once, in the middle of a burst."""
    async with played() as (end, _peer):
        end.channel.send_nowait(1)
        end.channel.send_nowait(2)
        end.connection.send_ping("now")
        before = writes(end)
        passes = Passes()
        trio.lowlevel.add_instrument(passes)
        await end.channel.write_out()
        trio.lowlevel.remove_instrument(passes)
        assert 0 == passes.count
        assert before + 1 == writes(end)
        await end.channel.write_out()


async def test_write_out_waits_for_its_own_frames_only() -> None:
    """However much mail is queued behind them."""
    async with played() as (end, peer):
        fill(end)
        end.connection.send_ping("now")
        for _ in range(20):
            end.channel.send_nowait(bytes(100_000))
        done = trio.Event()

        async def write_out() -> None:
            await end.channel.write_out()
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write_out)
            await all_blocked()
            assert not done.is_set()
            while not done.is_set():
                peer.sock.recv(10_000)
                await all_blocked()
        assert end.channel._socket.unsent > 100_000


async def test_write_out_cancelled() -> None:
    """What is queued stays queued."""
    async with played() as (end, peer):
        fill(end)
        end.connection.send_ping("now")
        with trio.move_on_after(0):
            await end.channel.write_out()
        while not end.channel.is_flushed:
            peer.read()
            await all_blocked()


# ---- the timer ----


async def test_credit_and_acknowledgements_come_by_themselves() -> None:
    """With nothing to travel on, within the time; and then there is peace."""
    async with played() as (end, peer):
        peer.tell("hello")
        event = await end.next(events.TellReceived)
        end.channel.release(event.charge)
        credit = await peer.next(events.CreditGranted)
        assert peer.connection.peer_limits["window"] == credit.available
        assert 0 == peer.connection.unacknowledged
        passes = Passes()
        await all_blocked()
        trio.lowlevel.add_instrument(passes)
        with pytest.raises(trio.TooSlowError), trio.fail_after(3 * pipe._TIMER_SECONDS):
            await trio.lowlevel.wait_readable(peer.sock)
        trio.lowlevel.remove_instrument(passes)
        assert 3 >= passes.count


async def test_much_credit_does_not_wait_for_the_timer() -> None:
    async with played(end={"limits": {"window": 65536}}) as (end, peer):
        peer.tell(b"x" * 60_000)
        event = await end.next(events.TellReceived)
        await all_blocked()
        end.channel.release(event.charge)
        assert peer.hear()
        assert 65536 == peer.connection.available


async def test_a_timer_with_nothing_to_say() -> None:
    """Something else had carried along what was due."""
    async with played() as (end, peer):
        peer.tell("hello")
        event = await end.next(events.TellReceived)
        end.channel.release(event.charge)
        end.connection.flush_grants()
        end.channel.flush()
        before = writes(end)
        await trio.sleep(2 * pipe._TIMER_SECONDS)
        assert before == writes(end)
