"""Workers that use what their supervisor listens on, or do not."""

from __future__ import annotations

import os
from typing import Any

import trio

from actorcluster import Actor


async def web(actor: Actor, where: Any = 0, options: dict[str, Any] | None = None) -> None:
    """Answer each line with my incarnation; end without a word at ``!``.

    Args:
        actor: mine.
        where: a port of this machine, a path, or ``["fd", name]``.
        options: for `Actor.listen_tcp`.
    """
    if isinstance(where, list):
        listeners = [await actor.listen_fd(where[1])]
    elif isinstance(where, str):
        listeners = [await actor.listen_unix(where)]
    else:
        listeners = await actor.listen_tcp(where, host="127.0.0.1", **(options or {}))

    async def serve(stream: trio.SocketStream) -> None:
        await answer(actor, stream)

    await trio.serve_listeners(serve, listeners)


async def answer(actor: Actor, stream: trio.SocketStream) -> None:
    """Serve one client."""
    async with stream:
        try:
            async for said in stream:
                if said == b"!":
                    os._exit(3)
                await stream.send_all(b"%d" % actor.incarnation)
        except trio.BrokenResourceError:
            pass


async def late(actor: Actor, where: Any) -> None:
    """Begin when told to."""
    async with trio.open_nursery() as nursery:  # who received goes, and has nothing in hand then
        nursery.start_soon(actor.mailbox.receive)
    await web(actor, where)


async def fails(_: Actor) -> None:
    """Fail at once."""
    raise ValueError("mine")
