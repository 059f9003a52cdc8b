"""How much mail to one address the primary may be holding: at most half a window of it.

Runs in: worker

Theory of operation
===================

All that a worker sends spends the same credit, whomever it is for, and the primary gives that back
when it has passed a message on. Nothing tells which message that was. So the worker counts for each
address what it has queued, and from time to time puts a *probe* behind it, a question which the
primary answers once all before it has been passed on (AWP-MS-14). What stood before the probe is
then counted no longer. One probe is under way at a time, and it is sent when a quarter of a window
has come together, or when somebody waits.
"""

from __future__ import annotations

from typing import final

__all__ = ["Quota"]


@final
class Quota:
    """The books of one address.

    Args:
        most: bytes that may be held; a message larger than that goes alone.

    Attributes:
        held: bytes that may still be held.
        is_probing: a probe is under way.
    """

    __slots__ = ("_behind", "_epoch", "_most", "held", "is_probing")

    def __init__(self, most: int) -> None:
        self._most = most
        #: of `held`, what was queued after the probe.
        self._behind = 0
        self._epoch = 0
        self.held = 0
        self.is_probing = False

    def has_room(self, cost: int) -> bool:
        """Whether a message of that cost may be queued now."""
        return not self.held or self.held + cost <= self._most

    def take(self, cost: int) -> int:
        """Count a message that is queued in line with the others.

        Returns:
            what `give_back` wants to know.
        """
        self.held += cost
        self._behind += cost
        return self._epoch

    def give_back(self, cost: int, epoch: int) -> None:
        """Count a message no more that left the line before it was sent."""
        self.held -= cost
        if epoch == self._epoch:
            self._behind -= cost

    def wants_probe(self, *, urgently: bool) -> bool:
        """Whether a probe should be put into the line now.

        Args:
            urgently: somebody waits.
        """
        return not self.is_probing and self._behind > (0 if urgently else self._most // 2)

    def begin_probe(self) -> None:
        """A probe stands in line behind all that was counted."""
        self.is_probing = True
        self._behind = 0
        self._epoch += 1

    def end_probe(self) -> None:
        """It was answered: what stood before it is held no more."""
        self.is_probing = False
        self.held = self._behind
