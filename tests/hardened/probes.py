"""Main functions of workers that are given to, and of those that cancel their own calls."""

from __future__ import annotations

import contextlib
import itertools

import attrs
import trio

from actorcluster import Actor, Handle
from tests.hardened.gifts import SMALL_MAILBOX, Given, cancel_asks, cancel_sends, fill, take


async def taker(actor: Actor) -> None:
    """Take gifts until told to stop."""
    await take(actor.mailbox)


async def slow_taker(actor: Actor) -> None:
    """Answer gifts, some scheduler passes later."""
    async for message in actor.mailbox:
        with message, contextlib.closing(message.body["inside"][0]) as inside:
            await trio.sleep(0.01)
            await message.reply({"inside": inside})


async def counts(actor: Actor) -> None:
    """Send the next number for each message."""
    for number in itertools.count():
        try:
            await actor.mailbox.receive()
        except trio.EndOfChannel:
            break
        await actor.send(number)


async def asks_until_none(actor: Actor) -> None:
    """Ask again and again, and write into what the answers hold beside the body."""
    while (answer := await actor.ask("again?")) is not None:
        handles = [answer] if isinstance(answer, Handle) else [answer["beside"], *answer["inside"]]
        for handle in handles:
            with handle.into_file() as file:
                file.write(b"got it")


async def giver(actor: Actor, act: str, to: str | None, crowded: bool) -> None:
    """Give to the primary by `Actor.send` and so on, or to somebody by a ref; say what came of it.

    Args:
        act: "send" or "ask".
        to: name of who gets it; None: the primary, without a ref.
        crowded: whether there is no room for it at first.
    """
    target = actor if to is None else actor.ref(to)
    call = getattr(target, act)

    async def strange(*args: object) -> object:
        actor._home._known.clear()  # so that each send asks the primary first
        return await call(*args)

    probe = cancel_sends if act == "send" else cancel_asks
    size = SMALL_MAILBOX // 2 if crowded else 0
    before = fill(target.send_nowait) if crowded else list
    given = await probe(strange, size=size, before=before)
    await actor.send([attrs.asdict(given)])


def as_given(said: list[dict[str, list[int]]]) -> Given:
    """What a giver said."""
    return Given(**said[0])
