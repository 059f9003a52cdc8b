"""Mailboxes over a real channel: order, receivers, several behind one, room, who works on what."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from actorcluster import Message
from actorcluster._worker.mailbox import Mailbox, MergedMailbox
from actorcluster.wire.events import TellReceived
from tests.worker.lines import End, ask, line, settle

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
