"""Main functions of workers that are replaced while they are well."""

from __future__ import annotations

import trio

from actorcluster import Actor


async def thoughtful(actor: Actor) -> None:
    """Answer one after the other, and think about each; a later life is ready when told to."""
    if actor.incarnation == 1:
        actor.ready()
    async for message in actor.mailbox:
        with message:
            if message.body == "ready":
                actor.ready()
                continue
            await trio.sleep(0.05)
            await message.reply([actor.incarnation, message.body])


async def greets(actor: Actor) -> None:
    """Tell everybody who connects which life this is, and wait until it has gone."""
    listeners = await actor.listen_tcp(0, host="127.0.0.1")

    async def greet(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(b"%d" % actor.incarnation)
            await stream.receive_some(1)

    await trio.serve_listeners(greet, listeners)


async def waits_for_a_word(actor: Actor) -> None:
    """Slot 1 is ready at once, others when told to."""
    if actor.name.endswith(".1"):
        actor.ready()
    async for message in actor.mailbox:
        with message:
            actor.ready()


async def takes(actor: Actor) -> None:
    """Take connections, say which life this is, and let them go; keep some memory when told to."""
    listeners = await actor.listen_tcp(0, host="127.0.0.1")
    kept = []

    async def greet(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(b"%d" % actor.incarnation)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, greet, listeners)
        async for message in actor.mailbox:
            with message:
                if isinstance(message.body, int):
                    kept.append(b"x" * message.body)
                await message.reply(actor.incarnation)
        nursery.cancel_scope.cancel()
