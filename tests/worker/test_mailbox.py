"""Mailboxes and messages over a real channel: order, receivers, room, and one answer for each."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import socket
import threading
import weakref
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
import trio
import trio.testing

from actorcluster import Handle, LocalProtocolError, Message, NotHandled, PeerClosed, RemoteError
from actorcluster._worker.mailbox import Mailbox, MergedMailbox
from actorcluster._worker.message import Ask, handle
from actorcluster.wire._generated import ErrorCode, Kind
from actorcluster.wire.events import TellReceived
from actorcluster.wire.frames import encode_frame
from tests.worker.lines import End, Line, line, settle

Outcome = Any


async def ask(end: End, body: Any, outcomes: list[Outcome], **options: Any) -> None:
    """Ask, and note the reply or the error."""
    try:
        outcomes.append(await end.channel.ask(body, **options))
    except Exception as exc:  # noqa: BLE001  (the outcome)
        outcomes.append(exc)


async def everybody_has_closed(reader: int) -> None:
    """Wait for the end of file of a pipe, and close our end of it."""
    with open(reader, "rb", buffering=0) as pipe, trio.fail_after(60):
        await trio.lowlevel.wait_readable(pipe)
        assert b"" == pipe.read(1)


# ---- receiving --------------------------------------------------------------------------------


async def test_in_the_order_of_sending() -> None:
    async with line() as ends:
        for number in range(1000):
            await ends.worker.channel.send(number)
        assert list(range(1000)) == [(await ends.primary.receive()).body for _ in range(1000)]


async def test_each_message_goes_to_exactly_one_receiver() -> None:
    got: list[tuple[str, int]] = []

    async def reader(name: str, end: End) -> None:
        async for message in end.mailbox:
            got.append((name, message.body))
            await trio.lowlevel.checkpoint()

    async with line() as ends, trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(reader, name, ends.primary)
        for number in range(300):
            await ends.worker.channel.send(number)
        await settle()
        ends.primary.mailbox._end()
    assert list(range(300)) == sorted(number for _, number in got)
    assert {"a", "b", "c"} == {name for name, _ in got}


async def test_who_was_woken_by_an_ask_answers_in_the_same_turn() -> None:
    """However long the channel has been silent."""
    answered: list[bool] = []

    async def answer(end: End) -> None:
        message = await end.receive()
        answered.append(end.channel.pace.is_due())
        await message.reply(None)

    async with line() as ends, trio.open_nursery() as nursery:
        nursery.start_soon(answer, ends.primary)
        await settle()
        assert ends.primary.channel.pace.is_due()
        await ends.worker.channel.ask(None)
    assert [False] == answered


async def test_who_has_waited_longest_is_served_first() -> None:
    got: list[tuple[str, int]] = []

    async def one(name: str, end: End) -> None:
        got.append((name, (await end.receive()).body))

    async with line() as ends, trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(one, name, ends.primary)
            await settle()
        assert 3 == ends.primary.mailbox.statistics().tasks_waiting_receive
        for number in range(3):
            await ends.worker.channel.send(number)
    assert [("a", 0), ("b", 1), ("c", 2)] == sorted(got)


async def test_receive_nowait() -> None:
    async with line() as ends:
        mailbox = ends.primary.mailbox
        with pytest.raises(trio.WouldBlock):
            mailbox.receive_nowait()
        await ends.worker.channel.send("x")
        await settle()
        assert "x" == mailbox.receive_nowait().body
        mailbox._end()
        with pytest.raises(trio.EndOfChannel):
            mailbox.receive_nowait()
        with pytest.raises(trio.EndOfChannel):
            await mailbox.receive()


async def test_ends_after_what_is_in_it() -> None:
    async with line() as ends:
        for number in range(3):
            await ends.worker.channel.send(number)
        await settle()
        ends.primary.mailbox._end()
        assert [0, 1, 2] == [message.body async for message in ends.primary.mailbox]


async def test_ending_wakes_everybody_who_waits() -> None:
    async with line() as ends, trio.open_nursery() as nursery:

        async def reader() -> None:
            assert [] == [message async for message in ends.primary.mailbox]

        for _ in range(3):
            nursery.start_soon(reader)
        await settle()
        ends.primary.mailbox._end()


async def test_a_receiver_that_was_cancelled_has_taken_nothing() -> None:
    async with line() as ends, trio.open_nursery() as nursery:
        nursery.start_soon(ends.primary.mailbox.receive)
        await settle()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await ends.worker.channel.send("x")
            assert "x" == (await ends.primary.receive()).body


async def test_put_and_cancel_in_one_pass() -> None:
    """A message is handed over and its receiver cancelled before it runs: it has the message."""
    async with line() as ends:
        got = []
        scope = trio.CancelScope()

        async def reader() -> None:
            with scope:
                got.append((await ends.primary.mailbox.receive()).body)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader)
            await settle()
            put(ends.primary, "x")
            scope.cancel()
        assert ["x"] == got


def put(end: End, body: Any) -> None:
    """What the link's reader does with a message, between two checkpoints."""
    event = TellReceived(None, None, body, (), {}, charge=0, number=1)
    end.mailbox._put(Message(event, end.channel, "nobody"))


# ---- the merger -------------------------------------------------------------------------------


async def test_round_robin() -> None:
    """One message from each that has some, in turn; in order within one."""
    merged = MergedMailbox()
    first, second = Mailbox(merged), Mailbox(merged)
    async with line(mailbox=first) as one, line(mailbox=second) as two:
        for number in range(5):
            await one.worker.channel.send(("one", number))
        for number in range(2):
            await two.worker.channel.send(("two", number))
        await settle()
        assert 7 == merged.statistics().messages
        assert 7 * 256 == merged.statistics().bytes
        got = [tuple(merged.receive_nowait().body) for _ in range(7)]
    assert [
        ("one", 0),
        ("two", 0),
        ("one", 1),
        ("two", 1),
        ("one", 2),
        ("one", 3),
        ("one", 4),
    ] == got
    assert 0 == merged.statistics().messages


async def test_own_reader_before_the_merger() -> None:
    """While a task waits on the worker's own mailbox its mail goes there, else to the merger."""
    merged, own = MergedMailbox(), []
    async with line(mailbox=Mailbox(merged)) as ends, trio.open_nursery() as nursery:

        async def read_own() -> None:
            own.append((await ends.primary.receive()).body)

        async def read_merged() -> None:
            own.append(("merged", (await merged.receive()).body))

        nursery.start_soon(read_merged)
        await settle()
        nursery.start_soon(read_own)
        await settle()
        await ends.worker.channel.send(1)
        await settle()
        assert [1] == own
        await ends.worker.channel.send(2)
        await settle()
    assert [1, ("merged", 2)] == own


async def test_own_reader_takes_what_the_merger_has_noted() -> None:
    """Mail that its own reader took is not dealt out by the merger, and nobody is skipped."""
    merged = MergedMailbox()
    async with line(mailbox=Mailbox(merged)) as one, line(mailbox=Mailbox(merged)) as two:
        await one.worker.channel.send("one")
        await two.worker.channel.send("two")
        await settle()
        assert "one" == one.primary.mailbox.receive_nowait().body
        assert "two" == merged.receive_nowait().body
        with pytest.raises(trio.WouldBlock):
            merged.receive_nowait()
        await one.worker.channel.send("again")  # its mailbox was noted as one with mail before
        await one.worker.channel.send("and again")
        await settle()
        assert ["again", "and again"] == [merged.receive_nowait().body for _ in range(2)]


async def test_the_merger_keeps_nothing_of_empty_mailboxes() -> None:
    """Workers come and go, and somebody may read only their own mailboxes."""
    merged = MergedMailbox()
    async with line(mailbox=Mailbox(merged)) as ends, trio.open_nursery() as nursery:
        await ends.worker.channel.send("x")
        nursery.start_soon(ask, ends.worker, "y", [])
        await settle()
        assert 1 == len(merged._with_mail)
        assert "x" == ends.primary.mailbox.receive_nowait().body
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await settle()
        assert 0 == len(merged._with_mail)
        assert 0 == merged.statistics().messages


async def test_merger_ends_after_what_is_in_it() -> None:
    merged = MergedMailbox()
    async with line(mailbox=Mailbox(merged)) as ends:
        await ends.worker.channel.send("x")
        await settle()
        merged._end()
        assert ["x"] == [message.body async for message in merged]


# ---- room -------------------------------------------------------------------------------------


async def test_room_comes_back_when_a_message_is_received() -> None:
    async with line(limits={"window": 65536}) as ends:
        channel = ends.worker.channel
        sent = 0
        with pytest.raises(trio.WouldBlock):
            while True:
                channel.send_nowait(b"x" * 1000)
                sent += 1
        await settle()
        waiting = ends.primary.mailbox.statistics()
        assert (sent, True) == (waiting.messages, 65536 - 1100 < waiting.bytes <= 65536)
        await ends.primary.receive()
        with trio.fail_after(60):
            await channel.send(b"x" * 1000)


async def test_one_larger_than_the_mailbox_waits_until_it_is_empty() -> None:
    async with line(limits={"window": 65536}) as ends, trio.open_nursery() as nursery:
        await ends.worker.channel.send("small")
        nursery.start_soon(ends.worker.channel.send, b"x" * 200_000)
        await settle()
        assert 1 == len(ends.primary.mailbox)
        assert "small" == (await ends.primary.receive()).body
        assert 200_000 == len((await ends.primary.receive()).body)


# ---- answers ----------------------------------------------------------------------------------


async def test_reply_once() -> None:
    outcomes: list[Outcome] = []
    async with line() as ends, trio.open_nursery() as nursery:
        nursery.start_soon(ask, ends.worker, "question", outcomes)
        message = await ends.primary.receive()
        assert message.is_ask
        assert "<ask 'question'>" == repr(message)
        with message:
            await message.reply([1, (2, 3)])
            with pytest.raises(LocalProtocolError, match="answered already"):
                await message.reply(2)
            with pytest.raises(LocalProtocolError, match="answered already"):
                message.fail(ValueError())
    assert [[1, [2, 3]]] == outcomes


async def test_an_answer_is_a_body_or_a_handle() -> None:
    """An ask returns one value; of two one would be lost."""
    outcomes: list[Outcome] = []
    async with line() as ends, trio.open_nursery() as nursery:
        nursery.start_soon(ask, ends.worker, "question", outcomes)
        with await ends.primary.receive() as message:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                with pytest.raises(TypeError, match="put the handle into the body"):
                    await message.reply("body", ours)
                await message.reply(None, ours)
            assert ours.fileno() == -1
        await settle()
        received = outcomes.pop()
        assert isinstance(received, Handle)
        assert "unix_stream" == received.kind
        received.close()


async def test_a_plain_send_has_no_answer() -> None:
    async with line() as ends:
        await ends.worker.channel.send("x")
        message = await ends.primary.receive()
        assert not message.is_ask
        assert math.inf == message.deadline
        assert "<message 'x'>" == repr(message)
        with message:
            with pytest.raises(LocalProtocolError):
                await message.reply(1)
            with pytest.raises(LocalProtocolError):
                message.fail(ValueError())


async def test_a_block_is_entered_once() -> None:
    async with line() as ends:
        await ends.worker.channel.send("x")
        message = await ends.primary.receive()
        with message:
            pass
        with pytest.raises(RuntimeError, match="once"), message:
            pass


async def test_leaving_the_block_unanswered() -> None:
    outcomes: list[Outcome] = []
    async with line() as ends, trio.open_nursery() as nursery:
        nursery.start_soon(ask, ends.worker, "x", outcomes)
        message = await ends.primary.receive()
        with message:
            pass
        await settle()
        assert isinstance(outcomes[0], NotHandled)
        assert "not_handled" == outcomes[0].code
        with pytest.raises(LocalProtocolError):
            await message.reply(1)


async def test_an_exception_fails_the_ask_and_goes_on_up() -> None:
    outcomes: list[Outcome] = []
    async with line() as ends, trio.open_nursery() as nursery:
        nursery.start_soon(ask, ends.worker, "x", outcomes)
        with pytest.raises(KeyError, match="mine"):
            with await ends.primary.receive():
                raise KeyError("mine")
    assert isinstance(outcomes[0], RemoteError)
    assert ("app", "KeyError", "'mine'") == (
        outcomes[0].code,
        outcomes[0].type,
        outcomes[0].text,
    )
    assert "raise KeyError" in str(outcomes[0].traceback)


async def test_an_exception_that_cannot_be_shown() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    outcomes: list[Outcome] = []
    async with line() as ends, trio.open_nursery() as nursery:
        nursery.start_soon(ask, ends.worker, "x", outcomes)
        with pytest.raises(Mute):
            with await ends.primary.receive():
                raise Mute
    assert isinstance(outcomes[0], RemoteError)


async def test_os_errors_keep_their_number() -> None:
    outcomes: list[Outcome] = []
    async with line() as ends, trio.open_nursery() as nursery:
        nursery.start_soon(ask, ends.worker, "x", outcomes)
        with await ends.primary.receive() as message:
            message.fail(FileNotFoundError(2, "no such file"))
    assert "os.ENOENT" == outcomes[0].code


async def test_a_remote_error_that_is_passed_on_keeps_its_code() -> None:
    outcomes: list[Outcome] = []
    async with line() as ends, trio.open_nursery() as nursery:
        nursery.start_soon(ask, ends.worker, "x", outcomes)
        with await ends.primary.receive() as message:
            message.fail(RemoteError("t", code="vendor.code"))
    assert "vendor.code" == outcomes[0].code


async def test_cancelling_the_receiver_is_not_a_failure_of_the_ask() -> None:
    """Who is cancelled in the block has not handled it; that is no error of its own."""
    outcomes: list[Outcome] = []
    async with line() as ends, trio.open_nursery() as nursery:
        nursery.start_soon(ask, ends.worker, "x", outcomes)
        with trio.CancelScope() as scope:
            with await ends.primary.receive():
                scope.cancel()
                async with trio.open_nursery() as inner:  # older Trio: a group of Cancelled
                    inner.start_soon(trio.sleep_forever)
                    inner.start_soon(trio.sleep_forever)
    assert isinstance(outcomes[0], NotHandled)


async def test_a_group_of_nothing_but_cancelled() -> None:
    outcomes: list[Outcome] = []
    async with line() as ends, trio.open_nursery() as nursery:
        nursery.start_soon(ask, ends.worker, "x", outcomes)
        message = await ends.primary.receive()
        assert isinstance(message, Ask)
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as exc:
                message._dispose(BaseExceptionGroup("of an older Trio", [exc]))
                raise
    assert isinstance(outcomes[0], NotHandled)


async def test_the_asker_gives_up() -> None:
    """Its block is cancelled, and what follows it goes on."""
    async with line() as ends, trio.open_nursery() as nursery:
        asking = trio.CancelScope()

        async def asker() -> None:
            with asking:
                await ends.worker.channel.ask("x")

        nursery.start_soon(asker)
        message = await ends.primary.receive()
        with message:
            asking.cancel()
            await trio.sleep_forever()
        assert 0 == ends.primary.channel.asks_unanswered
        await settle()
        assert 0 == ends.worker.connection.statistics().calls


async def test_the_asker_gives_up_before_the_block_is_entered() -> None:
    async with line() as ends, trio.open_nursery() as nursery:
        asking = trio.CancelScope()

        async def asker() -> None:
            with asking:
                await ends.worker.channel.ask("x")

        nursery.start_soon(asker)
        message = await ends.primary.receive()
        asking.cancel()
        await settle()
        with message:
            await trio.sleep_forever()  # it begins cancelled
        assert 0 == ends.primary.channel.asks_unanswered


async def test_the_deadline_travels_and_ends_the_block(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with line() as ends, trio.open_nursery() as nursery:

        async def asker() -> None:
            with trio.move_on_after(10):
                await ends.worker.channel.ask("x")

        nursery.start_soon(asker)
        message = await ends.primary.receive()
        assert 9.9 < message.deadline - trio.current_time() <= 10
        with message:
            await trio.sleep_forever()
        assert 0 == ends.primary.channel.asks_unanswered


async def test_the_deadline_in_force_at_the_call_travels() -> None:
    """Also when the ask had to wait for room, and was queued by somebody else's task."""
    async with line(limits={"window": 65536}) as ends, trio.open_nursery() as nursery:
        await ends.worker.channel.send(b"x" * 65_000)

        async def asker() -> None:
            with trio.move_on_after(100):
                await ends.worker.channel.ask("x" * 1000)

        nursery.start_soon(asker)
        await settle()
        await ends.primary.receive()
        message = await ends.primary.receive()
        assert 90 < message.deadline - trio.current_time() <= 100
        with message:
            await message.reply(None)


@pytest.mark.parametrize("ttl", [math.nan, -5, "soon", True, 2**64 - 1, None, [1]])
async def test_whatever_a_peer_calls_a_deadline(ttl: Any) -> None:
    """A block can always be entered."""
    async with line() as ends:
        envelope = msgpack.packb([None, None, None, {"ttl": ttl}])
        ends.worker.connection._outbox.put(encode_frame(Kind.CALL, 1, envelope, msgpack.packb("x")))
        ends.worker.channel.flush()
        message = await ends.primary.receive()
        with message:
            pass


async def test_late_replies_are_dropped_and_their_handles_closed() -> None:
    async with line() as ends, trio.open_nursery() as nursery:
        asking = trio.CancelScope()

        async def asker() -> None:
            with asking:
                await ends.worker.channel.ask("x")

        nursery.start_soon(asker)
        message = await ends.primary.receive()
        reader, writer = os.pipe()
        asking.cancel()
        await message.reply({"h": Handle.of(writer)})
        await settle()
        await everybody_has_closed(reader)


async def test_a_reply_to_an_asker_that_is_gone() -> None:
    """Nothing happens; its handles are gone all the same."""
    async with line() as ends:
        outcomes: list[Outcome] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, ends.worker, "x", outcomes)
            message = await ends.primary.receive()
            ends.worker.channel.finish()
            await settle()
            ends.worker.channel.fail_all(PeerClosed)
        assert isinstance(outcomes[0], PeerClosed)
        await settle()
        assert ends.primary.channel.ended
        reader, writer = os.pipe()
        await message.reply(None, Handle.of(writer))
        await everybody_has_closed(reader)
        with pytest.raises(LocalProtocolError):
            await message.reply(None)


@pytest.mark.parametrize(
    "leave", [lambda message: None, lambda message: message.fail(ValueError())]
)
async def test_disposing_when_the_channel_has_ended(leave: Callable[[Message], None]) -> None:
    async with line() as ends:
        outcomes: list[Outcome] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, ends.worker, "x", outcomes)
            message = await ends.primary.receive()
            ends.worker.channel.finish()
            await settle()
            ends.worker.channel.fail_all(PeerClosed)
        with message:
            leave(message)
        assert 0 == ends.primary.channel.asks_unanswered


# ---- asks that nobody holds any more ----------------------------------------------------------


async def test_forgotten() -> None:
    """An ask that is collected is not handled, and its asker learns it at once."""
    outcomes: list[Outcome] = []
    async with line() as ends, trio.open_nursery() as nursery:
        nursery.start_soon(ask, ends.worker, "x", outcomes)
        message = await ends.primary.receive()
        del message
        gc.collect()
        await settle()
        assert isinstance(outcomes[0], NotHandled)
        assert "forgotten" in outcomes[0].text


async def test_collected_in_another_thread() -> None:
    """The collector runs wherever memory is allocated; the link belongs to its own thread."""
    outcomes: list[Outcome] = []
    async with line() as ends, trio.open_nursery() as nursery:
        nursery.start_soon(ask, ends.worker, "x", outcomes)
        held = [await ends.primary.receive()]
        thread = threading.Thread(target=held.clear)
        thread.start()
        thread.join()
        assert [] == outcomes
        await settle()
        assert isinstance(outcomes[0], NotHandled)


async def test_collected_in_the_middle_of_a_flush() -> None:
    """It must not queue anything while frames are being taken out of the queue."""
    outcomes: list[Outcome] = []
    async with line() as ends, trio.open_nursery() as nursery:
        nursery.start_soon(ask, ends.worker, "x", outcomes)
        held = [await ends.primary.receive()]
        connection = ends.primary.connection
        take = connection.data_to_send

        def taking(*args: Any) -> Any:
            before = list(connection._outbox._queue)
            held.clear()
            assert before == list(connection._outbox._queue)
            return take(*args)

        connection.data_to_send = taking  # type: ignore[method-assign, assignment]
        await ends.primary.channel.send("other")
        connection.data_to_send = take  # type: ignore[method-assign]
        await settle()
        assert isinstance(outcomes[0], NotHandled)


async def test_answered_between_being_forgotten_and_being_told_of_it() -> None:
    outcomes: list[Outcome] = []
    async with line() as ends, trio.open_nursery() as nursery:
        nursery.start_soon(ask, ends.worker, "x", outcomes)
        message = await ends.primary.receive()
        del message
        gc.collect()
        ends.primary.channel.refuse_all(ErrorCode.STOPPING, "the end")
        await settle()
        assert isinstance(outcomes[0], PeerClosed)


def test_collected_after_the_run() -> None:
    """Nobody is left to be told."""
    held: list[Message] = []

    async def main() -> None:
        async with line() as ends, trio.open_nursery() as nursery:
            nursery.start_soon(ask, ends.worker, "x", [])
            held.append(await ends.primary.receive())
            nursery.cancel_scope.cancel()

    trio.run(main)
    gone = weakref.ref(held.pop())
    gc.collect()
    assert gone() is None


async def test_withdrawn_while_it_waits_in_the_mailbox(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It is disposed of at once: room, handles, and nobody will ever see it."""
    async with line() as ends:
        mailbox = ends.primary.mailbox
        reader, writer = os.pipe()
        room = ends.worker.channel.statistics().room
        with trio.move_on_after(1):
            await ends.worker.channel.ask({"h": Handle.of(writer)})
        await settle()
        assert (0, 0, 0) == (len(mailbox), mailbox.statistics().bytes, mailbox._asks_waiting())
        await everybody_has_closed(reader)
        await ends.worker.channel.send("next")
        assert "next" == (await ends.primary.receive()).body
        await trio.sleep(0.1)  # credit is given back by a timer
        await settle()
        assert room == ends.worker.channel.statistics().room


async def test_many_withdrawn_asks_leave_no_trace(autojump_clock: trio.testing.MockClock) -> None:
    """A mailbox that nobody reads does not fill up with what nobody wants any more."""
    async with line() as ends:
        mailbox = ends.primary.mailbox
        await ends.worker.channel.send("first")
        for _ in range(300):
            with trio.move_on_after(0.001):
                await ends.worker.channel.ask("never mind")
        await settle()
        await ends.worker.channel.send("last")
        await settle()
        assert 2 == len(mailbox)
        assert 200 > len(mailbox._queue)
        assert ["first", "last"] == [mailbox.receive_nowait().body for _ in range(2)]
        with pytest.raises(trio.WouldBlock):
            mailbox.receive_nowait()
        assert 0 == len(mailbox)


async def test_discarding() -> None:
    """What nobody will read: asks are refused, handles closed, room given back."""
    outcomes: list[Outcome] = []
    async with line() as ends, trio.open_nursery() as nursery:
        reader, writer = os.pipe()
        await ends.worker.channel.send("x", Handle.of(writer))
        nursery.start_soon(ask, ends.worker, "y", outcomes)
        await settle()
        assert 1 == ends.primary.mailbox._asks_waiting()
        assert 2 == ends.primary.mailbox._discard()
        await everybody_has_closed(reader)
        await settle()
        assert isinstance(outcomes[0], PeerClosed)
        assert 0 == ends.primary.mailbox._discard()


# ---- handles ----------------------------------------------------------------------------------


async def test_unclaimed_handles_are_closed_with_a_warning() -> None:
    async with line() as ends:
        reader, writer = os.pipe()
        await ends.worker.channel.send({"a": 1}, Handle.of(writer))
        message = await ends.primary.receive()
        assert message.handle is not None
        assert "pipe" == message.handle.kind
        with pytest.warns(ResourceWarning, match="unclaimed"), message:
            pass
        await everybody_has_closed(reader)


async def test_claimed_handles_are_left_alone() -> None:
    async with line() as ends:
        reader, writer = os.pipe()
        await ends.worker.channel.send({"h": Handle.of(writer)})
        with await ends.primary.receive() as message:
            assert message.handle is None  # it is in the body
            taken = message.body["h"].detach()
        os.write(taken, b"!")
        os.close(taken)
        assert b"!" == os.read(reader, 1)
        os.close(reader)


@pytest.mark.filterwarnings("error::ResourceWarning")
async def test_a_warning_that_is_an_error_still_leaves_the_block() -> None:
    async with line() as ends:
        reader, writer = os.pipe()
        await ends.worker.channel.send(None, Handle.of(writer))
        message = await ends.primary.receive()
        with pytest.raises(ResourceWarning):
            with message:
                pass
        await everybody_has_closed(reader)
        await trio.lowlevel.checkpoint()  # the scope was left: nothing is out of order


# ---- handlers ---------------------------------------------------------------------------------


async def run_handler(ends: Line, handler: Callable[[Message], Any]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, ends.worker, "x", outcomes)
        message = await ends.primary.receive()
        try:
            await handle(message, handler)
        except Exception as exc:  # noqa: BLE001  (part of the outcome)
            outcomes.append(exc)
        await settle()
    return outcomes


async def test_what_a_handler_returns_is_the_answer() -> None:
    async def handler(message: Message) -> Any:
        return [message.body]

    async with line() as ends:
        assert [["x"]] == await run_handler(ends, handler)


async def test_a_handler_may_answer_by_itself() -> None:
    async def handler(message: Message) -> Any:
        await message.reply("mine")
        return "not this"

    async with line() as ends:
        assert ["mine"] == await run_handler(ends, handler)


async def test_an_answer_that_was_returned_is_sent_also_when_cancelled() -> None:
    """It may hold handles, which nobody else has any more."""

    async with line() as ends, trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def handler(message: Message) -> Any:
            scope.cancel()
            return Handle.of(os.memfd_create("test"))

        async def serve() -> None:
            with scope:
                await handle(await ends.primary.receive(), handler)

        nursery.start_soon(serve)
        with contextlib.closing(await ends.worker.channel.ask("x")) as answer:
            assert "memfd" == answer.kind


async def test_a_handler_that_returns_what_cannot_be_sent() -> None:
    async def handler(message: Message) -> Any:
        return object()

    async with line() as ends:
        raised, outcome = await run_handler(ends, handler)
        assert isinstance(raised, TypeError)
        assert isinstance(outcome, RemoteError)
        assert "TypeError" == outcome.type


async def test_an_exception_after_the_answer_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The asker has its answer, so nobody else would hear of it."""

    async def handler(message: Message) -> Any:
        await message.reply("fine")
        raise ValueError("not so fine")

    async with line() as ends:
        raised, outcome = await run_handler(ends, handler)
        assert "fine" == outcome
        assert isinstance(raised, ValueError)
    assert ["a handler failed after it had answered"] == caplog.messages


async def test_a_handler_whose_asker_gave_up() -> None:
    async with line() as ends, trio.open_nursery() as nursery:
        asking = trio.CancelScope()

        async def asker() -> None:
            with asking:
                await ends.worker.channel.ask("x")

        async def handler(message: Message) -> Any:
            asking.cancel()
            await trio.sleep_forever()

        nursery.start_soon(asker)
        await handle(await ends.primary.receive(), handler)


# ---- who works on what ------------------------------------------------------------------------


async def test_in_hand_until_the_same_task_asks_again() -> None:
    async with line() as ends:
        mailbox = ends.primary.mailbox
        before = mailbox._was_read
        await ends.worker.channel.send(1)
        await settle()
        assert not mailbox._has_message_in_hand()
        mailbox.receive_nowait()
        assert (False, True) == (before, mailbox._was_read)
        assert mailbox._has_message_in_hand()
        with pytest.raises(trio.WouldBlock):
            mailbox.receive_nowait()
        assert not mailbox._has_message_in_hand()


async def test_a_message_is_in_hand_from_the_moment_it_is_handed_over() -> None:
    """Before its receiver, who was parked, has had a chance to run."""
    async with line() as ends, trio.open_nursery() as nursery:
        mailbox = ends.primary.mailbox
        nursery.start_soon(mailbox.receive)
        await settle()
        put(ends.primary, 1)
        assert mailbox._has_message_in_hand()
        await settle()
        assert not mailbox._has_message_in_hand()  # its task has ended


async def test_tasks_that_ended_hold_nothing() -> None:
    async with line() as ends:
        mailbox = ends.primary.mailbox

        async def one() -> None:
            await mailbox.receive()

        for _ in range(200):
            await ends.worker.channel.send(1)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one)
        assert 70 > len(mailbox._in_hand)
        assert not mailbox._has_message_in_hand()


async def test_nobody_keeps_books_in_the_primary() -> None:
    async with line(mailbox=Mailbox(MergedMailbox())) as ends:
        await ends.worker.channel.send(1)
        await ends.primary.receive()
        assert not ends.primary.mailbox._has_message_in_hand()
