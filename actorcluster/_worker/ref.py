"""Ref: an address that can be sent to, wherever its target lives.

Runs in: both
"""

from __future__ import annotations

from typing import Any, Protocol, final

__all__ = ["Ref", "Target"]


class Target(Protocol):
    """Whatever carries messages to one destination."""

    async def send(self, body: Any, handle: Any = None, *, keep_open: bool = False) -> None: ...

    def send_nowait(self, body: Any, handle: Any = None, *, keep_open: bool = False) -> None: ...

    async def ask(self, body: Any, handle: Any = None, *, keep_open: bool = False) -> Any: ...


@final
class Ref:
    """An address.

    ``message.sender`` is a Ref pinned to one process life: once that is gone, sending raises
    `PeerClosed`, also when a successor has the same name.

    Attributes:
        name: of the place it stands for, ``"primary"`` for the primary.
    """

    __slots__ = ("_target", "name")

    def __init__(self, name: str, target: Target) -> None:
        self.name = name
        self._target = target

    def __repr__(self) -> str:
        return f"<Ref {self.name!r}>"

    async def send(self, body: Any, handle: Any = None, *, keep_open: bool = False) -> None:
        """Send a message; see `Worker.send`.

        Cancellation:
            Nothing was sent and the handles are still yours.
        """
        await self._target.send(body, handle, keep_open=keep_open)

    def send_nowait(self, body: Any, handle: Any = None, *, keep_open: bool = False) -> None:
        """Like `send`, but raises ``trio.WouldBlock`` where that would wait."""
        self._target.send_nowait(body, handle, keep_open=keep_open)

    async def ask(self, body: Any, handle: Any = None, *, keep_open: bool = False) -> Any:
        """Send a message and wait for the answer; see `Worker.ask`.

        Cancellation:
            The other side's handler is told to cancel; it may have run.
        """
        return await self._target.ask(body, handle, keep_open=keep_open)
