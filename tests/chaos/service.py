"""What the workers do."""

from __future__ import annotations

import contextlib
import os

import trio

from actorcluster import Actor
from actorcluster._worker.accepting import HandoffListener
from actorcluster.wire import events

HOST = "127.0.0.1"


async def serve(actor: Actor, log: str, acknowledge: str) -> None:
    """Serve one client after the other; see `tests.chaos`.

    Args:
        actor: of this process.
        log: path of the file for the ids.
        acknowledge: "accept", or "receipt" to break it.
    """
    if acknowledge == "receipt":
        _acknowledge_at_receipt()
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    (listener,) = await actor.listen_tcp(0, host=HOST)
    while True:
        async with await listener.accept() as stream:
            with contextlib.suppress(trio.BrokenResourceError):  # the client counts that itself
                await _handle(stream, fd)


async def _handle(stream: trio.SocketStream, fd: int) -> None:
    if data := await read_id(stream):
        os.write(fd, data)
        await stream.send_all(data)


async def read_id(stream: trio.SocketStream) -> bytes:
    """The line that the client sends; empty if it does not come to its end."""
    data = b""
    while not data.endswith(b"\n"):
        chunk = await stream.receive_some()
        if not chunk:
            return b""
        data += chunk
    return data


def _acknowledge_at_receipt() -> None:
    """Do what the library must not do."""
    put = HandoffListener.put

    def put_and_acknowledge(self: HandoffListener, event: events.Connections) -> None:
        link, last = self._owner.link, event.first + len(event.handles) - 1
        link.connection.send_conn_reply(event.channel, last)
        put(self, event)
        link.flush()

    def say_nothing(self: HandoffListener, number: int) -> bool:
        self._took += 1
        self._give_credit()
        return True

    HandoffListener.put = put_and_acknowledge  # type: ignore[method-assign]  # in this process only
    HandoffListener._say_taken = say_nothing  # type: ignore[method-assign]  # in this process only
