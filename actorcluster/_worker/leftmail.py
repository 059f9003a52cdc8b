"""Mail of workers that are gone, which nobody has read so far: how much of it is kept.

Runs in: both

What a worker said before it died often explains why it died, so it can be read for as long as the
primary lives. But one that crashes and is started again while nobody reads would leave its window
full of mail each time, and its share of the descriptors. So what all of them have left together is
bounded. Beyond that, those that ended longest ago are given up, which is logged and counted. What
the last one has left is kept whatever it is: its window and its share bound that.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Final, Protocol, final

from ..wire.holdings import DescriptorBudget

__all__ = ["MOST_BYTES", "Holding", "LeftMail"]

MOST_BYTES: Final = 64 * 1024 * 1024
"""As charged to the senders."""
#: Of the descriptors that all mail may hold, one in so many.
_PART_OF_BUDGET: Final = 4

log = logging.getLogger("actorcluster.mailbox")


class Holding(Protocol):
    """What a mailbox holds; see `MailboxStatistics`."""

    @property
    def bytes(self) -> int:
        """As charged."""

    @property
    def handles(self) -> int:
        """Descriptors."""


class _Mailbox(Protocol):
    def statistics(self) -> Holding:
        """Count what waits."""

    def _discard(self) -> int:
        """Dispose of it, and say how many messages that were."""


@final
class LeftMail:
    """The mailboxes that have ended and are not empty.

    Args:
        budget: of the descriptors in all mail.

    Attributes:
        given_up: messages so far.
    """

    def __init__(self, budget: DescriptorBudget) -> None:
        self.given_up = 0
        self._budget = budget
        self._boxes: OrderedDict[_Mailbox, Holding] = OrderedDict()

    def add(self, mailbox: _Mailbox) -> None:
        """A peer is gone and has left mail; what is too much now is given up, the oldest first."""
        self._boxes[mailbox] = mailbox.statistics()
        while len(self._boxes) > 1 and self._is_too_much():
            oldest, noted = next(iter(self._boxes.items()))
            holding = oldest.statistics()
            if (holding.bytes, holding.handles) != (noted.bytes, noted.handles):
                self._boxes[oldest] = holding  # somebody has read of it: look again
            else:
                self._give_up(oldest, holding)

    def remove(self, mailbox: _Mailbox) -> None:
        """A mailbox is empty. Those that have not ended are not here, which does no harm."""
        self._boxes.pop(mailbox, None)

    def _is_too_much(self) -> bool:
        held = self._boxes.values()
        return (
            sum(each.bytes for each in held) > MOST_BYTES
            or sum(each.handles for each in held) > self._budget.most // _PART_OF_BUDGET
        )

    def _give_up(self, mailbox: _Mailbox, holding: Holding) -> None:
        del self._boxes[mailbox]
        count = mailbox._discard()
        self.given_up += count
        log.warning(
            "nobody receives what workers have left that are gone: %d messages of the one that"
            " ended first are given up (%d bytes, %d handles; %d messages so far)",
            count,
            holding.bytes,
            holding.handles,
            self.given_up,
        )
