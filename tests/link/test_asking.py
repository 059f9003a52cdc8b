"""Asks and answers over a channel: who asks gets one answer, never two."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from actorcluster._link.handles import Handle
from actorcluster._link.parcel import Parcel
from actorcluster._link.waits import Question
from actorcluster.errors import (
    HandleError,
    LocalProtocolError,
    MessageTooLarge,
    NoSuchActor,
    NotHandled,
    PeerClosed,
    RemoteError,
)
from actorcluster.wire import events
from actorcluster.wire._generated import ErrorCode
from tests.descriptors import is_open, memfd
from tests.link.mail import SMALL_WINDOW, Attempt, all_blocked, closed, empty, fill
from tests.link.pair import PATIENCE, End, linked, played

# ---- asking ----


async def answer_asks(end: End, *bodies: Any) -> None:
    """Answer so many asks."""
    for body in bodies:
        call = await end.next(events.CallReceived)
        end.channel.release(call.charge)
        end.channel.reply(call.channel, body, None, keep_open=False)


async def test_ask() -> None:
    async with linked() as (one, other), trio.open_nursery() as nursery:
        nursery.start_soon(answer_asks, other, 1, 2)
        assert 1 == await one.channel.ask("first")
        assert 2 == await one.channel.ask("second")
        nursery.start_soon(answer_asks, one, 3)
        assert 3 == await other.channel.ask("the other way")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (ErrorCode.NOT_HANDLED, NotHandled),
        (ErrorCode.NO_SUCH_ACTOR, NoSuchActor),
        (ErrorCode.STOPPING, PeerClosed),
        (ErrorCode.HANDLE_LOST, HandleError),
        (ErrorCode.APP, RemoteError),
    ],
)
async def test_failed_asks(code: ErrorCode, kind: type[Exception]) -> None:
    async with linked() as (one, other), trio.open_nursery() as nursery:
        asker = Attempt(nursery, one.channel.ask, "x")
        call = await other.next(events.CallReceived)
        other.channel.refuse(call.channel, code, "because")
        await all_blocked()
        assert kind is type(asker.outcome)
        assert "because" in str(asker.outcome)


async def test_the_time_left_travels() -> None:
    async with played() as (end, peer):
        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = trio.current_time() + 10
            nursery.start_soon(end.channel.ask, "x")
            call = await peer.next(events.CallReceived)
            assert 5_000 < call.meta["ttl"] <= 10_000
            nursery.cancel_scope.shield = True
            nursery.cancel_scope.deadline = float("inf")
            nursery.start_soon(end.channel.ask, "for ever")
            call = await peer.next(events.CallReceived)
            assert {} == call.meta
            nursery.cancel_scope.cancel()


async def test_the_time_left_of_an_ask_that_waited_for_room() -> None:
    """It is the asker's deadline, whoever lets it in, and shorter by the time it waited."""
    async with played(peer=SMALL_WINDOW) as (end, peer):
        fill(end)
        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = trio.current_time() + 10
            nursery.start_soon(end.channel.ask, "x")
            await trio.sleep(0.05)
            await empty(peer)
            call = await peer.next(events.CallReceived)
            assert 5_000 < call.meta["ttl"] <= 9_950
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("is_over_here", [True, False])
async def test_the_peer_notices_the_deadline_first(is_over_here: bool) -> None:
    """The asker goes by its own clock: it is cancelled, as if there had been no answer."""
    failure = {"code": str(ErrorCode.DEADLINE_EXCEEDED), "message": "too late"}
    async with played() as (end, peer):

        def hear_of_something_else(_: events.Event) -> None:  # in the same read as the answer
            asker.scope.deadline = trio.current_time() - 1 if is_over_here else float("inf")

        end.channel.pass_mail_to(hear_of_something_else, hear_of_something_else)
        async with trio.open_nursery() as nursery:
            asker = Attempt(nursery, end.channel.ask, "x")
            asker.scope.deadline = trio.current_time() + PATIENCE
            call = await peer.next(events.CallReceived)
            peer.connection.send_error(call.channel, failure)
            peer.tell("now")
        assert (trio.Cancelled if is_over_here else RemoteError) is type(asker.outcome)


async def test_cancelled_asks_are_cancelled_at_the_peer() -> None:
    """A late answer goes nowhere, and its handles are closed."""
    async with played() as (end, peer):
        async with trio.open_nursery() as nursery:
            asker = Attempt(nursery, end.channel.ask, "x")
            call = await peer.next(events.CallReceived)
            asker.scope.cancel()
            cancelled = await peer.next(events.Cancelled)
        assert call.channel == cancelled.channel
        assert isinstance(asker.outcome, trio.Cancelled)
        handle = Handle.of(memfd())
        peer.connection.send_reply(call.channel, peer.connection.encode("late", handle))
        peer.say()
        await all_blocked()
        assert [] == end.events
        assert 0 == end.channel.statistics().asks_waiting


async def test_an_error_too_late_is_the_owners() -> None:
    async with played() as (end, peer):
        async with trio.open_nursery() as nursery:
            asker = Attempt(nursery, end.channel.ask, "x")
            call = await peer.next(events.CallReceived)
            asker.scope.cancel()
        peer.connection.send_error(call.channel, {"code": "app"})
        peer.say()
        assert call.channel == (await end.next(events.ErrorReceived)).channel


async def test_an_ask_let_in_and_cancelled_before_it_woke() -> None:
    """It was queued, and the peer is told right behind it."""
    async with played(peer=SMALL_WINDOW) as (end, peer):
        fill(end)
        async with trio.open_nursery() as nursery:
            asker = Attempt(nursery, end.channel.ask, "in")
            await all_blocked()
            end.channel._on_event = lambda event: asker.scope.cancel()
            peer.connection.send_tell(peer.connection.encode("now"))
            await empty(peer)
        assert isinstance(asker.outcome, trio.Cancelled)
        call = await peer.next(events.CallReceived)
        assert call.channel == (await peer.next(events.Cancelled)).channel


async def test_an_ask_let_in_and_failed_before_it_woke() -> None:
    """The end comes in the same breath as the room."""
    async with played(peer=SMALL_WINDOW) as (end, peer):
        fill(end)
        async with trio.open_nursery() as nursery:
            asker = Attempt(nursery, end.channel.ask, "in")
            await all_blocked()
            end.channel._on_event = lambda event: end.channel.fail_all(closed)
            peer.connection.send_tell(peer.connection.encode("now"))
            await empty(peer)
        assert isinstance(asker.outcome, PeerClosed)


@pytest.mark.parametrize("attempt", range(10))
async def test_an_ask_let_in_and_answered_before_it_woke(attempt: int) -> None:
    """The answer is there in the next pass, in which asker and reader have their turns anyhow."""
    async with played(peer=SMALL_WINDOW) as (end, peer):
        fill(end)

        def answer_at_once(event: events.Event) -> None:
            end.channel._push()
            (call,) = [event for event in peer.hear() if isinstance(event, events.CallReceived)]
            peer.connection.send_reply(call.channel, peer.connection.encode("quick"))
            peer.say()

        async with trio.open_nursery() as nursery:
            asker = Attempt(nursery, end.channel.ask, "in")
            await all_blocked()
            end.channel._on_event = answer_at_once
            peer.connection.send_tell(peer.connection.encode("now"))
            await empty(peer)
        assert "quick" == asker.outcome


async def test_no_more_asks_at_a_time_than_the_peer_takes() -> None:
    """The others wait in line, and sends behind them."""
    async with linked(worker={"limits": {"max_calls": 2}}) as (one, other):
        async with trio.open_nursery() as nursery:
            askers = [Attempt(nursery, one.channel.ask, number) for number in range(4)]
            await all_blocked()
            sender = Attempt(nursery, one.channel.send, "behind")
            await all_blocked()
            assert 3 == one.channel.statistics().senders_waiting
            assert 2 == one.channel.statistics().asks_waiting
            await answer_asks(other, "a", "b", "c", "d")
        assert {"a", "b", "c", "d"} == {asker.outcome for asker in askers}
        assert None is sender.outcome


async def test_give_up_asks() -> None:
    """Ours are told, those that are passed on are not."""
    async with linked() as (one, other), trio.open_nursery() as nursery:
        asker = Attempt(nursery, one.channel.ask, "ours")
        await all_blocked()
        woken = trio.Event()
        question = Question(woken.set)
        parcel = Parcel(one.connection, "theirs", call=True)
        one.channel.post_call(parcel, float("inf"), question)
        one.channel.flush()
        one.channel.give_up_asks(closed)
        await all_blocked()
        assert isinstance(asker.outcome, PeerClosed)
        ours, theirs = [await other.next(events.CallReceived) for _ in range(2)]
        assert ours.channel == (await other.next(events.Cancelled)).channel
        other.channel.reply(theirs.channel, "answer", None, keep_open=False)
        await woken.wait()
        assert question.answer is not None


async def test_unconfirmed_counts_sends_only() -> None:
    async with played() as (end, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end.channel.ask, "question")
            await all_blocked()
            end.channel.send_nowait("x")
            end.channel.post_tell(Parcel(end.connection, "for somebody else"))
            assert 1 == end.channel.unconfirmed
            assert 3 == end.connection.unacknowledged
            await empty(peer)
            await all_blocked()
            assert 0 == end.channel.unconfirmed
            nursery.cancel_scope.cancel()


# ---- answering ----


async def test_answers() -> None:
    """Each ask has one, and asking for more is a mistake."""
    async with linked() as (one, other), trio.open_nursery() as nursery:
        askers = [Attempt(nursery, one.channel.ask, number) for number in range(4)]
        calls = [await other.next(events.CallReceived) for _ in range(4)]
        assert 4 == other.channel.asks_unanswered
        assert calls[0] is other.channel.unanswered_ask(calls[0].channel)
        other.channel.reply(calls[0].channel, "yes", None, keep_open=False)
        other.channel.fail(calls[1].channel, KeyError("no"))
        other.channel.pass_error(calls[2].channel, {"code": "app", "message": "elsewhere"})
        other.channel.refuse_all(ErrorCode.NOT_HANDLED, "nobody")
        await all_blocked()
        outcomes = {
            asker.outcome if type(asker.outcome) is str else str(asker.outcome) for asker in askers
        }
        assert {"yes", "KeyError: 'no'", "elsewhere", "nobody"} == outcomes
        assert 0 == other.channel.asks_unanswered
        assert None is other.channel.unanswered_ask(calls[0].channel)
        assert not other.channel.is_unanswered(calls[3].channel)
        for act in (
            partial(other.channel.reply, calls[0].channel, "again", None, keep_open=False),
            partial(other.channel.fail, calls[0].channel, ValueError()),
            partial(other.channel.refuse, calls[0].channel, ErrorCode.APP, ""),
        ):
            with pytest.raises(LocalProtocolError, match="answered already"):
                act()


async def test_a_reply_that_cannot_be_sent() -> None:
    """The ask is still to be answered."""
    async with linked() as (one, other), trio.open_nursery() as nursery:
        asker = Attempt(nursery, one.channel.ask, "x")
        call = await other.next(events.CallReceived)
        fd = memfd()
        with pytest.raises(TypeError, match="body"):
            other.channel.reply(call.channel, {1}, fd, keep_open=False)
        assert is_open(fd)
        other.channel.reply(call.channel, None, fd, keep_open=False)
        await all_blocked()
        assert isinstance(asker.outcome, Handle)
        asker.outcome.close()
        assert not is_open(fd)


async def test_a_reply_that_is_too_large() -> None:
    """Who asked learns that it was the answer; too large in another message is just a failure."""
    async with linked() as (one, other), trio.open_nursery() as nursery:
        askers = [Attempt(nursery, one.channel.ask, number) for number in range(2)]
        first, second = [await other.next(events.CallReceived) for _ in range(2)]
        with pytest.raises(MessageTooLarge) as caught:
            other.channel.reply(first.channel, bytes(17_000_000), None, keep_open=False)
        for call in (first, second):
            other.channel.fail(call.channel, caught.value)
        await all_blocked()
        codes = {first.body: "too_large", second.body: "app"}  # they came in any order
        for number, asker in enumerate(askers):
            assert RemoteError is type(asker.outcome)
            assert codes[number] == asker.outcome.code


async def test_a_reply_that_is_too_large_for_another_worker() -> None:
    """Channels of different workers have the same numbers."""
    async with linked() as (one, other), linked() as (two, another), trio.open_nursery() as nursery:
        askers = [Attempt(nursery, end.channel.ask, "x") for end in (one, two)]
        call = await other.next(events.CallReceived)
        same = await another.next(events.CallReceived)
        assert call.channel == same.channel
        with pytest.raises(MessageTooLarge) as caught:
            other.channel.reply(call.channel, bytes(17_000_000), None, keep_open=False)
        another.channel.fail(same.channel, caught.value)
        other.channel.fail(call.channel, caught.value)
        await all_blocked()
        assert ["too_large", "app"] == [asker.outcome.code for asker in askers]


async def test_a_reply_that_was_too_large_for_an_earlier_ask() -> None:
    """All numbers were used, and it is the turn of the first ones again."""
    async with linked() as (one, other), trio.open_nursery() as nursery:
        asker = Attempt(nursery, one.channel.ask, "x")
        call = await other.next(events.CallReceived)
        with pytest.raises(MessageTooLarge) as caught:
            other.channel.reply(call.channel, bytes(17_000_000), None, keep_open=False)
        other.channel.reply(call.channel, 5, None, keep_open=False)
        await all_blocked()
        assert 5 == asker.outcome
        one.connection._next_channel = call.channel
        asker = Attempt(nursery, one.channel.ask, "y")
        later = await other.next(events.CallReceived)
        assert call.channel == later.channel
        other.channel.fail(later.channel, caught.value)
        await all_blocked()
        assert "app" == asker.outcome.code


async def test_a_forgotten_ask_is_noticed() -> None:
    """The channel keeps nobody alive."""
    async with linked() as (one, other), trio.open_nursery() as nursery:
        nursery.start_soon(one.channel.ask, "x")
        call = await other.next(events.CallReceived)

        class Ask:
            pass

        other.channel.asked(call.channel, Ask())
        assert None is other.channel.unanswered_ask(call.channel)
        assert other.channel.is_unanswered(call.channel)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("keep_open", [False, True])
async def test_answers_to_the_dead(keep_open: bool) -> None:
    """Nothing happens, as with any answer that comes too late; but handles given are gone."""
    async with linked() as (one, other):
        with trio.move_on_after(0.01):
            await one.channel.ask("x")
        with trio.move_on_after(0.01):
            await one.channel.ask("x")
        calls = [await other.next(events.CallReceived) for _ in range(2)]
        other.channel.finish()
        await other.over.wait()
        fd = memfd()
        other.channel.reply(calls[0].channel, "x", fd, keep_open=keep_open)
        assert keep_open == is_open(fd)
        other.channel.fail(calls[1].channel, ValueError())
        assert 0 == other.channel.asks_unanswered
        if keep_open:
            os.close(fd)
