"""Workers in Python beside those in Node."""

from __future__ import annotations

import os
from typing import Any

import trio

from actorcluster import Actor, Handle

__all__ = ["hands_over", "web"]


async def web(actor: Actor, port: int) -> None:
    """Answer each connection as `http.js` does."""
    listeners = await actor.listen_tcp(port, host="127.0.0.1")

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            body = f"{os.getpid()} /"
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            await stream.send_all((head + body).encode())

    await trio.serve_listeners(answer, listeners)


async def hands_over(actor: Actor, to: str) -> None:
    """Pass on to somebody by name whatever comes, and its handle; answer who asks with errors."""
    async for message in actor.mailbox:
        with message:
            body: Any = message.body
            handle: Handle | None = message.handle
            await actor.ref(to).send(body, handle)
