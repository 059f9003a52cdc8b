"""What becomes of connections that no worker takes: how many may wait, how long, which are closed.

Runs in: primary

Without a *deadline* nobody waits here: nothing is accepted but what somebody takes, and the kernel
holds the rest. With one the primary accepts as many as the backlog, for only what is accepted can
be closed, and closes what nobody has taken in time. A port that *drops* accepts whatever comes
while all its workers are at their limit, and closes it at once.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Final, Protocol, TypeVar, final

import attrs

__all__ = ["DROP", "WAIT", "WHEN_FULL", "Bounds", "Tally", "all_full"]

#: What becomes of a connection that finds all workers at their limit.
WAIT: Final = "wait"
DROP: Final = "drop"
WHEN_FULL: Final = (WAIT, DROP)


class _Waiter(Protocol):
    """A connection; `since` when it was accepted."""

    since: float


class _Share(Protocol):
    """One worker's part in a port."""

    @property
    def limit(self) -> int | None: ...
    @property
    def open(self) -> int: ...


W = TypeVar("W", bound=_Waiter)


@final
@attrs.frozen
class Bounds:
    """What the first worker asked for.

    Attributes:
        backlog: connections that wait in the primary, at most, where there is a deadline; that are
            kept for workers; that are looked at.
        timeout: seconds that one waits; None: no deadline.
        drops: whether one is closed at once that finds all workers at their limit.
    """

    backlog: int
    timeout: float | None = None
    drops: bool = False

    @property
    def room(self) -> int:
        """How many may wait in the primary."""
        return 0 if self.timeout is None else self.backlog

    def most_kept(self, kept: int, spare: int) -> int:
        """How many may be kept for one worker.

        Args:
            kept: those that are, for all.
            spare: how many more descriptors there are for such.
        """
        return self.backlog if kept < self.backlog and spare > 0 else 0

    def due(self, queues: Iterable[deque[W]]) -> float:
        """When the next one will have waited for too long.

        Args:
            queues: of those that wait, each oldest first.
        """
        if self.timeout is None:
            return math.inf
        return min((queue[0].since for queue in queues if queue), default=math.inf) + self.timeout

    def overdue(self, queues: Iterable[deque[W]], now: float, most: int) -> list[W]:
        """Take out those that have waited for too long, oldest first.

        Args:
            queues: of those that wait, each oldest first.
            now: the time.
            most: how many to take out, at most.
        """
        late: list[W] = []
        queues = list(queues)
        while len(late) < most and self.due(queues) <= now:
            oldest = min((queue for queue in queues if queue), key=lambda queue: queue[0].since)
            late.append(oldest.popleft())
        return late

    def in_order(self, queue: deque[W]) -> None:
        """Put those that wait in the order in which they came, after some were given back."""
        if self.timeout is not None:
            some = sorted(queue, key=lambda waiter: waiter.since)
            queue.clear()
            queue.extend(some)


def all_full(shares: Iterable[_Share]) -> bool:
    """Whether there is somebody, and everybody has as many connections open as he may have.

    Args:
        shares: of the workers that listen and were not told to stop.
    """
    there = False
    for share in shares:
        there = True
        if share.limit is None or share.open < share.limit:
            return False
    return there


@final
@attrs.define
class Tally:
    """Counts what is told of now and then.

    Attributes:
        count: how many there were.
        every: seconds between two times of telling.
    """

    every: float = 10.0
    count: int = 0
    _untold: int = 0
    _told_at: float = -math.inf

    def add(self, count: int, now: float) -> int:
        """Count more; returns how many to tell of now, 0 if nothing is to be told."""
        self.count += count
        self._untold += count
        if now - self._told_at < self.every:
            return 0
        self._told_at = now
        untold, self._untold = self._untold, 0
        return untold
