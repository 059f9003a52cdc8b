"""Workers in Python beside those in Node."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

import trio

from actorcluster import Actor, Handle, NoSuchActor, NotHandled

__all__ = ["complains", "fails", "hands_over", "shares", "talks", "web"]


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


async def talks(actor: Actor, first: Any) -> None:
    """Say something, then answer each message; to one with a socket by that."""
    await actor.primary.send(first)
    async for message in actor.mailbox:
        with message:
            if message.handle is not None:
                stream = message.handle.into_stream()
                async with stream:
                    await stream.send_all(f"{message.body}, from Python\n".encode())
            elif message.body == "leave":
                await actor.disconnect()
            elif message.body == "give":
                ours, theirs = socket.socketpair()
                await actor.primary.send("a socket", theirs)
                async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as stream:
                    await actor.primary.send((await stream.receive_some()).decode())
            else:
                await actor.primary.send({"got": message.body})


async def shares(actor: Actor) -> None:
    """Say where port 0 and a datagram socket are, and answer there."""
    listeners = await actor.listen_tcp(0, host="127.0.0.1")
    datagrams = await actor.bind_udp(0, host="127.0.0.1")
    await actor.primary.send([listeners[0].address[1], datagrams.getsockname()[1]])

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(str(os.getpid()).encode())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, answer, listeners)
        while True:
            data, address = await datagrams.recvfrom(100)
            await datagrams.sendto(b"got " + data, address)


async def fails(actor: Actor) -> None:
    """Take a port that is taken already, and end by that."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        await actor.listen_tcp(taken.getsockname()[1], host="127.0.0.1")


class Warnings(logging.Handler):
    """Keeps what is logged, and tells when it is enough."""

    def __init__(self, enough: int) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.enough = trio.Event()
        self._enough = enough

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
        if len(self.texts) == self._enough:
            self.enough.set()


async def complains(actor: Actor) -> None:
    """Say in which words that comes back which cannot be said to a primary of Node's."""
    warnings = Warnings(2)
    logging.getLogger("actorcluster").addHandler(warnings)
    reader, writer = os.pipe()
    await actor.primary.send({"cmd": "NODE_CLUSTER"})
    await actor.primary.send("a pipe", reader)
    os.close(writer)
    said: list[Any] = []
    for asked in (actor.primary.ask("anything"), actor.ref("somebody").send("hello")):
        try:
            await asked
        except (NoSuchActor, NotHandled) as exc:
            said.append([type(exc).__name__, str(exc)])
    await warnings.enough.wait()
    said += [text.partition("was not delivered: ")[2] for text in warnings.texts]
    await actor.primary.send(said)
    await actor.disconnect()
