"""Main functions of workers that are given to, and of those that cancel their own calls."""

from __future__ import annotations

import attrs

from actorcluster import Actor
from tests.hardened.gifts import SMALL_MAILBOX, Given, cancel_asks, cancel_sends, fill, take


async def taker(actor: Actor) -> None:
    """Take gifts until told to stop."""
    await take(actor.mailbox)


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
