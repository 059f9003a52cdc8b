"""How an actor reaches its primary, and through it everybody else.

Runs in: both
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

import trio

from .._link.channel import Channel
from .._link.parcel import Parcel
from ..errors import LocalProtocolError
from ..wire._generated import Reason
from .ref import Home, Ref, is_primary

if TYPE_CHECKING:
    import logging

    from ..wire.events import Down
    from .loghandler import LogQueue
    from .monitor import Monitor
    from .outgoing import Outgoing
    from .watches import Watches

__all__ = ["ActorHome", "Resident"]

#: So many addresses are remembered as known to the primary.
_MOST_KNOWN: Final = 1000


class Resident(Protocol):
    """An actor, as its home knows it."""

    def _answers_to(self, to: int | str | None) -> bool: ...


class ActorHome(Home):
    """Refs in a worker: everything goes to the primary, which passes it on.

    Before the first plain message to an address the primary is asked whether there is such an
    actor, which it answers when that takes mail; a message that comes back makes it unknown again.

    Attributes:
        channel: to the primary; set once it exists.
        actor: who lives here, once it is known.
        config: what the primary configured so far.
    """

    channel: Channel
    actor: Resident | None = None
    config: Mapping[str, Any] = MappingProxyType({})
    _log_level = 0
    _logs: LogQueue | None = None
    _lines: Outgoing | None = None
    _watches: Watches | None = None

    def __init__(self) -> None:
        self._known: set[int | str] = set()

    # ---- the actor and its primary --------------------------------------------------------

    @property
    def opened(self) -> Channel | None:
        """The channel, if it has been needed so far."""
        return self.channel

    @property
    def may_lead(self) -> bool:
        """Whether who waits for mail may read the channel, see `Pipe.lead`."""
        return True

    def is_connected(self) -> bool:
        """Whether the primary is there."""
        return not self.channel.ended

    def say_ready(self) -> None:
        """Tell the primary that the actor is ready."""
        self.channel.connection.send_serving()
        self.channel.flush()

    def say_leave(self) -> None:
        """Tell the primary that the actor wants to end."""
        with contextlib.suppress(LocalProtocolError):  # the end has begun already
            self.channel.connection.send_leave(Reason.NORMAL)
        self.channel.flush()

    # ---- logs and settings ----------------------------------------------------------------

    def settings_changed(self, settings: Mapping[str, Any]) -> None:
        """The primary says SETTINGS."""
        if (config := settings.get("config")) is not None:
            self.config = MappingProxyType({**self.config, **config})
        if (level := settings.get("log_level")) is not None:
            self._log_level = level
            if self._logs is not None:
                self._logs.level = level

    def log_handler(self, level: int | str) -> logging.Handler:
        """Make one that sends records to the primary."""
        from .loghandler import LogQueue, PrimaryHandler  # noqa: PLC0415  (many workers need none)

        if self._logs is None:
            self._logs = LogQueue(self.channel)
            self._logs.level = self._log_level
        return PrimaryHandler(self._logs, level)

    def flush_logs(self) -> None:
        """Nothing is logged any more that could be sent."""
        if self._logs is not None:
            self._logs.flush(is_last=True)

    # ---- refs -----------------------------------------------------------------------------

    async def send(self, ref: Ref, body: Any, handle: Any, *, keep_open: bool) -> None:
        channel, to = self.channel, _address(ref)
        if to is None:
            await channel.send(body, handle, keep_open=keep_open)
            return
        outgoing = self._outgoing()
        if to not in self._known:
            put = functools.partial(outgoing.put, to)
            await channel.ask(None, put=put, to=to, meta={"find": True})
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known.add(to)
        await trio.lowlevel.checkpoint_if_cancelled()
        await outgoing.send(to, self._parcel(to, body, handle, keep_open))

    def send_nowait(self, ref: Ref, body: Any, handle: Any, *, keep_open: bool) -> None:
        to = _address(ref)
        if to is None:
            self.channel.send_nowait(body, handle, keep_open=keep_open)
        elif not self._outgoing().send_nowait(to, self._parcel(to, body, handle, keep_open)):
            raise trio.WouldBlock

    async def ask(self, ref: Ref, body: Any, handle: Any, *, keep_open: bool) -> Any:
        actor = self.actor
        if actor is not None and actor._answers_to(ref.name if ref.aid is None else ref.aid):
            raise RuntimeError(f"{actor!r} asks itself: it cannot answer while it waits")
        to = _address(ref)
        if to is None:
            return await self.channel.ask(body, handle, keep_open=keep_open)
        put = functools.partial(self._outgoing().put, to)
        return await self.channel.ask(body, handle, keep_open=keep_open, put=put, to=to)

    def _parcel(self, to: int | str, body: Any, handle: Any, keep_open: bool) -> Parcel:
        self.channel.raise_if_closed()  # that counts for more than what is wrong with the body
        address = {"to": to}
        return Parcel(self.channel.connection, body, handle, keep_open=keep_open, address=address)

    def _outgoing(self) -> Outgoing:
        if self._lines is None:
            from .outgoing import Outgoing  # noqa: PLC0415  (many workers need none)

            self._lines = Outgoing(self.channel)
        return self._lines

    def monitor(self, ref: Ref) -> Monitor:
        if self._watches is None:
            from .watches import Watches  # noqa: PLC0415  (many workers need none)

            self._watches = Watches(self)
        return self._watches.monitor(ref)

    def on_down(self, event: Down) -> None:
        """The primary says how somebody ended."""
        assert self._watches is not None
        self._watches.on_down(event)

    def lose(self) -> None:
        """The primary is lost."""
        if self._watches is not None:
            self._watches.lose()

    def forget(self, to: int | str | None) -> None:
        """A message to this address came back."""
        self._known.discard(to)


def _address(ref: Ref) -> int | str | None:
    """What a message to it says; None for the primary."""
    if is_primary(ref):
        return None
    return ref.name if ref.aid is None else ref.aid
