"""The primary's line to itself, for a `Ref` that stands for it.

Runs in: primary

A real channel, both ends of it here: what a message may hold, its order and the room it needs are
then the same as everywhere. It comes into being with the first message.
"""

from __future__ import annotations

from typing import Any, final

import trio

from .._link.channel import Channel
from .._link.handles import HANDLES
from .._link.introduction import introduce
from .._link.memory import memory_pair
from .._link.pipe import LINK_LIMITS
from .._worker.mailbox import Mailbox, MergedMailbox, deliver
from .._worker.ref import PRIMARY, Home, Ref
from .._worker.settings import Settings
from ..errors import PeerClosed
from ..wire import events
from ..wire.connection import Connection

__all__ = ["Loopback"]


@final
class Loopback:
    """What the primary sends to itself.

    Args:
        nursery: keeps it running.
        merged: the primary's mailbox.
        home: of the refs in messages.
        settings: say how much room there is.
    """

    def __init__(
        self, nursery: trio.Nursery, merged: MergedMailbox, home: Home, settings: Settings
    ) -> None:
        self._nursery = nursery
        self._mailbox = Mailbox(merged)
        self._home = home
        self._limits = {"window": settings.mailbox_size, "max_message": settings.max_message}
        self._entry: Channel | None = None
        self._exit: Channel | None = None
        self._closed = False

    async def send(self, body: Any, handle: Any, *, keep_open: bool) -> None:
        """See `Ref.send`."""
        await self._channel().send(body, handle, keep_open=keep_open)

    def send_nowait(self, body: Any, handle: Any, *, keep_open: bool) -> None:
        """See `Ref.send_nowait`."""
        self._channel().send_nowait(body, handle, keep_open=keep_open)

    def close(self) -> None:
        """The primary closes."""
        self._closed = True
        if self._entry is not None:
            self._entry.refuse_sends(PeerClosed)

    def _channel(self) -> Channel:
        if self._closed:
            raise PeerClosed("the primary has closed")
        if self._entry is None:
            limits = {**LINK_LIMITS, **self._limits}
            ends = [
                Connection(role, limits=limits, handles=HANDLES, refs=self._home)
                for role in ("worker", "primary")
            ]
            introduce(*ends)
            self._entry, self._exit = (
                Channel(sock, end, self._on_event)
                for sock, end in zip(memory_pair(), ends, strict=True)
            )
            self._nursery.start_soon(self._entry.run)
            self._nursery.start_soon(self._exit.run)
        return self._entry

    def _on_event(self, event: events.Event) -> None:
        if isinstance(event, events.TellReceived):
            assert self._exit is not None
            deliver(event, self._exit, self._mailbox, Ref(PRIMARY, self._home))
