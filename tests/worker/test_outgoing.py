"""Mail to others waits in a line for each address, and holds up nobody else's."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actorcluster import PeerClosed
from actorcluster._link.parcel import Parcel
from actorcluster._worker import outgoing
from actorcluster._worker.message import Message
from actorcluster._worker.outgoing import Outgoing
from tests.worker.lines import Line, line, settle

WINDOW = 65536
LIMITS = {"window": WINDOW}
#: Three of them are half a window and less than that, four are more.
BODY = "x" * 9000


class Lines:
    """A worker's, and the primary's end, which passes on what it takes."""

    def __init__(self, ends: Line) -> None:
        self.ends = ends
        self.outgoing = Outgoing(ends.worker.channel)
        self.sent: list[Any] = []

    def parcel(self, body: Any, to: int | str = "b") -> Parcel:
        return Parcel(self.ends.worker.connection, body, address={"to": to})

    async def send(self, number: int, to: int | str = "b", body: str = BODY) -> None:
        try:
            await self.outgoing.send(to, self.parcel([number, body], to))
        except PeerClosed as exc:
            self.sent.append(type(exc))
        else:
            self.sent.append(number)

    async def take(self) -> Message:
        return await self.ends.primary.receive()

    async def probe(self) -> Message:
        message = await self.take()
        assert {"room": True} == message._event.meta
        return message

    async def number(self) -> int:
        return int((await self.take()).body[0])


async def flood(lines: Lines, nursery: trio.Nursery, count: int) -> None:
    for number in range(count):
        nursery.start_soon(lines.send, number)
        await settle()


async def test_half_a_window_goes_and_the_rest_waits() -> None:
    async with line(limits=LIMITS) as ends, trio.open_nursery() as nursery:
        lines = Lines(ends)
        await flood(lines, nursery, 8)
        assert [0, 1, 2] == lines.sent
        await lines.send(100, to="c")  # nobody stands in its way
        assert 100 == lines.sent.pop()
        assert not lines.outgoing.send_nowait("b", lines.parcel("x"))
        assert [0, 1] == [await lines.number() for _ in range(2)]
        probe = await lines.probe()
        assert [2, 100] == [await lines.number() for _ in range(2)]
        assert [0, 1, 2] == lines.sent  # taken is not passed on
        await probe.reply(None)
        await settle()
        assert [0, 1, 2, 3, 4] == sorted(lines.sent)
        nursery.cancel_scope.cancel()


async def test_everything_arrives_in_order() -> None:
    async with line(limits=LIMITS) as ends, trio.open_nursery() as nursery:
        lines = Lines(ends)
        await flood(lines, nursery, 40)
        numbers: list[int] = []
        while len(numbers) < 40:
            message = await lines.take()
            if message.is_ask:
                await message.reply(None)
            else:
                numbers.append(message.body[0])
        await settle()
        assert [*range(40)] == numbers == sorted(lines.sent)


async def test_a_small_one_does_not_overtake_a_large_one() -> None:
    async with line(limits=LIMITS) as ends, trio.open_nursery() as nursery:
        lines = Lines(ends)
        await lines.send(0)
        nursery.start_soon(lambda: lines.send(1, body="x" * 100_000))
        await settle()
        nursery.start_soon(lambda: lines.send(2, body="x"))
        await settle()
        assert [0] == lines.sent
        assert 0 == await lines.number()
        await (await lines.probe()).reply(None)
        assert 1 == await lines.number()
        await settle()
        assert [0, 1] == lines.sent
        await (await lines.probe()).reply(None)
        assert 2 == await lines.number()
        await lines.send(3)
        nursery.start_soon(lambda: lines.send(4, body="x" * 100_000))
        await settle()
        assert 3 == await lines.number()
        for number in (None, 4, None):
            message = await lines.take()
            if number is None:
                await message.reply(None)
                await settle()
            else:
                assert number == message.body[0]
        assert {} == lines.outgoing._lines


async def test_giving_up_lets_those_behind_in() -> None:
    async with line(limits=LIMITS) as ends, trio.open_nursery() as nursery:
        lines = Lines(ends)
        await lines.send(0)
        async with trio.open_nursery() as giving_up:
            giving_up.start_soon(lambda: lines.send(1, body="x" * 100_000))
            await settle()
            nursery.start_soon(lambda: lines.send(2, body="x"))
            await settle()
            giving_up.cancel_scope.cancel()
        await settle()
        assert [0, 2] == lines.sent
        assert 0 == await lines.number()
        await lines.probe()
        assert 2 == await lines.number()


async def test_giving_up_where_there_is_no_room_for_anybody() -> None:
    """It was let in, and waits like all others; what it counted is given back."""
    async with line(limits=LIMITS) as ends, trio.open_nursery() as nursery:
        lines = Lines(ends)
        await ends.worker.channel.send("x" * WINDOW)
        async with trio.open_nursery() as giving_up:
            for number in range(3):
                giving_up.start_soon(lines.send, number)
            await settle()
            giving_up.cancel_scope.cancel()
        nursery.start_soon(lines.send, 3)
        await settle()
        assert [] == lines.sent
        await lines.take()
        message = await lines.take()
        while message.is_ask:
            await message.reply(None)
            message = await lines.take()
        assert 3 == message.body[0]
        await settle()
        assert [3] == lines.sent


async def test_the_primary_is_gone() -> None:
    async with line(limits=LIMITS) as ends, trio.open_nursery() as nursery:
        lines = Lines(ends)
        await flood(lines, nursery, 6)
        ends.worker.channel.fail_all(PeerClosed)
        await settle()
        assert [0, 1, 2, *[PeerClosed] * 3] == lines.sent


async def test_little_is_never_asked_about() -> None:
    async with line(limits=LIMITS) as ends:
        lines = Lines(ends)
        for number in range(50):
            await lines.send(number, body="x")
        assert [*range(50)] == [await lines.number() for _ in range(50)]
        await settle()
        assert 0 == len(ends.primary.mailbox)


async def test_no_probe_stands_in_the_way_of_others() -> None:
    """While no call can be made, and nobody waits, none is queued."""
    async with line(limits={**LIMITS, "max_calls": 1}) as ends, trio.open_nursery() as nursery:
        lines = Lines(ends)
        nursery.start_soon(ends.worker.channel.ask, "busy")
        ask = await lines.take()
        for number in range(3):
            await lines.send(number)
        await ends.worker.channel.send("to the primary")
        assert [0, 1, 2] == [await lines.number() for _ in range(3)]
        assert "to the primary" == (await lines.take()).body
        await ask.reply(None)
        await settle()
        await lines.send(3, body="x")  # finds that it can be asked now
        assert 3 == await lines.number()
        await lines.probe()


async def test_a_name_that_leaves_no_room_for_a_probe() -> None:
    """Then nothing is known, and nothing is held back."""
    async with line(limits={**LIMITS, "max_meta": 1024}) as ends:
        lines, name = Lines(ends), "n" * 1015
        for number in range(3):
            await lines.send(number, to=name)
            assert number == await lines.number()
        await settle()
        assert 0 == len(ends.primary.mailbox)


async def test_addresses_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "_MOST_LINES", 10)
    async with line(limits=LIMITS) as ends, trio.open_nursery() as nursery:
        lines = Lines(ends)
        await flood(lines, nursery, 6)
        for number in range(100):
            await lines.send(number, to=number, body="x")
            assert len(lines.outgoing._lines) <= 10
        assert "b" in lines.outgoing._lines
        nursery.cancel_scope.cancel()
