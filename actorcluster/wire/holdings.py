"""How many descriptors may lie in messages that nobody has taken so far, and who has how many.

Runs in: both

Theory of operation
===================

A descriptor that has arrived takes a place in the table of open files until somebody takes the
message, and that table is short. Credit does not bound it: a message of 253 handles costs as little
as one of none. So each connection has a *share* of a *budget* that all connections of a process
have in common, and what does not fit in is refused with `mailbox_full`.

A share has no size of its own. It may grow as long as it holds no more than twice what is left free
(the dynamic thresholds of switches that share their memory among ports). Whoever is alone gets two
thirds; of many that take what they can, each gets the same, and something is left always: for n of
them one part in 2n + 1, of which the next one gets the most. Nothing is set aside for workers that
never send handles.
"""

from __future__ import annotations

from typing import Final, final

__all__ = ["DescriptorBudget", "DescriptorShare"]

#: A share may hold so many times what is free.
_TIMES_FREE: Final = 2


@final
class DescriptorBudget:
    """What all connections of a process may hold together.

    Args:
        most: so many descriptors; may be changed at any time.

    Attributes:
        most: as given.
        held: how many there are.
    """

    __slots__ = ("held", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0

    def share(self) -> DescriptorShare:
        """Make the share of one more connection."""
        return DescriptorShare(self)


@final
class DescriptorShare:
    """What one connection holds.

    Attributes:
        held: descriptors that wait, those of unfinished messages included.
        refused: descriptors that were closed for want of room.
    """

    __slots__ = ("_budget", "held", "refused")

    def __init__(self, budget: DescriptorBudget) -> None:
        self._budget = budget
        self.held = 0
        self.refused = 0

    def take(self, count: int) -> bool:
        """Enter so many descriptors, if there is room for all of them; else count them as refused.

        Returns:
            whether there was.
        """
        budget = self._budget
        free = budget.most - budget.held - count
        if self.held + count > _TIMES_FREE * free:
            self.refused += count
            return False
        self.held += count
        budget.held += count
        return True

    def give_back(self, count: int) -> None:
        """Strike out so many that were entered."""
        self.held -= count
        self._budget.held -= count
