"""Counts accepted connections that are still open, and tells when some are no more.

Runs in: worker

Streams are closed by user code at any time, and Trio tells nobody. But most are let go of when they
are closed, and then weak references speak up: `OpenConnections` tells of that, once, until it is
asked to tell again. Those that are closed and still held by somebody are found when it counts.

References are cleared wherever the last user lets go, maybe by the collector in another thread; so
what is told, is told by the loop.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from typing import Any, final

import trio

__all__ = ["OpenConnections"]


@final
class OpenConnections:
    """Counts connections that are still open.

    Args:
        tell: called, in the loop, when some are not open any more; None: nobody asks.
    """

    def __init__(self, tell: Callable[[], None] | None = None) -> None:
        self._sockets: set[weakref.ref[trio.socket.SocketType]] = set()
        self._tell = tell
        self._has_told = tell is None
        self._token = None if tell is None else trio.lowlevel.current_trio_token()
        self._let_go: Callable[[Any], None] = self._gone if tell else self._sockets.discard
        self._prune_at = 64

    def add(self, sock: trio.socket.SocketType) -> None:
        """Count one more."""
        self._sockets.add(weakref.ref(sock, self._let_go))
        if len(self._sockets) >= self._prune_at:
            self._prune_at = 2 * self.count() + 64

    def __len__(self) -> int:
        """How many there may be at most: those that are closed but held count."""
        return len(self._sockets)

    def count(self) -> int:
        """How many there are; amortised O(1) for each one added, if nobody else asks."""
        for ref in list(self._sockets):
            sock = ref()
            if sock is None or sock.fileno() == -1:
                self._sockets.discard(ref)
        return len(self._sockets)

    def room(self, most: float) -> float:
        """How many more may be open, at least; counts only if that could be none."""
        room = most - len(self._sockets)
        return room if room > 0 else most - self.count()

    def tell_again(self) -> None:
        """Tell the next time."""
        self._has_told = self._tell is None

    def _gone(self, ref: weakref.ref[trio.socket.SocketType]) -> None:
        """One was let go of. This may run anywhere."""
        self._sockets.discard(ref)
        if not self._has_told:
            self._has_told = True
            assert self._token is not None
            assert self._tell is not None
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._tell)
