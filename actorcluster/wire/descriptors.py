"""Descriptors that arrived beside the bytes, dealt out to frames by order alone.

Runs in: both

One read of the socket gives bytes and at most one *group* of descriptors. Where in those bytes
the group belongs cannot be told: Linux glues earlier bytes in front of it, other systems later
bytes behind it. Only the order is the same everywhere, so groups wait in a queue and the oldest
goes to the next frame whose header declares descriptors (AWP-FD-3).

Everything that enters leaves exactly once: with a frame, or through `take_discarded`, which
gives the shell what it must close.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import final

from ..errors import RemoteProtocolError
from ._generated import AbortCode

__all__ = ["DescriptorQueue"]


@final
class DescriptorQueue:
    """Groups that wait for their frame, and descriptors that wait for being closed.

    Args:
        max_fds: our limit of that name: descriptors of one frame.
    """

    def __init__(self, max_fds: int) -> None:
        self.max_fds = max_fds
        #: each with whether some of it is lost, and how many came.
        self._groups: deque[tuple[list[int], bool, int]] = deque()
        self._waiting = 0
        #: those of them that were given up, see `lose_all`.
        self._lost = 0
        self._discarded: list[int] = []

    def __len__(self) -> int:
        """How many descriptors wait for their frame, open."""
        return self._waiting - self._lost

    def __bool__(self) -> bool:
        """Whether any group waits, an empty one of a truncated read included."""
        return bool(self._groups)

    def add(self, fds: Sequence[int], truncated: bool) -> None:
        """Take in what one read brought; ``truncated`` if the kernel dropped some of it."""
        self._groups.append((list(fds), truncated, len(fds)))
        self._waiting += len(fds)

    def take(self, count: int) -> list[int] | None:
        """Deal out the group of a frame that declares ``count`` descriptors.

        Returns:
            its descriptors, or None when some were lost; those that did come are discarded.

        Raises:
            RemoteProtocolError: more descriptors than the frame, or than we, allow.
        """
        if count > self.max_fds:
            raise _violation(f"a frame declares {count} descriptors, the limit is {self.max_fds}")
        if not self._groups:
            return None
        fds, truncated, came = self._groups.popleft()
        self._waiting -= came
        self._lost -= came - len(fds)
        if len(fds) == count and not truncated:
            return fds
        self.discard(fds)
        if came > count:
            raise _violation(f"{came} descriptors came for a frame that declares {count}")
        return None

    def check(self) -> None:
        """Check what is left when every complete frame has had its group.

        Raises:
            RemoteProtocolError: more than any frames under way could have declared.
        """
        if self._waiting > 4 * self.max_fds:
            raise _violation(f"{self._waiting} descriptors came that no frame declares")

    def discard(self, fds: Iterable[int]) -> None:
        """Give descriptors up: `take_discarded` returns them."""
        self._discarded.extend(fds)

    def lose_all(self) -> None:
        """Give up everything that waits, as if the kernel had dropped it: its frames may come."""
        for fds, _, _ in self._groups:
            self.discard(fds)
        self._groups = deque(([], True, came) for _, _, came in self._groups)
        self._lost = self._waiting

    def discard_all(self) -> None:
        """Give up everything that waits for a frame."""
        for fds, _, _ in self._groups:
            self.discard(fds)
        self._groups.clear()
        self._waiting = self._lost = 0

    def take_discarded(self) -> list[int]:
        """Take the descriptors that the caller must close now."""
        discarded, self._discarded = self._discarded, []
        return discarded


def _violation(text: str) -> RemoteProtocolError:
    return RemoteProtocolError(text, requirement="AWP-FD-6", code=AbortCode.FD_VIOLATION)
