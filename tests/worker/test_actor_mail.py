"""An actor's mail: handlers, who sent it, what comes back."""

from __future__ import annotations

import math
import os
from typing import Any

import pytest
import trio
import trio.testing

import actorcluster
from actorcluster import Actor, Message, RemoteError
from actorcluster.wire import events
from tests.worker.hosted import hosted, idle
from tests.worker.lines import ask, settle

Clock = trio.testing.MockClock


# ---- serve_messages ---------------------------------------------------------------------------


async def test_serve_messages_answers_asks() -> None:
    async def handler(message: Message) -> Any:
        if message.body == "bad":
            raise ValueError("bad")
        return message.body

    async def main(actor: Actor) -> None:
        await actor.serve_messages(handler)

    async with hosted(main) as one:
        assert "x" == await one.primary.channel.ask("x")
        assert None is await one.primary.channel.ask(None)
        with pytest.raises(RemoteError, match="bad"):
            await one.primary.channel.ask("bad")
        assert "y" == await one.primary.channel.ask("y")
        one.stops()
        assert await one.ends() is None


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_serve_messages_fails_on_a_plain_send(concurrency: int) -> None:
    """What the handler raised leaves serve_messages as it is."""

    async def handler(message: Message) -> None:
        raise ValueError("bad")

    async def main(actor: Actor) -> None:
        await actor.serve_messages(handler, concurrency=concurrency)

    async with hosted(main) as one:
        await one.primary.channel.send("x")
        error = await one.ends()
        assert isinstance(error, ValueError)


async def test_two_handlers_fail_at_once() -> None:
    async def handler(message: Message) -> None:
        try:
            if message.body == 1:
                await trio.sleep_forever()
        finally:
            raise ValueError(message.body)

    async def main(actor: Actor) -> None:
        await actor.serve_messages(handler, concurrency=3)

    async with hosted(main) as one:
        await one.primary.channel.send(1)
        await one.primary.channel.send(2)
        error = await one.ends()
        assert isinstance(error, ExceptionGroup)
        assert 2 == len(error.exceptions)


async def test_as_many_handlers_as_wanted(autojump_clock: Clock) -> None:
    running, most = 0, 0

    async def handler(message: Message) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(1)
        running -= 1

    async def main(actor: Actor) -> None:
        await actor.serve_messages(handler, concurrency=4)

    async with hosted(main) as one:
        for number in range(10):
            await one.primary.channel.send(number)
        await settle()
        one.stops()
        await one.ends()
    assert 4 == most


async def test_concurrency_is_checked() -> None:
    async def main(actor: Actor) -> None:
        with pytest.raises(ValueError, match="concurrency"):
            await actor.serve_messages(idle, concurrency=0)  # type: ignore[arg-type]  # wrong on purpose

    async with hosted(main) as one:
        assert await one.ends() is None


# ---- mail -------------------------------------------------------------------------------------


async def test_the_actor_and_its_primary_ref_do_the_same() -> None:
    async def main(actor: Actor) -> None:
        await actor.send(1)
        actor.send_nowait(2)
        await actor.primary.send(3)
        actor.primary.send_nowait(4)
        await actor.send([await actor.ask(5), await actor.primary.ask(6)])

    async with hosted(main) as one:
        bodies = []
        for _ in range(7):
            message = await one.primary.receive()
            bodies.append(message.body)
            if message.is_ask:
                await message.reply(10 * message.body)
        assert [1, 2, 3, 4, 5, 6, [50, 60]] == bodies


async def test_who_sent_it() -> None:
    seen: list[Any] = []

    async def main(actor: Actor) -> None:
        message = await actor.mailbox.receive()
        seen.append((repr(message.sender), message.sender == actor.primary))
        message = await actor.mailbox.receive()
        seen.append(repr(message.sender))
        message = await actor.mailbox.receive()
        seen.append(repr(message.sender))

    async with hosted(main) as one:
        await one.primary.channel.send("x")
        await one.primary.channel.send("x", sender=5 << 32, meta={"name": "db"})
        await one.primary.channel.send("x", sender=6 << 32, meta={"name": 3})
        await one.ends()
    pinned = f"<Ref 'actor {6 << 32}' pinned to 6>"
    assert [("<Ref 'primary'>", True), "<Ref 'db' pinned to 5>", pinned] == seen


@pytest.mark.parametrize("to", [None, "web", 7 << 32])
async def test_addresses_that_are_ours(to: int | str | None) -> None:
    async def main(actor: Actor) -> None:
        with await actor.mailbox.receive() as message:
            await message.reply(message.body)

    async with hosted(main) as one:
        assert "x" == await one.primary.channel.ask("x", to=to)


@pytest.mark.parametrize("to", ["other", 8 << 32, (7 << 32) + 1])
async def test_addresses_that_are_not_ours(to: int | str) -> None:
    async with hosted(idle) as one:
        reader, writer = os.pipe()
        await one.primary.channel.send("x", actorcluster.Handle.of(writer), to=to)
        undeliverable = await one.hears(events.Undeliverable)
        assert (1, to, "no_such_actor") == (
            undeliverable.number,
            undeliverable.to,
            undeliverable.error["code"],
        )
        with open(reader, "rb") as pipe:
            assert b"" == pipe.read()
        with pytest.raises(actorcluster.NoSuchActor):
            await one.primary.channel.ask("x", to=to)


async def test_a_message_that_comes_back_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main(actor: Actor) -> None:
        actor.ref("nobody").send_nowait("x")
        await actor.send("y")
        await trio.sleep_forever()

    async with hosted(main) as one:
        await settle()
        connection = one.primary.connection
        connection.send_undeliverable(1, "nobody", {"code": "no_such_actor", "message": "m"})
        connection.send_undeliverable(2, None, {"code": "stopping"})
        one.primary.channel.flush()
        await settle()
    assert "web: a message to nobody was not delivered: no_such_actor (m)" in caplog.text
    assert "web: a message to primary was not delivered: stopping (None)" in caplog.text


async def test_a_withdrawn_ask_cancels_its_handler() -> None:
    async def main(actor: Actor) -> None:
        with await actor.mailbox.receive():
            await actor.send("working")
            await trio.sleep_forever()
        await actor.send("free again")

    async with hosted(main) as one, trio.open_nursery() as nursery:
        nursery.start_soon(ask, one.primary, "x", [])
        assert "working" == (await one.primary.receive()).body
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            assert "free again" == (await one.primary.receive()).body


async def test_no_limit_is_inf() -> None:
    """The rest of this file relies on it."""
    async with hosted(idle) as one:
        one.stops(math.inf)
        assert await one.ends() is None
