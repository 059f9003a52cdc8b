"""Counts accepted connections that are still open, and tells when some are no more.

Runs in: worker

Streams are closed by user code at any time, and Trio tells nobody. So where it matters the socket
of each is given a class of ours, whose `close` and `detach` say so beside doing what they did; and
what is let go of without either is found by its weak reference. Where nobody is to be told, who
counts looks at every one.

References are cleared wherever the last user lets go, maybe by the collector in another thread; so
what is told, is told by the loop: once, until it is asked to tell again.
"""

from __future__ import annotations

import contextlib
import functools
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
        ref = weakref.ref(sock, self._let_go)
        self._sockets.add(ref)
        if self._tell is not None:
            kind: Any = type(sock)
            if not hasattr(kind, "opened_by"):
                sock.__class__ = _telling(kind)
            sock.opened_by = self  # type: ignore[attr-defined]  # which has it now
        elif len(self._sockets) >= self._prune_at:
            self._prune_at = 2 * self.count() + 64

    def __len__(self) -> int:
        """How many there are; where nobody is told, at most."""
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

    def closed(self, sock: Any) -> None:
        """A socket says that it is not open any more."""
        self._gone(weakref.ref(sock))

    def _gone(self, ref: weakref.ref[trio.socket.SocketType]) -> None:
        """One is not open any more. This may run anywhere."""
        was_open = ref in self._sockets
        self._sockets.discard(ref)
        if was_open and not self._has_told:
            self._has_told = True
            assert self._token is not None
            assert self._tell is not None
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._tell)


@functools.cache
def _telling(kind: Any) -> Any:
    """Make a class of sockets that say when they are closed."""

    class Telling(kind):  # type: ignore[misc]  # one for each kind
        opened_by: OpenConnections | None = None

        def close(self) -> None:
            super().close()
            self._tell()

        def __exit__(self, *args: object) -> None:
            self.close()

        def detach(self) -> int:
            fd: int = super().detach()
            self._tell()
            return fd

        def _tell(self) -> None:
            if self.opened_by is not None:
                self.opened_by.closed(self)

    Telling.__name__, Telling.__qualname__ = kind.__name__, kind.__qualname__
    Telling.__module__ = kind.__module__
    return Telling
