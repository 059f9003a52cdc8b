"""Which worker gets this connection? Pure: no sockets, no clock.

Runs in: primary
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar, final

__all__ = ["RoundRobin"]

T = TypeVar("T", bound=Hashable)


@final
class RoundRobin(Generic[T]):
    """Deals to each candidate in turn, passing over those that take nothing now.

    Invariant: a candidate that always takes gets every n-th connection, whatever the others do.
    """

    def __init__(self) -> None:
        self._turn: deque[T] = deque()

    def __len__(self) -> int:
        return len(self._turn)

    def add(self, candidate: T) -> None:
        """Let a candidate take part, as the last in turn."""
        if candidate not in self._turn:
            self._turn.append(candidate)

    def remove(self, candidate: T) -> None:
        """Take a candidate out; nothing happens when it is not there."""
        if candidate in self._turn:
            self._turn.remove(candidate)

    def choose(self, takes: Callable[[T], bool]) -> T | None:
        """Choose who is next.

        Args:
            takes: whether a candidate takes a connection now.

        Returns:
            The first in turn that does, moved to the end; None when nobody does. O(candidates).
        """
        for place, candidate in enumerate(self._turn):
            if takes(candidate):
                # Only the chosen one goes to the end; whoever was passed over stays in front.
                del self._turn[place]
                self._turn.append(candidate)
                return candidate
        return None
