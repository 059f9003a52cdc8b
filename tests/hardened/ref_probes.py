"""Main functions of workers that cancel what they await of others, at every moment."""

from __future__ import annotations

import itertools
from typing import Any

import trio

from actorcluster import Actor
from tests.hardened.moments import every_moment

__all__ = ["dawdles", "floods", "watches"]


async def watches(actor: Actor) -> None:
    """Cancel a monitor of somebody who lives on, and of nobody; no watch is left of either."""
    living, nobody = actor.ref(actor.name), actor.ref("nobody")

    async def look() -> None:
        async with living.monitor():
            await trio.lowlevel.checkpoint()

    async def wait() -> Any:
        async with nobody.monitor() as monitor:
            return await monitor.wait()

    for call in (look, wait):
        for trial in every_moment():
            down = await trial.run(call)
            assert trial.cancelled or call is look or down.status is None
            assert 0 == await actor.ask("watches")
    waiting = actor._home._watches
    assert waiting is not None
    assert {} == waiting._waiting
    await actor.send("done")


async def dawdles(actor: Actor) -> None:
    """Take one message after the other, slowly; tell the primary which, at the end."""
    numbers: list[int] = []
    async for message in actor.mailbox:
        if message.is_ask:
            await message.reply(numbers)
            continue
        numbers.append(message.body[0])
        await trio.sleep(0.001)


async def floods(actor: Actor, to: str, size: int) -> None:
    """Cancel sends for which there is no room yet; what was not cancelled has arrived, in order."""
    ref, sent = actor.ref(to), []
    await ref.send([-1, ""])
    for number, trial in enumerate(itertools.chain(*(every_moment() for _ in range(5)))):
        await trial.run(ref.send, [number, "x" * size])
        if not trial.cancelled:
            sent.append(number)
    assert [-1, *sent] == await ref.ask("which")
    await actor.send("done")
