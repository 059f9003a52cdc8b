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
