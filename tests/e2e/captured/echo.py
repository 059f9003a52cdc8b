"""The worker of the second capture: answers what it is asked, sends back what it is sent."""

from __future__ import annotations

import actorcluster


async def echo(actor: actorcluster.Actor) -> None:
    async for message in actor.mailbox:
        with message:
            if message.is_ask:
                await message.reply(message.body)
            else:
                await actor.send(message.body)


if actorcluster.is_worker():
    actorcluster.run_worker(echo)
