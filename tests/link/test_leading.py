"""Who waits for one thing of the peer's reads it, and the reader goes on whatever happens."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
import trio.testing

from actorcluster._link.handles import Handle
from actorcluster._link.writing import close_all
from actorcluster._worker.mailbox import Mailbox, deliver, deliver_run
from actorcluster.errors import PeerClosed
from actorcluster.wire import events
from actorcluster.wire._generated import AbortCode, Reason
from tests.link.pair import End, Passes, Peer, linked, played

all_blocked = trio.testing.wait_all_tasks_blocked


class Asker:
    """A task that asks, and what came of it."""

    def __init__(self, nursery: trio.Nursery, end: End, body: Any = "?") -> None:
        self.scope = trio.CancelScope()
        self.outcome: Any = None
        nursery.start_soon(self._run, end, body)

    async def _run(self, end: End, body: Any) -> None:
        try:
            with self.scope:
                self.outcome = await end.channel.ask(body)
        except PeerClosed as exc:
            self.outcome = exc


def answer(peer: Peer, call: events.CallReceived, body: Any) -> None:
    peer.connection.send_reply(call.channel, peer.connection.encode(body))
    peer.say()


async def is_read(end: End, peer: Peer, body: Any) -> bool:
    """Whether the reader is at work."""
    peer.tell(body)
    return bool(body == (await end.next(events.TellReceived)).body)


async def test_the_asker_reads_and_acts_on_all_that_comes() -> None:
    async with played() as (end, peer), trio.open_nursery() as nursery:
        asker = Asker(nursery, end)
        call = await peer.next(events.CallReceived)
        await all_blocked()
        assert end.channel._leads
        assert await is_read(end, peer, "meanwhile")
        assert end.channel._leads
        answer(peer, call, "!")
        await all_blocked()
        assert ("!", False) == (asker.outcome, end.channel._leads)
        assert await is_read(end, peer, "later")


@pytest.mark.parametrize(("leads", "passes"), [(True, 1), (False, 2)])
async def test_the_leader_has_its_answer_a_pass_earlier(leads: bool, passes: int) -> None:
    counter = Passes()
    answered: list[int] = []

    async def ask(end: End) -> None:
        await end.channel.ask("?")
        answered.append(counter.count)

    async with played() as (end, peer), trio.open_nursery() as nursery:
        end.channel._taken = 0 if leads else 100  # as after a read that brought so many
        nursery.start_soon(ask, end)
        call = await peer.next(events.CallReceived)
        await all_blocked()
        assert leads == end.channel._leads
        trio.lowlevel.add_instrument(counter)
        answer(peer, call, "!")
        await all_blocked()
        trio.lowlevel.remove_instrument(counter)
    assert [passes] == answered


async def test_nobody_leads_where_more_comes_than_one_read_takes() -> None:
    async with played() as (end, peer), trio.open_nursery() as nursery:
        end.channel._socket.is_full_read = True  # as after such a read
        asker = Asker(nursery, end)
        call = await peer.next(events.CallReceived)
        await all_blocked()
        assert not end.channel._leads
        answer(peer, call, "!")
        await all_blocked()
        assert "!" == asker.outcome


async def test_only_one_leads() -> None:
    async with played() as (end, peer), trio.open_nursery() as nursery:
        askers = [Asker(nursery, end, number) for number in range(3)]
        calls = [await peer.next(events.CallReceived) for _ in askers]
        assert not end.channel.may_lead
        for call in reversed(calls):
            answer(peer, call, call.body)
            await all_blocked()
        assert [0, 1, 2] == [asker.outcome for asker in askers]
        assert await is_read(end, peer, "later")


async def test_the_leader_is_cancelled() -> None:
    async with played() as (end, peer):
        async with trio.open_nursery() as nursery:
            asker = Asker(nursery, end)
            call = await peer.next(events.CallReceived)
            await all_blocked()
            assert end.channel._leads
            asker.scope.cancel()
        assert call.channel == (await peer.next(events.Cancelled)).channel
        assert 0 == end.channel.statistics().asks_waiting
        assert await is_read(end, peer, "later")


def given() -> Handle:
    return Handle.of(os.memfd_create("test"))


async def test_handles_that_a_leader_reads_are_acknowledged_while_it_leads_on() -> None:
    async with played() as (end, peer), trio.open_nursery() as nursery:
        asker = Asker(nursery, end)
        call = await peer.next(events.CallReceived)
        await all_blocked()
        for upto in (1, 2):
            peer.tell("meanwhile", given())
            close_all((await end.next(events.TellReceived)).handles)
            assert upto == (await peer.next(events.HandlesAcknowledged)).upto
            assert end.channel._leads
        answer(peer, call, "!")
        await all_blocked()
        assert "!" == asker.outcome


async def test_handles_that_a_leader_waited_for_are_acknowledged_without_an_answer() -> None:
    async with played() as (end, peer), trio.open_nursery() as nursery:
        asker = Asker(nursery, end)
        call = await peer.next(events.CallReceived)
        await all_blocked()
        assert end.channel._leads
        peer.connection.send_reply(call.channel, peer.connection.encode(None, given()))
        peer.say()
        await all_blocked()
        assert 1 == (await peer.next(events.HandlesAcknowledged)).upto
        assert (False, False) == (end.channel._leads, asker.outcome.closed)
        asker.outcome.close()


async def test_an_answer_takes_the_acknowledgement_of_handles_along(
    mock_clock: trio.abc.Clock,
) -> None:
    # The clock stands still: else the timer, on a slow machine, sends what an answer takes along.
    async with played() as (end, peer), trio.open_nursery() as nursery:
        mailbox = mailbox_of(end)

        async def serve() -> None:
            async for message in mailbox:
                message.body.close()
                await message.reply("!")

        nursery.start_soon(serve)
        await all_blocked()
        assert end.channel._leads
        for upto in (1, 2, 3, 4):
            sends = end.channel.statistics().sends
            number = peer.connection.send_call(peer.connection.encode(given()))
            peer.say()
            await all_blocked()
            assert sends + 1 == end.channel.statistics().sends
            assert upto == (await peer.next(events.HandlesAcknowledged)).upto
            assert number == (await peer.next(events.ReplyReceived)).channel
        nursery.cancel_scope.cancel()


async def test_one_asks_after_another_without_the_reader_in_between() -> None:
    async with linked() as (one, other):

        async def echo() -> None:
            while True:
                call = await other.next(events.CallReceived)
                other.channel.reply(call.channel, call.body, None, keep_open=False)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo)
            assert list(range(50)) == [await one.channel.ask(number) for number in range(50)]
            await one.channel.send("the reader of the other end is well")
            await other.next(events.TellReceived)
            await other.channel.send("and ours")
            await one.next(events.TellReceived)
            nursery.cancel_scope.cancel()


async def test_the_reader_goes_on_when_a_row_of_leads_is_over() -> None:
    """Until then it has no turn at all; at the end nobody else would wake it."""
    async with played() as (end, peer), trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def ask_on() -> None:
            with scope:
                while True:
                    await end.channel.ask("?")

        nursery.start_soon(ask_on)
        for number in range(5):
            call = await peer.next(events.CallReceived)
            await all_blocked()
            assert (True, number > 0) == (end.channel._leads, end.channel._is_led_in_a_row)
            answer(peer, call, "!")
        await peer.next(events.CallReceived)
        await all_blocked()
        stands_by = end.channel._stands_by
        scope.cancel()
        assert await is_read(end, peer, "later")
        assert (None, False) == (end.channel._stands_by, end.channel._is_led_in_a_row)
        assert stands_by is not None


async def test_the_leader_meets_a_fault() -> None:
    """It is the channel's, not the asker's."""
    async with played() as (end, peer):
        async with trio.open_nursery() as nursery:
            asker = Asker(nursery, end)
            await peer.next(events.CallReceived)
            await all_blocked()
            peer.sock.send(b"no frame at all " * 2)
            await end.over.wait()
            end.channel.fail_all(PeerClosed)
        assert end.fault is not None
        assert AbortCode.BAD_SIGNATURE == end.fault.code
        assert (await peer.next(events.Aborted)).code == AbortCode.BAD_SIGNATURE
        assert isinstance(asker.outcome, PeerClosed)


@pytest.mark.parametrize("finish", [False, True])
async def test_the_leader_meets_the_end(finish: bool) -> None:
    async with played() as (end, peer):
        async with trio.open_nursery() as nursery:
            asker = Asker(nursery, end)
            await peer.next(events.CallReceived)
            await all_blocked()
            if finish:
                end.channel.finish()
            else:
                peer.sock.close()
            await end.over.wait()
            assert not asker.outcome
            end.channel.fail_all(PeerClosed)
        assert isinstance(asker.outcome, PeerClosed)
        assert end.fault is None


async def test_the_leader_is_refused_its_answer() -> None:
    """By somebody else, while it waits for the socket."""
    async with played() as (end, peer):
        async with trio.open_nursery() as nursery:
            asker = Asker(nursery, end)
            await peer.next(events.CallReceived)
            await all_blocked()
            end.channel.give_up_asks(PeerClosed)
        assert isinstance(asker.outcome, PeerClosed)
        assert await is_read(end, peer, "later")


@pytest.fixture
def ctrl_c_counts() -> Iterator[None]:
    """The shell of a background job ignores it, and then Trio does, too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_counts")
def test_the_leader_is_interrupted_by_ctrl_c() -> None:
    """The peer is told, as when it is cancelled."""

    @trio.lowlevel.enable_ki_protection
    async def interrupt() -> None:
        await all_blocked()
        signal.raise_signal(signal.SIGINT)

    async def main() -> None:
        async with played() as (end, peer), trio.open_nursery() as nursery:
            nursery.start_soon(interrupt)
            with pytest.raises(KeyboardInterrupt):
                await end.channel.ask("?")
            call = await peer.next(events.CallReceived)
            assert call.channel == (await peer.next(events.Cancelled)).channel
            assert 0 == end.channel.statistics().asks_waiting

    trio.run(main)


class Ends(trio.abc.Instrument):
    """Ends a channel when a task has been woken, right before it has its turn."""

    def __init__(self, end: End, name: str) -> None:
        self._end, self._name = end, name

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task.name.endswith(self._name) and not self._end.channel.ended:
            self._end.channel._end()


async def test_the_channel_ends_when_the_leader_has_just_been_woken() -> None:
    async with played() as (end, peer):
        async with trio.open_nursery() as nursery:
            asker = Asker(nursery, end)
            await peer.next(events.CallReceived)
            await all_blocked()
            instrument = Ends(end, "Asker._run")
            trio.lowlevel.add_instrument(instrument)
            peer.tell("anything")
            await all_blocked()
            trio.lowlevel.remove_instrument(instrument)
            assert end.channel.ended
            assert not asker.outcome
            end.channel.fail_all(PeerClosed)
        assert isinstance(asker.outcome, PeerClosed)


async def test_what_an_event_raises_is_not_the_leaders() -> None:
    """It may not raise; if it does, all the channel's tasks end by it, and nobody else's."""
    with pytest.RaisesGroup(pytest.RaisesExc(ZeroDivisionError), flatten_subgroups=True):
        async with played() as (end, peer), trio.open_nursery() as nursery:
            asker = Asker(nursery, end)
            await peer.next(events.CallReceived)
            await all_blocked()

            def fail(_: Any) -> None:
                raise ZeroDivisionError

            end.channel.pass_mail_to(fail, fail)
            peer.tell("anything")
            await trio.sleep_forever()
    assert not asker.outcome


async def test_what_the_process_left_behind_answers_the_leader() -> None:
    async with played() as (end, peer):
        async with trio.open_nursery() as nursery:
            asker = Asker(nursery, end)
            call = await peer.next(events.CallReceived)
            await all_blocked()
            answer(peer, call, "last words")
            end.channel.finish()
        assert "last words" == asker.outcome


async def test_a_writer_that_waits_is_not_disturbed() -> None:
    """Who begins to lead has the reader step aside, and that wakes all who wait for the socket."""
    async with played() as (end, peer):
        async with trio.open_nursery() as nursery:
            Asker(nursery, end)
            call = await peer.next(events.CallReceived)
            await all_blocked()
            for _ in range(40):
                await end.channel.send(b"x" * 20_000)
            await all_blocked()
            assert end.channel._is_full
            answer(peer, call, "!")
            await all_blocked()
            assert not end.channel.may_lead
            for _ in range(40):
                await peer.next(events.TellReceived)
        assert await is_read(end, peer, "later")


async def test_much_to_read_is_for_the_reader() -> None:
    async with played() as (end, peer), trio.open_nursery() as nursery:
        asker = Asker(nursery, end)
        call = await peer.next(events.CallReceived)
        await all_blocked()
        for number in range(100):
            peer.connection.send_tell(peer.connection.encode(number))
        peer.say()
        await all_blocked()
        assert (None, False) == (asker.outcome, end.channel._leads)
        answer(peer, call, "!")
        await all_blocked()
        assert "!" == asker.outcome


# ---- receivers ---------------------------------------------------------------------------------


def mailbox_of(end: End) -> Mailbox:
    mailbox = Mailbox(channel=end.channel)
    mailbox_put(mailbox, end)
    return mailbox


def mailbox_put(mailbox: Mailbox, end: End) -> None:
    """Have mail delivered there."""

    def put(event: Any) -> None:
        deliver(event, end.channel, mailbox, None)

    def put_run(event: events.TellsReceived | events.CallsReceived) -> None:
        deliver_run(event, end.channel, mailbox, None)

    end.channel.pass_mail_to(put, put_run)


async def receive(mailbox: Mailbox, note: Callable[[Any], None]) -> None:
    try:
        note((await mailbox.receive()).body)
    except trio.EndOfChannel:
        note("the end")


@pytest.mark.parametrize("gather", [False, True])
async def test_receivers_are_served_in_the_order_of_waiting(gather: bool) -> None:
    got: list[Any] = []
    async with played(end={"gather": gather}) as (end, peer), trio.open_nursery() as nursery:
        mailbox = mailbox_of(end)
        for name in "abc":
            nursery.start_soon(receive, mailbox, lambda body, name=name: got.append((name, body)))
            await all_blocked()
        assert (True, 3) == (end.channel._leads, mailbox.statistics().tasks_waiting_receive)
        for number in range(4):
            peer.connection.send_tell(peer.connection.encode(number))
        peer.say()
        await all_blocked()
        assert [("a", 0), ("b", 1), ("c", 2)] == sorted(got)
        assert (1, False) == (len(mailbox), end.channel._leads)
        assert 3 == mailbox.receive_nowait().body


async def test_the_receiver_that_leads_is_cancelled() -> None:
    got: list[Any] = []
    async with played() as (end, peer), trio.open_nursery() as nursery:
        mailbox = mailbox_of(end)
        with trio.move_on_after(0.01):
            await mailbox.receive()
        assert not end.channel._leads
        nursery.start_soon(receive, mailbox, got.append)
        await all_blocked()
        peer.tell("for the next one")
        await all_blocked()
        assert ["for the next one"] == got


async def test_the_mailbox_ends_for_the_one_that_leads() -> None:
    got: list[Any] = []
    async with played() as (end, peer), trio.open_nursery() as nursery:
        mailbox = mailbox_of(end)
        for _ in range(2):
            nursery.start_soon(receive, mailbox, got.append)
        await all_blocked()
        mailbox._end()
        await all_blocked()
        assert ["the end"] * 2 == got
        peer.tell("too late to be received")
        await all_blocked()
        assert 1 == len(mailbox)


async def test_the_mailbox_ends_behind_its_messages() -> None:
    """Those that wait behind the leader get what came with the end, before they learn of it."""
    got: list[Any] = []
    async with played() as (end, peer), trio.open_nursery() as nursery:
        mailbox = mailbox_of(end)
        for _ in range(3):
            nursery.start_soon(receive, mailbox, got.append)
            await all_blocked()
        end.channel._acts[events.Leave] = lambda _: mailbox._end()
        for number in range(2):
            peer.connection.send_tell(peer.connection.encode(number))
        peer.connection.send_leave(Reason.NORMAL)
        peer.say()
        await all_blocked()
        assert [0, 1, "the end"] == sorted(got, key=str)


async def test_a_leader_that_gives_up_leading_stays_the_first() -> None:
    got: list[Any] = []
    async with played() as (end, peer), trio.open_nursery() as nursery:
        mailbox = mailbox_of(end)
        end.channel.pass_mail_to(lambda _: None, lambda _: None)
        for name in "ab":
            nursery.start_soon(receive, mailbox, lambda body, name=name: got.append((name, body)))
            await all_blocked()
        for number in range(100):
            peer.connection.send_tell(peer.connection.encode(number))
        peer.say()
        await all_blocked()
        assert not end.channel._leads
        mailbox_put(mailbox, end)
        peer.tell("!")
        await all_blocked()
        assert [("a", "!")] == got
        mailbox._end()


async def test_the_channel_ends_for_the_one_that_leads() -> None:
    got: list[Any] = []
    async with played() as (end, peer), trio.open_nursery() as nursery:
        mailbox = mailbox_of(end)
        nursery.start_soon(receive, mailbox, got.append)
        await all_blocked()
        peer.sock.close()
        await end.over.wait()
        await all_blocked()
        assert [] == got
        mailbox._end()
        await all_blocked()
        assert ["the end"] == got


async def test_a_message_and_a_fault_behind_it_in_one_read() -> None:
    """Who received the message waits for the next one, and must not lead in the reader's place."""
    got: list[Any] = []

    async def receive_all(mailbox: Mailbox) -> None:
        got.extend([message.body async for message in mailbox])

    async with played() as (end, peer), trio.open_nursery() as nursery:
        mailbox = mailbox_of(end)
        nursery.start_soon(receive_all, mailbox)
        await all_blocked()
        assert end.channel._leads
        peer.connection.send_tell(peer.connection.encode("!"))
        batches = peer.connection.data_to_send()
        data = b"".join(bytes(buffer) for batch in batches for buffer in batch.buffers)
        peer.sock.send(data + b"no frame at all " * 2)
        with trio.fail_after(60):
            await end.over.wait()
        assert end.fault is not None
        assert AbortCode.BAD_SIGNATURE == end.fault.code
        mailbox._end()
    assert ["!"] == got
