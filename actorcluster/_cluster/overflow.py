"""Closes connections that no worker takes, counts them, and tells now and then.

Runs in: primary
"""

from __future__ import annotations

import contextlib
import logging
import math
import socket
from collections import deque
from collections.abc import Callable
from typing import Final, final

import trio

from .binding import Address
from .bounds import Bounds, Tally
from .shares import Accepted

__all__ = ["Overflow"]

log = logging.getLogger("actorcluster.ports")

#: Connections closed in one go, so that the primary's other tasks get their turn.
_BURST: Final = 64


@final
class Overflow:
    """What is closed on one port.

    Args:
        bounds: which connections those are.
        address: of the port.

    Attributes:
        timed_out: those that had waited for too long.
        dropped: those that came while all workers were at their limit.
    """

    def __init__(self, bounds: Bounds, address: Address) -> None:
        self.timed_out = Tally()
        self.dropped = Tally()
        self._sleep = trio.CancelScope(deadline=-math.inf)
        self._bounds = bounds
        self._address = address

    def drop(self, waiting: deque[Accepted], now: float) -> None:
        """Close all that wait."""
        some = list(waiting)
        waiting.clear()
        self._close(some, self.dropped, now, "were dropped, for all workers are at their limit")

    def look_at(self, queues: list[deque[Accepted]]) -> None:
        """Wake `run` sooner, if somebody waits whose time is up before that of those it knows."""
        self._sleep.deadline = min(self._sleep.deadline, self._bounds.due(queues))

    @trio.lowlevel.enable_ki_protection
    async def run(
        self, queues: Callable[[], list[deque[Accepted]]], closed: Callable[[], None]
    ) -> None:
        """Close what has waited for too long, until cancelled.

        Args:
            queues: gives those that wait, each queue oldest first.
            closed: called when some were taken out of them.
        """
        while True:
            waiting, now = queues(), trio.current_time()
            if late := self._bounds.overdue(waiting, now, _BURST):
                text = f"waited for {self._bounds.timeout} seconds and were closed"
                self._close(late, self.timed_out, now, text)
                closed()
                await trio.lowlevel.checkpoint()
            else:
                with trio.CancelScope(deadline=self._bounds.due(waiting)) as self._sleep:
                    await trio.sleep_forever()

    def _close(self, some: list[Accepted], tally: Tally, now: float, what: str) -> None:
        if count := tally.add(len(some), now):
            last = _peer(some[-1])
            log.warning("%s: %d connections %s, the last of %s", self._address, count, what, last)
        for accepted in some:
            accepted.close()


def _peer(accepted: Accepted) -> str:
    """Who is at the other end, as far as that is known."""
    with contextlib.suppress(OSError):  # it may have gone, or there are no descriptors
        sock = socket.socket(fileno=accepted.fileno())
        try:
            return str(sock.getpeername() or "a unix socket")
        finally:
            sock.detach()
    return "a client that has gone"
