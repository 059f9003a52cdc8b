"""Many frames at once are acted upon in parts, between which others have their turns."""

from __future__ import annotations

import itertools

import trio

from actorcluster._link.handles import Handle
from actorcluster._link.pipe import _MOST_FRAMES
from actorcluster.wire import events
from actorcluster.wire._generated import Kind
from actorcluster.wire.header import encode_frame
from tests.descriptors import memfd
from tests.link.pair import End, Peer, played
from tests.link.pipes import size_of

COUNT = 3 * _MOST_FRAMES + 10
ALL = list(range(COUNT))


class Arrivals(trio.abc.Instrument):
    """Notes after each pass how many events the owner has been told in all."""

    def __init__(self, end: End) -> None:
        self.end = end
        self.counts = [0]

    def before_io_wait(self, timeout: float) -> None:
        self.counts.append(len(self.end.events))

    @property
    def most(self) -> int:
        """In one pass."""
        return max(after - before for before, after in itertools.pairwise(self.counts))


def queue(peer: Peer, count: int) -> None:
    """Have the peer queue so many messages for somebody whom the primary does not know."""
    for number in range(count):
        peer.connection.send_tell(peer.connection.encode(number), to="nobody")


def taken_from(peer: Peer) -> bytes:
    """What the peer has queued."""
    batches = peer.connection.data_to_send(1 << 30)
    return b"".join(bytes(part) for batch in batches for part in batch.buffers)


def bodies(end: End) -> list[object]:
    return [event.body for event in end.events if isinstance(event, events.TellReceived)]


async def test_others_have_turns_between_what_one_read_brings() -> None:
    async with played() as (end, peer):
        arrivals = Arrivals(end)
        trio.lowlevel.add_instrument(arrivals)
        queue(peer, COUNT)
        peer.say()
        while len(end.events) < COUNT:
            await trio.lowlevel.checkpoint()
        trio.lowlevel.remove_instrument(arrivals)
        assert ALL == bodies(end)
        assert _MOST_FRAMES == arrivals.most


async def test_what_somebody_leads_to_is_acted_upon_in_parts() -> None:
    """Who waits for an answer reads in the reader's place; behind what it began there is more."""
    async with played() as (end, peer):
        arrivals = Arrivals(end)
        trio.lowlevel.add_instrument(arrivals)
        answers: list[object] = []

        async def ask() -> None:
            answers.append(await end.channel.ask("?"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            call = await peer.next(events.CallReceived)
            assert end.channel._leads
            queue(peer, COUNT)
            assert peer.connection.reply(call.channel, "!") is None
            peer.say()
        trio.lowlevel.remove_instrument(arrivals)
        assert (["!"], ALL) == (answers, bodies(end))
        assert _MOST_FRAMES == arrivals.most


async def test_the_end_loses_nothing_of_it() -> None:
    async with played() as (end, peer):
        queue(peer, COUNT)
        peer.say()
        while not end.events:
            await trio.lowlevel.checkpoint()
        assert COUNT > len(end.events)
        assert end.channel.has_unread()
        end.channel.finish()
        await end.over.wait()
        assert (ALL, None) == (bodies(end), end.fault)


async def test_descriptors_find_their_frame_in_a_later_part() -> None:
    async with played() as (end, peer):
        queue(peer, COUNT)
        peer.tell("laden", Handle.of(memfd(7)))
        while len(end.events) <= COUNT:
            await trio.lowlevel.checkpoint()
        (handle,) = end.events[-1].handles
        assert 7 == size_of(handle)
        assert end.fault is None


async def test_a_fault_is_found_when_its_turn_comes() -> None:
    """What came before it counts, in however many parts."""
    async with played() as (end, peer):
        queue(peer, COUNT)
        peer.sock.send(taken_from(peer) + b"no frame at all.")
        await end.over.wait()
        assert end.fault is not None
        assert ("AWP-FR-4", ALL) == (end.fault.requirement, bodies(end))


def echo_and_more(peer: Peer, call: events.CallReceived) -> None:
    """Answer, and in the same read: much that nobody is told of, and behind that a message."""
    assert peer.connection.reply(call.channel, call.body) is None
    answer = taken_from(peer)
    queue(peer, 1)
    silent = encode_frame(Kind.PING, 0, b"\xc0", b"\xc0") * (_MOST_FRAMES + 1)
    peer.sock.send(answer + silent + taken_from(peer))


async def test_who_asks_again_at_once_reads_over_nothing() -> None:
    """It leads again only when the rest of what was read has been acted upon."""
    async with played() as (end, peer):
        answers: list[object] = []

        async def ask() -> None:
            answers.append(await end.channel.ask("first"))
            assert end.channel.unread
            answers.append(await end.channel.ask("second"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            echo_and_more(peer, await peer.next(events.CallReceived))
            call = await peer.next(events.CallReceived)
            assert peer.connection.reply(call.channel, call.body) is None
            peer.say()
        assert (["first", "second"], [0]) == (answers, bodies(end))


async def test_who_leads_at_the_end_reads_over_nothing() -> None:
    """The reader takes in what is left, in parts, and somebody is still waiting in its place."""
    async with played() as (end, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end.channel.ask, "?")
            await peer.next(events.CallReceived)
            assert end.channel._leads
            queue(peer, 2)
            silent = encode_frame(Kind.PING, 0, b"\xc0", b"\xc0") * (4 * _MOST_FRAMES)
            peer.sock.send(silent + taken_from(peer))
            end.channel.finish()
            while not end.channel.unread:
                await trio.lowlevel.checkpoint()
            queue(peer, 1)  # the process has left its end of the socket to somebody
            peer.say()
            await end.over.wait()
            nursery.cancel_scope.cancel()  # an owner would fail the ask
        # Whether what came behind the end is read depends on who has the next turn.
        assert ([0, 1], None) == (bodies(end)[:2], end.fault)
