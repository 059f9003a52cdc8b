"""A worker that leaves mail behind."""

from __future__ import annotations

import os

from actorcluster import Actor, Handle


async def leaves(actor: Actor, messages: int, size: int, handles: int) -> None:
    """Send so many messages of that size, the first of them with handles, and end."""
    for number in range(messages):
        given = [Handle.of(os.open("/dev/null", os.O_RDONLY)) for _ in range(handles)]
        await actor.send([b"x" * size, given if number == 0 else []])
        handles = 0
