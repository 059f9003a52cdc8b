"""A worker's life, lived in the fork server, so that it has happened before anybody is forked.

Runs in: worker

What runs for the first time writes where it stands: Python puts what it learns into the code that
it runs, the types it looks into and the tables beside them, and libraries fill their caches. Each
worker would do that for itself, on pages that it shares with the fork server until then, and every
such page costs a fault and a copy. After a rehearsal it has been done, for all of them.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Final

import trio

from .._link.channel import Channel
from .._link.fdsocket import FdSocket
from .._link.handles import HANDLES
from .._link.pipe import LINK_LIMITS
from ..wire import events
from ..wire._generated import Reason
from ..wire.connection import Connection
from .actor import Actor
from .runtime import Runtime
from .targets import Target

__all__ = ["rehearse"]

_SECONDS: Final = 1.0


def rehearse() -> bool:
    """Live; says whether all went well. If not, workers start more slowly, that is all."""
    try:
        return trio.run(_live)
    except Exception:  # noqa: BLE001  (e.g. no descriptors: the workers will say it better)
        return False


async def _live() -> bool:
    ours, theirs = socket.socketpair()
    primary = _Primary(ours)
    worker = Runtime(theirs, {})
    worker.begin(1, None, is_watched=False)
    with trio.move_on_after(_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(primary.run)
            return await worker.run() is None
    return False


async def main(actor: Actor) -> None:
    """Do what most workers do."""
    with contextlib.suppress(trio.ClosedResourceError):
        await actor.listen_tcp(0, host="127.0.0.1")
    await actor.send("up")
    async for message in actor.mailbox:
        with message:
            if message.is_ask:
                await message.reply(message.body)


class _Primary:
    """Plays the primary."""

    def __init__(self, sock: socket.socket) -> None:
        self._connection = Connection("primary", limits=LINK_LIMITS, handles=HANDLES)
        self._channel = Channel(FdSocket(sock), self._connection, self._on_event)
        self._ready = trio.Event()

    async def run(self) -> None:
        self._channel.pass_mail_to(lambda _: None, lambda _: None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._channel.run)
            await self._ready.wait()
            await self._channel.send("something")
            await self._channel.ask("something")
            self._connection.send_stop(None, Reason.SHUTDOWN)
            self._channel.flush()

    def _on_event(self, event: events.Event) -> None:
        connection = self._connection
        if isinstance(event, events.Hello):
            target = Target(form="function", module=__name__, qualname="main")
            config = {"target": target.to_config(), "args": None, "incarnation": 1}
            connection.send_welcome(worker=1, cluster=bytes(16), name="rehearsal", config=config)
        elif isinstance(event, events.Listen):
            address = ["127.0.0.1", 1]
            connection.send_listening(event.channel, mode="handoff", address=address)
        elif isinstance(event, events.Ready):
            self._ready.set()
        self._channel.flush()
