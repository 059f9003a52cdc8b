"""Mail: who waits for room is let in, refused or cancelled; each sender has one outcome."""

from __future__ import annotations

import itertools
import os
import random
import socket
from typing import Any

import pytest
import trio
import trio.testing

from actorcluster._link.handles import Handle
from actorcluster._link.parcel import Parcel
from actorcluster._link.waits import ChannelStatistics
from actorcluster._link.writing import close_all
from actorcluster.errors import LocalProtocolError, MessageTooLarge, PeerClosed, RemoteError
from actorcluster.wire import events
from actorcluster.wire._generated import Reason
from tests.descriptors import is_open, memfd, no_free_descriptor
from tests.link.mail import SMALL_WINDOW, WINDOW, Attempt, all_blocked, closed, empty, fill, posting
from tests.link.pair import End, linked, played

# ---- sending ----


async def test_send_in_order() -> None:
    async with linked() as (one, other):
        for number in range(100):
            await one.channel.send(number)
            one.channel.send_nowait(-number)
        expected = list(itertools.chain.from_iterable((n, -n) for n in range(100)))
        assert expected == await other.bodies(200)


async def test_send_is_a_cancellation_point_always() -> None:
    """And nothing has happened then."""
    async with played() as (end, peer):
        fd = memfd()
        with trio.CancelScope() as scope:
            scope.cancel()
            for _ in range(200):
                with pytest.raises(trio.Cancelled):
                    await end.channel.send("x", fd)
                with pytest.raises(trio.Cancelled):
                    await end.channel.ask("x", fd)
        os.close(fd)
        assert [] == await empty(peer)


async def test_send_is_a_scheduling_point_often_enough() -> None:
    """Another task has its turn after 64 messages at the latest."""
    async with linked() as (one, other):
        turns = sent = longest = 0
        done = False

        async def take_turns() -> None:
            nonlocal turns, longest
            last = 0
            while not done:
                longest = max(longest, sent - last)
                last = sent
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_turns)
            nursery.start_soon(other.bodies, 1000)
            for sent in range(1000):
                await one.channel.send(sent)
            done = True
        assert 128 >= longest  # in the same pass it may look before the sender, or after it


async def test_what_cannot_be_sent() -> None:
    async with played() as (end, peer):
        fd = memfd()
        handle = Handle.of(memfd())
        handle.close()
        for send in (end.channel.send, end.channel.ask):
            with pytest.raises(TypeError, match="body"):
                await send({1, 2}, fd)
            with pytest.raises(MessageTooLarge):
                await send(bytes(17_000_000), fd)
            with pytest.raises(trio.ClosedResourceError):
                await send([handle], fd)
            with pytest.raises(MessageTooLarge):
                await send("x", fd, to="name" * 3000)
        os.close(fd)
        assert [] == await empty(peer)


async def test_the_core_refuses_before_ready() -> None:
    """What the protocol forbids is the caller's mistake, and the handles stay the caller's."""
    ours, theirs = socket.socketpair()
    with theirs:
        end = End("worker", ours, {})
        fd = memfd()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end.run)
            await all_blocked()
            with pytest.raises(LocalProtocolError):
                await end.channel.send("too early")
            nursery.cancel_scope.cancel()
        os.close(fd)


# ---- room ----


async def test_room_is_given_in_order_of_arrival() -> None:
    """A large message at the head holds up small ones that would fit."""
    async with played(peer=SMALL_WINDOW) as (end, peer):
        fill(end)
        async with trio.open_nursery() as nursery:
            for body in (b"x" * 60_000, "small", "smaller"):
                nursery.start_soon(end.channel.send, body)
                await all_blocked()
            assert 3 == end.channel.statistics().senders_waiting
            with pytest.raises(trio.WouldBlock):
                end.channel.send_nowait("")
            first = await empty(peer)
            assert "small" not in first
            rest = await empty(peer)
            assert [b"x" * 60_000, "small", "smaller"] == rest
        assert 0 == end.channel.statistics().senders_waiting


async def test_a_message_larger_than_the_window_waits_for_an_empty_mailbox() -> None:
    async with linked(worker=SMALL_WINDOW) as (one, other):
        one.channel.send_nowait("x")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.channel.send, b"y" * 3 * WINDOW)
            await all_blocked()
            assert 1 == one.channel.statistics().senders_waiting
            assert ["x", b"y" * 3 * WINDOW] == await other.bodies(2)


async def test_a_window_that_grows_makes_room() -> None:
    async with played(peer=SMALL_WINDOW) as (end, peer):
        fill(end)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end.channel.send, "it waits")
            await all_blocked()
            assert 1 == end.channel.statistics().senders_waiting
            peer.connection.send_settings({"limits": {"window": 2 * WINDOW}})
            peer.say()
        assert "it waits" == (await empty(peer))[-1]


@pytest.mark.parametrize("now", [WINDOW // 2, WINDOW * 2], ids=["smaller", "larger"])
async def test_who_waits_costs_what_it_does_in_the_new_window(now: int) -> None:
    """It is larger than either window, so it costs all of the one that there is."""
    async with played(peer={"limits": {"window": 2 * WINDOW}}) as (end, peer):
        end.channel.send_nowait("x")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end.channel.send, b"y" * 5 * WINDOW)
            await all_blocked()
            peer.connection.send_settings({"limits": {"window": WINDOW + now}})
            peer.say()
            await all_blocked()
            assert 1 == end.channel.statistics().senders_waiting
            assert ["x"] == await empty(peer)
            event = await peer.next(events.TellReceived)
        assert (b"y" * 5 * WINDOW, WINDOW + now) == (event.body, event.charge)


async def test_cancelling_the_head_lets_the_next_in() -> None:
    async with played(peer=SMALL_WINDOW) as (end, peer):
        end.channel.send_nowait(b"x" * 30_000)
        async with trio.open_nursery() as nursery:
            head = Attempt(nursery, end.channel.send, b"y" * 40_000)
            await all_blocked()
            follower = Attempt(nursery, end.channel.send, "z")
            await all_blocked()
            head.scope.cancel()
            await all_blocked()
        assert isinstance(head.outcome, trio.Cancelled)
        assert None is follower.outcome
        assert [b"x" * 30_000, "z"] == await empty(peer)


async def test_cancelling_the_last_changes_nothing_for_the_first() -> None:
    async with played(peer=SMALL_WINDOW) as (end, peer):
        fill(end)
        async with trio.open_nursery() as nursery:
            head = Attempt(nursery, end.channel.send, "head")
            await all_blocked()
            last = Attempt(nursery, end.channel.send, "last")
            await all_blocked()
            last.scope.cancel()
            await all_blocked()
            assert [] == head.outcomes
            await empty(peer)
        assert isinstance(last.outcome, trio.Cancelled)
        assert None is head.outcome
        assert ["head"] == await empty(peer)


async def test_let_in_and_cancelled_before_it_woke() -> None:
    """It is queued, so it happened."""
    async with played(peer=SMALL_WINDOW) as (end, peer):
        fill(end)
        fd = memfd()
        async with trio.open_nursery() as nursery:
            sender = Attempt(nursery, end.channel.send, "in", fd)
            await all_blocked()
            end.channel._on_event = lambda event: sender.scope.cancel()
            peer.connection.send_tell(peer.connection.encode("now"))
            await empty(peer)  # credit goes first: the reader acts on both before the sender wakes
        assert None is sender.outcome
        assert ["in"] == await empty(peer)
        await all_blocked()
        assert not is_open(fd)


async def test_what_goes_wrong_when_it_is_let_in_goes_to_its_sender() -> None:
    """The handle is gone meanwhile: so is this message, and the next has its room."""
    async with played(peer=SMALL_WINDOW) as (end, peer):
        fill(end)
        handle = Handle.of(memfd())
        kept = memfd()
        async with trio.open_nursery() as nursery:
            first = Attempt(nursery, end.channel.send, [handle], kept)
            await all_blocked()
            second = Attempt(nursery, end.channel.send, "second")
            await all_blocked()
            handle.close()
            await empty(peer)
        assert isinstance(first.outcome, trio.ClosedResourceError)
        assert None is second.outcome
        assert ["second"] == await empty(peer)
        os.close(kept)


async def test_no_descriptor_for_a_duplicate() -> None:
    """Whether at once or when it is let in: nothing was sent, and all is still the sender's."""
    async with played(peer=SMALL_WINDOW) as (end, peer):
        handles = [Handle.of(memfd()) for _ in range(2)]
        with no_free_descriptor(), pytest.raises(OSError, match="Too many open files"):
            await end.channel.send(handles, keep_open=True)
        fill(end)
        async with trio.open_nursery() as nursery:
            sender = Attempt(nursery, end.channel.send, handles, keep_open=True)
            await all_blocked()
            with no_free_descriptor():
                first = await empty(peer)
                await all_blocked()
        assert isinstance(sender.outcome, OSError)
        assert handles not in first
        assert [] == await empty(peer)
        await end.channel.send(handles)
        assert 1 == len(await empty(peer))


@pytest.mark.parametrize("keep_open", [False, True])
@pytest.mark.parametrize("ask", [False, True])
async def test_the_room_reckoned_is_the_room_taken(ask: bool, keep_open: bool) -> None:
    """To the byte: address, deadline, handles and what is said about them are part of it."""
    async with played(peer=SMALL_WINDOW) as (end, peer):
        channel = end.channel
        handle, fd = Handle.of(memfd()), memfd()
        options: dict[str, Any] = {"keep_open": keep_open}
        address = {"to": "a name", "meta": {"k": 1}}
        body = [handle, b"x" * 300]
        charge = Parcel(channel.connection, body, fd, call=ask, address=address, **options).charge
        filler = channel.connection.available - charge
        assert charge > 256
        channel.send_nowait(b"y" * (filler - 16 - 2 - 3))
        assert charge == channel.connection.available
        async with trio.open_nursery() as nursery:
            act = channel.ask if ask else channel.send
            task = Attempt(nursery, act, body, fd, **address, **options)
            await all_blocked()
            assert 0 == channel.statistics().senders_waiting
            assert 8 >= channel.connection.available  # a call without a deadline is shorter
            task.scope.cancel()
        assert 2 == len(await empty(peer))
        await all_blocked()
        assert keep_open == is_open(fd)
        assert keep_open is not handle.closed
        if keep_open:
            handle.close()
            os.close(fd)


# ---- the end of sending ----


async def test_refused_sends() -> None:
    """Those that wait, those that come; asks that were sent get their answers."""
    async with linked(worker=SMALL_WINDOW) as (one, other):
        async with trio.open_nursery() as nursery:
            asker = Attempt(nursery, one.channel.ask, "question")
            call = await other.next(events.CallReceived)
            fill(one)
            waiting = [Attempt(nursery, act, "x") for act in (one.channel.send, one.channel.ask)]
            await all_blocked()
            one.channel.refuse_sends(closed)
            await all_blocked()
            for task in waiting:
                assert "the end: it takes no more messages" == str(task.outcome)
            for send in (one.channel.send, one.channel.ask):
                with pytest.raises(PeerClosed, match="the end"):
                    await send("x")
            with pytest.raises(PeerClosed, match="the end"):
                one.channel.send_nowait("x")
            other.channel.reply(call.channel, "answer", None, keep_open=False)
        assert "answer" == asker.outcome


async def test_fail_all() -> None:
    """Everybody who waits learns it, once."""
    async with played(peer=SMALL_WINDOW) as (end, _peer):
        async with trio.open_nursery() as nursery:
            tasks: list[Attempt] = [Attempt(nursery, end.channel.ask, "question")]
            await all_blocked()
            fill(end)
            tasks += [
                Attempt(nursery, end.channel.send, "x"),
                Attempt(nursery, end.channel.ask, "x"),
            ]
            await all_blocked()
            end.channel.finish()
            await end.over.wait()
            assert [[], [], []] == [task.outcomes for task in tasks]
            end.channel.fail_all(closed)
            end.channel.fail_all(closed)
        assert [PeerClosed] * 3 == [type(task.outcome) for task in tasks]


async def test_the_end_before_anybody_said_so() -> None:
    """The channel has ended, and its owner has yet to say why."""
    async with linked() as (one, _other):
        one.channel.send_nowait("unconfirmed")
        one.channel.finish()
        await one.over.wait()
        with pytest.raises(PeerClosed) as caught:
            await one.channel.send("x")
        assert 1 == caught.value.unconfirmed


async def test_after_our_goodbye() -> None:
    async with played() as (end, peer):
        async with trio.open_nursery() as nursery:
            peer.connection.send_goodbye()
            peer.say()
            await end.next(events.Goodbye)
            end.connection.send_goodbye(Reason.NORMAL)
            end.channel.flush()
            with pytest.raises(PeerClosed):
                await end.channel.send("x")
            nursery.cancel_scope.cancel()


async def test_room_that_comes_too_late() -> None:
    """Credit for a channel that is over lets nobody in; handles stay their senders'."""
    async with played(peer=SMALL_WINDOW) as (end, peer):
        end.channel.send_nowait(b"x" * 30_000)
        fd = memfd()
        async with trio.open_nursery() as nursery:
            head = Attempt(nursery, end.channel.send, b"y" * 40_000)
            await all_blocked()
            second = Attempt(nursery, end.channel.send, "z", fd)
            await all_blocked()
            peer.connection.abort(1)
            peer.say()
            await end.over.wait()
            head.scope.cancel()
            await all_blocked()
            assert [] == second.outcomes
            end.channel.fail_all(closed)
        assert isinstance(second.outcome, PeerClosed)
        os.close(fd)


# ---- passing on ----


async def test_post() -> None:
    """At once where there is room, else in its turn."""
    async with played(peer=SMALL_WINDOW) as (end, peer):
        first, first_woken = posting(end, "first")
        end.channel.post(first)
        assert 1 == first.result
        fill(end)
        second, second_woken = posting(end, "second")
        third, third_woken = posting(end, "third")
        end.channel.post(second)
        end.channel.post(third)
        assert [[True], [], []] == [first_woken, second_woken, third_woken]
        end.channel.take_back(second)
        assert "first" == (await empty(peer))[0]
        await all_blocked()
        assert [[True], [], [True]] == [first_woken, second_woken, third_woken]
        assert ["third"] == await empty(peer)


async def test_post_to_the_dead() -> None:
    async with linked() as (one, _other):
        one.channel.refuse_sends(closed)
        late, woken = posting(one, "late")
        one.channel.post(late)
        assert [True] == woken
        assert isinstance(late.error, PeerClosed)


async def test_statistics() -> None:
    async with linked(worker=SMALL_WINDOW) as (one, other), trio.open_nursery() as nursery:
        nursery.start_soon(one.channel.ask, "x")
        await other.next(events.CallReceived)
        statistics = one.channel.statistics()
        expected = ChannelStatistics(
            senders_waiting=0,
            asks_waiting=1,
            asks_unanswered=0,
            room=WINDOW - 256,
            unconfirmed=0,
            handles_held=0,
            handles_refused=0,
            sends=statistics.sends,
            receives=statistics.receives,
        )
        assert expected == statistics
        assert statistics.sends > 0
        assert statistics.receives > 0
        assert 1 == other.channel.statistics().asks_unanswered
        nursery.cancel_scope.cancel()


async def test_ctrl_c_waits_for_the_books_to_agree() -> None:
    """What acts on events, lets waiters in and queues is not to be interrupted."""
    async with played(peer=SMALL_WINDOW) as (end, peer):
        protected = []
        end.channel._on_event = lambda event: protected.append(
            trio.lowlevel.currently_ki_protected()
        )
        peer.tell("x")
        fill(end)
        post, _ = posting(end, "x")
        post.wake = lambda: protected.append(trio.lowlevel.currently_ki_protected())
        end.channel.post(post)
        await empty(peer)
        await all_blocked()
        assert [True, True] == protected


# ---- everything at once ----


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope just before the n-th step of a task."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.scope = trio.CancelScope()
        self.task: trio.lowlevel.Task | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()


@pytest.mark.parametrize("room", [True, False])
@pytest.mark.parametrize("steps", range(1, 8))
async def test_cancelled_at_every_step(steps: int, room: bool) -> None:
    """Mail and handles are then wholly sent or wholly kept."""
    async with played(peer=SMALL_WINDOW) as (end, peer):
        for _ in range(62):  # so that the next but one takes a scheduling point
            await end.channel.send("x")
        if not room:
            fill(end)
        sent = []
        fds = [memfd() for _ in range(4)]
        canceller = CancelAtStep(steps)

        async def send_all() -> None:
            canceller.task = trio.lowlevel.current_task()
            with canceller.scope:
                for fd in fds:
                    await end.channel.send(["message"], fd)
                    sent.append(fd)

        trio.lowlevel.add_instrument(canceller)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_all)
            bodies = await empty(peer)
            bodies += await empty(peer)
            await all_blocked()
            nursery.cancel_scope.cancel()
        trio.lowlevel.remove_instrument(canceller)
        bodies += await empty(peer)
        await all_blocked()
        assert len(sent) == bodies.count(["message"])
        assert [fd in sent for fd in fds] == [not is_open(fd) for fd in fds]
        for fd in set(fds) - set(sent):
            os.close(fd)


@pytest.mark.parametrize("seed", range(6))
async def test_exactly_one_outcome_each(seed: int) -> None:
    """Many askers, some cancelled, some answered, some never; then the end."""
    dice = random.Random(seed)
    async with linked(worker={"limits": {"window": WINDOW, "max_calls": 20}}) as (one, other):
        asks = 300
        tasks: list[Attempt] = []
        given: list[Handle] = []

        async def answer_some() -> None:
            for _ in range(asks):
                call = await other.next(events.CallReceived)
                other.channel.release(call.charge)
                close_all(call.handles)
                if dice.random() < 0.3:
                    await trio.lowlevel.checkpoint()
                if dice.random() < 0.9:
                    body = [call.body[0], Handle.of(memfd())]
                    other.channel.reply(call.channel, body, None, keep_open=False)
                elif dice.random() < 0.5:
                    other.channel.fail(call.channel, ValueError("no"))

        async with trio.open_nursery() as nursery, trio.open_nursery() as answering:
            answering.start_soon(answer_some)
            for number in range(asks):
                body = [number, b"x" * dice.choice([10, 10, 10, 2000, 70_000])]
                given.append(Handle.of(memfd()))
                tasks.append(Attempt(nursery, one.channel.ask, body, given[-1]))
                if dice.random() < 0.5:
                    await trio.lowlevel.checkpoint()
                if dice.random() < 0.3:
                    dice.choice(tasks).scope.cancel()
            for _ in range(dice.randrange(200)):
                await trio.lowlevel.checkpoint()
            one.channel.finish()
            await one.over.wait()
            one.channel.fail_all(closed)
            await all_blocked()
            answering.cancel_scope.cancel()
        assert [1] * asks == [len(task.outcomes) for task in tasks]
        for number, task in enumerate(tasks):
            match task.outcome:
                case [int() as answer, Handle() as handle]:
                    assert number == answer
                    handle.close()
                case RemoteError() | PeerClosed() | trio.Cancelled():
                    pass
                case outcome:
                    pytest.fail(f"ended with {outcome!r}")
    close_all(given)  # those of asks that never left
    for event in other.events:
        close_all(getattr(event, "handles", ()))
