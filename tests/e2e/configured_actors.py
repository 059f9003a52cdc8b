"""Actors that log, and say what they were configured with."""

from __future__ import annotations

import logging

import trio

from actorcluster import Actor


async def logs(actor: Actor) -> None:
    """Log what it is told, at the level that it is told."""
    logger = logging.getLogger("app.told")
    logger.setLevel(1)
    logger.addHandler(actor.log_handler())
    async for message in actor.mailbox:
        level, text = message.body
        logger.log(level, text)
        await message.reply(None)


async def logs_and_fails(actor: Actor) -> None:
    """Say something, and end at once."""
    logging.getLogger().addHandler(actor.log_handler("WARNING"))
    logging.getLogger("app").warning("last words")
    raise ValueError("on purpose")


async def tells_config(actor: Actor) -> None:
    """Answer with its config."""
    await actor.serve_messages(lambda _: _config(actor))


async def _config(actor: Actor) -> dict[str, object]:
    return dict(actor.config)


async def waits(actor: Actor) -> None:
    """Do nothing, as long as it may."""
    await trio.sleep_forever()
