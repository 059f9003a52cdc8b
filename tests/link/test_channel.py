"""Mail: who waits for room is let in, refused or cancelled; who asks gets one answer. Never two."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import resource
import socket
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from actorcluster._link.handles import Handle
from actorcluster._link.parcel import Parcel
from actorcluster._link.waits import ChannelStatistics, Posting, Question
from actorcluster._link.writing import close_all
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
from actorcluster.wire._generated import ErrorCode, Reason
from tests.link.pair import PATIENCE, End, Peer, linked, played

all_blocked = trio.testing.wait_all_tasks_blocked

WINDOW = 65536
SMALL_WINDOW = {"limits": {"window": WINDOW}}


def memfd() -> int:
    return os.memfd_create("test")


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def closed(text: str) -> PeerClosed:
    return PeerClosed(f"the end: {text}")


def fill(end: End) -> None:
    """Leave no room in the peer's mailbox."""
    with contextlib.suppress(trio.WouldBlock):
        while True:
            end.channel.send_nowait(b"x" * 10_000)
    with contextlib.suppress(trio.WouldBlock):
        while True:
            end.channel.send_nowait("x")


async def empty(peer: Peer) -> list[Any]:
    """Receive all that is there, and give its room back."""
    await all_blocked()
    bodies = []
    with contextlib.suppress(BlockingIOError):
        while True:
            peer.events += peer.hear()
    for event in [event for event in peer.events if hasattr(event, "charge")]:
        peer.events.remove(event)
        bodies.append(event.body)
        peer.connection.arrived(event.number)
        peer.connection.grant(event.charge)
        close_all(event.handles)
    peer.connection.flush_grants()
    peer.say()
    return bodies


class Attempt:
    """A call in a task of its own, and how it ended: every outcome there was."""

    def __init__(
        self, nursery: trio.Nursery, act: Callable[..., Awaitable[Any]], *args: Any, **options: Any
    ) -> None:
        self.outcomes: list[Any] = []
        self.scope = trio.CancelScope()
        nursery.start_soon(self._run, partial(act, *args, **options))

    async def _run(self, act: Callable[[], Awaitable[Any]]) -> None:
        with self.scope:
            try:
                self.outcomes.append(await act())
            except trio.Cancelled as exc:
                self.outcomes.append(exc)
                raise
            except Exception as exc:  # noqa: BLE001 (all of them are outcomes)
                self.outcomes.append(exc)

    @property
    def outcome(self) -> Any:
        (outcome,) = self.outcomes
        return outcome


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


@contextlib.contextmanager
def no_free_descriptor() -> Iterator[None]:
    """While the block runs, this process gets no more descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = {int(name) for name in os.listdir("/proc/self/fd")}
    free = next(number for number in itertools.count() if number not in used)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


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


# ---- passing on ----


def posting(end: End, body: Any) -> tuple[Posting, list[bool]]:
    """A message for somebody else; the list grows when it is woken."""
    parcel = Parcel(end.connection, body)
    woken: list[bool] = []
    return Posting(
        parcel, partial(end.channel.post_tell, parcel), lambda: woken.append(True)
    ), woken


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


# ---- answering ----


async def test_answers() -> None:
    """Each ask has one, and asking for more is a mistake."""
    async with linked() as (one, other), trio.open_nursery() as nursery:
        askers = [Attempt(nursery, one.channel.ask, number) for number in range(4)]
        calls = [await other.next(events.CallReceived) for _ in range(4)]
        assert 4 == other.channel.asks_unanswered
        assert other is other.channel.unanswered_ask(calls[0].channel)
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
