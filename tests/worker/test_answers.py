"""Answers over a real channel: one outcome for each ask, whoever gives up first."""

from __future__ import annotations

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
from actorcluster._worker.message import Ask
from actorcluster.wire._generated import ErrorCode, Kind
from actorcluster.wire.frames import encode_frame
from tests.worker.lines import Outcome, ask, everybody_has_closed, line, settle

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


async def test_a_later_ask_of_the_same_number_is_another_one() -> None:
    """A peer may take a call's number again; who had it before has nothing to do with it."""
    outcomes: list[Outcome] = []
    async with line() as ends, trio.open_nursery() as nursery:

        async def asked() -> Any:
            ends.worker.connection._next_channel = 1
            nursery.start_soon(ask, ends.worker, "x", outcomes)
            return await ends.primary.receive()

        old = await asked()
        with old:
            await old.reply(1)
            await settle()
            new = await asked()
            assert old._number == new._number
            assert old.answered
            assert not new.answered
            with pytest.raises(LocalProtocolError, match="answered already"):
                await old.reply(2)
            with pytest.raises(LocalProtocolError, match="answered already"):
                old.answer(2)
            with pytest.raises(LocalProtocolError, match="answered already"):
                old.fail(ValueError())
        assert not new.answered  # not disposed of with the block
        del old
        gc.collect()
        await settle()
        assert not new.answered  # not taken for the one that was forgotten
        with new:
            await new.reply(3)
    assert [1, 3] == outcomes


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

        connection.data_to_send = taking  # type: ignore[method-assign, assignment]  # noted on the way
        await ends.primary.channel.send("other")
        connection.data_to_send = take  # type: ignore[method-assign]  # noted on the way
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
