"""What the demo's workers do: answer one line per connection, and tell the primary about each.

Runs in: worker

A client connects and writes ``work NUMBER``. The worker counts the request, sends the primary a
message, answers ``done NUMBER NAME/INCARNATION`` and closes. Asked by the primary, it says how
many requests it has counted.
"""

from __future__ import annotations

import os
from typing import Final

import trio

from actorcluster import Actor, Message

__all__ = ["CANNOT_LISTEN", "HOST", "Cut", "life_name", "read_line", "serve"]

HOST: Final = "127.0.0.1"

#: The one key of the last words of a worker that did not get its port.
CANNOT_LISTEN: Final = "cannot listen"

#: What a request costs; long enough for a kill to hit several of them.
_WORK_SECONDS: Final = 0.004

_LONGEST_LINE: Final = 200


class Cut(Exception):
    """The connection ended before the line did."""


async def read_line(stream: trio.abc.ReceiveStream) -> str:
    """Read one line.

    Raises:
        Cut: the peer closed, was killed, or wrote something else.
    """
    line = b""
    while not line.endswith(b"\n"):
        try:
            more = await stream.receive_some()
        except trio.BrokenResourceError as exc:
            raise Cut(str(exc.__cause__ or exc)) from None
        line += more
        if not more or len(line) > _LONGEST_LINE:
            raise Cut(f"closed after {len(line)} bytes")
    return line.decode().rstrip("\n")


def life_name(name: str, incarnation: int) -> str:
    """Give the name of one life of a worker, e.g. ``web-2/1``."""
    return f"{name}/{incarnation}"


async def serve(actor: Actor, port: int) -> None:
    """Be one of the demo's workers."""
    served = 0
    me = life_name(actor.name, actor.incarnation)

    async def answer(stream: trio.SocketStream) -> None:
        nonlocal served
        async with stream:
            try:
                _, number = (await read_line(stream)).split()
                await trio.sleep(_WORK_SECONDS)
                served += 1
                await actor.send("served one")
                await stream.send_all(f"done {number} {me}\n".encode())
            except (Cut, trio.BrokenResourceError):
                pass  # the client is gone: it was interrupted, or gave up

    async def how_many(_: Message) -> int:
        return served

    try:
        listeners = await actor.listen_tcp(port, host=HOST)
    except OSError as exc:
        await actor.send({CANNOT_LISTEN: os.strerror(exc.errno) if exc.errno else str(exc)})
        return
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, answer, listeners)
        await actor.serve_messages(how_many)
