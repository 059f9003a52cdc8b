"""Monitors: being told, once, how somebody else ended.

Runs in: both
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Self, cast, final

import attrs
import trio

from .exit import ExitStatus, RemoteFailure

if TYPE_CHECKING:
    from .ref import Ref

__all__ = ["LOST", "Down", "Monitor", "detail_of", "status_from"]

#: What is known of others by who has lost the primary.
LOST: Final = ExitStatus(code=None, signal=None, reason="lost")

_Settle = Callable[[ExitStatus | None], None]


@final
@attrs.frozen
class Down:
    """Somebody has ended.

    Attributes:
        ref: the one that was monitored.
        status: how it ended; None when nobody of that name ever was, or how it ended is not known
            any more. In a worker it has no ``rusage``, no ``report`` and no traceback.
    """

    ref: Ref
    status: ExitStatus | None


@final
class Monitor:
    """What `Ref.monitor` gives: an async context manager, in which one waits for the end.

    Args:
        ref: who is watched.
        begin: called when the block is entered, with what takes the status; gives what ends it.
    """

    def __init__(self, ref: Ref, begin: Callable[[_Settle], Callable[[], None]]) -> None:
        self._ref = ref
        self._begin = begin
        self._end: Callable[[], None] | None = None
        self._down: Down | None = None
        self._over = trio.Event()
        self._was_entered = False

    def __repr__(self) -> str:
        return f"<Monitor of {self._ref!r}>"

    async def __aenter__(self) -> Self:
        """Begin to watch.

        Raises:
            RuntimeError: it was entered before.
            LocalProtocolError: the primary takes no more monitors of this worker, or none.

        Cancellation:
            Nobody is watched.
        """
        if self._was_entered:
            raise RuntimeError("a monitor is entered once; ref.monitor() gives another")
        await trio.lowlevel.checkpoint()
        self._was_entered = True
        self._end = self._begin(self._settle)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Watch no longer; who still waits gets ``trio.ClosedResourceError``."""
        if self._end is not None:
            self._end()
            self._end = None
        self._over.set()

    async def wait(self) -> Down:
        """Wait for the end; once there was one, later calls give the same.

        Raises:
            RuntimeError: the block was not entered.
            trio.ClosedResourceError: the block was left before the end.

        Cancellation:
            One may wait again.
        """
        if not self._was_entered:
            raise RuntimeError("enter the block first: async with ref.monitor() as monitor")
        await self._over.wait()
        if self._down is None:
            raise trio.ClosedResourceError("the block of this monitor was left")
        return self._down

    def _settle(self, status: ExitStatus | None) -> None:
        if not self._over.is_set():
            self._down = Down(self._ref, status)
            self._over.set()


def detail_of(status: ExitStatus) -> dict[str, Any]:
    """Give what DOWN says of a status beside its reason."""
    detail: dict[str, Any] = {}
    if status.code is not None:
        detail["code"] = status.code
    if status.signal is not None:
        detail["signal"] = status.signal
    if status.voluntary:
        detail["voluntary"] = True
    if status.error is not None:
        detail["type"] = status.error.type
        detail["text"] = status.error.text
    return detail


def status_from(reason: str, detail: Mapping[str, Any]) -> ExitStatus:
    """Make the status that a DOWN tells of; its reason may be one of a later version."""
    error = None
    if "type" in detail or "text" in detail:
        error = RemoteFailure(type=detail.get("type") or "error", text=detail.get("text") or "")
    return ExitStatus(
        code=detail.get("code"),
        signal=detail.get("signal"),
        reason=cast("Any", reason),
        voluntary=detail.get("voluntary") or False,
        error=error,
    )
