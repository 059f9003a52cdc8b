"""A large message costs its sender one copy of it, and its receiver two at the worst."""

from __future__ import annotations

import actorcluster
from actorcluster import Actor
from tests.hardened.memory import MIB, growth_of_peak

SIZE = 64 * MIB


async def receives_one(actor: Actor) -> None:
    """Say by how much one message raised the peak of memory."""
    await actor.send("ready")
    with growth_of_peak() as peak:
        message = await actor.mailbox.receive()
        assert SIZE == len(message.body)
    await actor.send(peak.growth)


async def sends_one(actor: Actor) -> None:
    """The same for a message that it sends."""
    body = b"x" * SIZE
    await actor.mailbox.receive()
    with growth_of_peak() as peak:
        await actor.send(body)
        await actor.ask("behind it")  # answered when it has arrived
    await actor.send(peak.growth)


async def test_there() -> None:
    async with actorcluster.open_primary(settings={"max_message": SIZE + MIB}) as primary:
        body = b"x" * SIZE
        worker = await primary.fork(receives_one)
        assert "ready" == (await worker.mailbox.receive()).body
        with growth_of_peak() as peak:
            await worker.send(body)
            received = (await worker.mailbox.receive()).body
    assert 0.5 * SIZE < peak.growth <= 1.5 * SIZE
    assert 0.5 * SIZE < received <= 2.5 * SIZE


async def test_and_back() -> None:
    async with actorcluster.open_primary(settings={"max_message": SIZE + MIB}) as primary:
        worker = await primary.fork(sends_one)
        with growth_of_peak() as peak:
            await worker.send("go")
            message = await worker.mailbox.receive()
        assert SIZE == len(message.body)
        with await worker.mailbox.receive() as ask:
            await ask.reply(None)
        sent = (await worker.mailbox.receive()).body
    assert 0.5 * SIZE < sent <= 1.5 * SIZE
    assert 0.5 * SIZE < peak.growth <= 2.5 * SIZE
