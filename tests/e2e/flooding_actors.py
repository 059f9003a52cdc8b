"""Main functions of workers that send more than somebody takes, and of those who do not take it."""

from __future__ import annotations

import signal

import trio

from actorcluster import Actor, ActorClusterError

__all__ = ["counts", "deaf", "flooder", "silent", "sink"]


async def flooder(actor: Actor, to: str, count: int, size: int, asks: bool = False) -> None:
    """Say hello; from "go" on send as much as goes, and meanwhile do what the primary says."""
    sent = 0
    body = "x" * size
    target = actor.ref(to)
    await target.send("hello")
    actor.ready()

    async def flood() -> None:
        nonlocal sent
        try:
            for number in range(count):
                await target.send([number, body])
                sent += 1
            await actor.send("all sent")
        except ActorClusterError as exc:
            await actor.send(type(exc).__name__)

    async def ask(number: int) -> None:
        nonlocal sent
        assert number == await target.ask([number, body])
        sent += 1
        if sent == count:
            await actor.send("all answered")

    async with trio.open_nursery() as flooding:
        async for message in actor.mailbox:
            match message.body:
                case "go" if asks:
                    for number in range(count):
                        flooding.start_soon(ask, number)
                case "go":
                    flooding.start_soon(flood)
                case "sent":
                    await message.reply(sent)
                case "stop":
                    flooding.cancel_scope.cancel()
                    break
                case ["ask", name, question]:
                    await message.reply(await actor.ref(name).ask(question))
                case ["send", name, text]:
                    await actor.ref(name).send(text)
                    await message.reply(None)
    await message.reply(sent)
    await sink(actor)


async def silent(actor: Actor) -> None:
    """Read nothing before SIGUSR1."""
    with trio.open_signal_receiver(signal.SIGUSR1) as signals:
        actor.ready()
        await anext(aiter(signals))
    await counts(actor)


async def counts(actor: Actor) -> None:
    """Answer an ask with its number; tell the primary the number of what is no ask."""
    actor.ready()
    async for message in actor.mailbox:
        if message.body == "hello":
            continue
        number, _ = message.body
        if message.is_ask:
            await message.reply(number)
        else:
            await actor.send(number)


async def sink(actor: Actor) -> None:
    """Answer an ask with its body."""
    actor.ready()
    async for message in actor.mailbox:
        if message.is_ask:
            await message.reply(message.body)


async def deaf(actor: Actor) -> None:
    """Read nothing, ever."""
    actor.ready()
    await trio.sleep_forever()
