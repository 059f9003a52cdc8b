"""How an actor reaches its primary, and through it everybody else.

Runs in: both
"""

from __future__ import annotations

import contextlib
from typing import Any, Final, Protocol

from .._link.channel import Channel
from ..errors import LocalProtocolError
from ..wire._generated import Reason
from ..wire.events import Down
from .monitor import Monitor
from .ref import Home, Ref, is_primary
from .watches import Watches

__all__ = ["ActorHome"]

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
    """

    def __init__(self) -> None:
        self.channel: Channel
        self.actor: Resident | None = None
        self._known: set[int | str] = set()
        self._watches: Watches | None = None

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

    # ---- refs -----------------------------------------------------------------------------

    async def send(self, ref: Ref, body: Any, handle: Any, *, keep_open: bool) -> None:
        to = _address(ref).get("to")
        if to is not None and to not in self._known:
            await self.channel.ask(None, to=to, meta={"find": True})
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known.add(to)
        await self.channel.send(body, handle, keep_open=keep_open, **_address(ref))

    def send_nowait(self, ref: Ref, body: Any, handle: Any, *, keep_open: bool) -> None:
        self.channel.send_nowait(body, handle, keep_open=keep_open, **_address(ref))

    async def ask(self, ref: Ref, body: Any, handle: Any, *, keep_open: bool) -> Any:
        actor = self.actor
        if actor is not None and actor._answers_to(ref.name if ref.aid is None else ref.aid):
            raise RuntimeError(f"{actor!r} asks itself: it cannot answer while it waits")
        return await self.channel.ask(body, handle, keep_open=keep_open, **_address(ref))

    def monitor(self, ref: Ref) -> Monitor:
        if self._watches is None:
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


def _address(ref: Ref) -> dict[str, Any]:
    if is_primary(ref):
        return {}
    return {"to": ref.name if ref.aid is None else ref.aid}
