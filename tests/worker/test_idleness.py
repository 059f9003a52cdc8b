"""Stop: what a worker waits for, how long, and when it is idle."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from actorcluster import Actor, Message, NotHandled, PeerClosed
from actorcluster.wire import events
from tests.worker.hosted import Hosted, Main, hosted, idle
from tests.worker.lines import ask, settle

Clock = trio.testing.MockClock


# ---- stop and idleness ------------------------------------------------------------------------

POLL = 0.02


async def stopped_after(one: Hosted) -> float:
    """How long main lives after a Stop without a limit."""
    begin = trio.current_time()
    one.stops()
    await one.hears(events.Goodbye)
    await one.ends()
    return trio.current_time() - begin


async def test_idle_at_once(autojump_clock: Clock) -> None:
    """A main that does none of the things that count is cancelled at once."""
    async with hosted(idle) as one:
        assert 3 * POLL >= await stopped_after(one)


async def test_mail_that_was_never_read_does_not_count(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody would ever read it. It is not lost silently, and an ask learns it."""
    async with hosted(idle) as one, trio.open_nursery() as nursery:
        outcomes: list[Any] = []
        await one.primary.channel.send("x")
        nursery.start_soon(ask, one.primary, "y", outcomes)
        await settle()
        assert 3 * POLL >= await stopped_after(one)
        await settle()
        assert isinstance(outcomes[0], PeerClosed)
    assert "2 messages were never read" in caplog.text


async def test_draining_is_set_and_the_mailbox_ends(autojump_clock: Clock) -> None:
    seen: list[Any] = []

    async def main(actor: Actor) -> None:
        async for message in actor.mailbox:
            seen.append((message.body, actor.draining.is_set()))
            await trio.sleep(1)
        seen.append("end")
        await trio.sleep_forever()

    async with hosted(main) as one:
        for number in range(3):
            await one.primary.channel.send(number)
        await settle()
        assert 3 <= await stopped_after(one) + 0.1
    assert [(0, False), (1, True), (2, True), "end"] == seen


async def main_busy(actor: Actor) -> None:
    with actor.busy():
        await trio.sleep(2)
    await trio.sleep_forever()


async def main_in_hand(actor: Actor) -> None:
    await actor.mailbox.receive()
    await trio.sleep(2)
    await actor.mailbox.receive()


async def main_in_block(actor: Actor) -> None:
    async with trio.open_nursery() as nursery:

        async def work(message: Message) -> None:
            with message:
                await trio.sleep(2)

        async for message in actor.mailbox:
            nursery.start_soon(work, message)
        await trio.sleep_forever()


async def main_unanswered(actor: Actor) -> None:
    async with trio.open_nursery() as nursery:

        async def answer(message: Message) -> None:
            await trio.sleep(2)
            await message.reply("at last")

        async for message in actor.mailbox:
            if message.is_ask:
                nursery.start_soon(answer, message)
        await trio.sleep_forever()


async def main_slow_reader(actor: Actor) -> None:
    async for _ in actor.mailbox:
        await trio.sleep(2)
    await trio.sleep_forever()


async def main_serves(actor: Actor) -> None:
    async def handler(message: Message) -> None:
        await trio.sleep(2)

    await actor.serve_messages(handler)
    await trio.sleep_forever()


@pytest.mark.parametrize(
    "main",
    [main_busy, main_in_hand, main_in_block, main_unanswered, main_slow_reader, main_serves],
)
async def test_what_stop_waits_for(main: Main, autojump_clock: Clock) -> None:
    """Two seconds of work are under way when Stop comes, and not a moment is waited for more."""
    async with hosted(main) as one, trio.open_nursery() as nursery:
        if main is main_unanswered:
            nursery.start_soon(ask, one.primary, "x", [])
        elif main is not main_busy:
            await one.primary.channel.send("x")
        await settle()
        assert 1.9 <= await stopped_after(one) <= 2.1


async def test_the_limit_ends_all_patience(autojump_clock: Clock) -> None:
    async def main(actor: Actor) -> None:
        with actor.busy():
            await trio.sleep_forever()

    async with hosted(main) as one:
        begin = trio.current_time()
        one.stops(5)
        await settle()
        assert await one.ends() is None
        assert 5 <= trio.current_time() - begin <= 5.1


@pytest.mark.parametrize(("first", "second", "expected"), [(9, 4, 4), (4, 9, 4), (None, 3, 3)])
async def test_the_earlier_of_two_limits(
    autojump_clock: Clock, first: float | None, second: float, expected: float
) -> None:
    async def main(actor: Actor) -> None:
        with actor.busy():
            await trio.sleep_forever()

    async with hosted(main) as one:
        begin = trio.current_time()
        one.stops(first)
        one.stops(second)
        await one.ends()
        assert expected <= trio.current_time() - begin <= expected + 0.1


async def test_main_may_finish_by_itself_while_it_drains() -> None:
    async def main(actor: Actor) -> None:
        await actor.draining.wait()
        await actor.send("bye")

    async with hosted(main) as one:
        one.stops(5)
        assert await one.ends() is None
        assert "bye" == (await one.primary.receive()).body


async def test_main_fails_while_it_drains() -> None:
    async def main(actor: Actor) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in the clean-up")

    async with hosted(main) as one:
        one.stops(0)
        assert "in the clean-up" == (await one.hears(events.ExitInfo)).info["message"]
        assert isinstance(await one.ends(), ValueError)


async def test_asks_in_hand_when_main_ends() -> None:
    """Those that somebody took are not handled; those that nobody read were not begun."""

    async def main(actor: Actor) -> None:
        held.append(await actor.mailbox.receive())

    held: list[Message] = []
    outcomes: list[Any] = []
    async with hosted(main) as one, trio.open_nursery() as nursery:
        nursery.start_soon(ask, one.primary, "x", outcomes)
        await one.ends()
        await settle()
        assert isinstance(outcomes[0], NotHandled)
    held.clear()
