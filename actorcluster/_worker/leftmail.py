"""Mail of workers that are gone, which nobody has read so far: how much of it is kept.

Runs in: both

What a worker said before it died often explains why it died, so it can be read for as long as the
primary lives. But one that crashes and is started again while nobody reads would leave its window
full of mail each time, and its share of the descriptors. So what all of them have left together is
bounded, and so is the number of those that have left any: each keeps its channel in memory. Beyond
that, those that ended longest ago are given up, which is logged and counted. What the last one has
left is kept whatever it is: its window and its share bound that.

What is held is summed up as it was when each ended, since receiving must cost nothing more. Only
when that is too much, it is looked which of them somebody has received from meanwhile.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Final, Protocol, final

from ..wire.holdings import DescriptorBudget

__all__ = ["MOST_BYTES", "MOST_WORKERS", "Holding", "LeftMail"]

MOST_BYTES: Final = 64 * 1024 * 1024
"""As charged to the senders."""
MOST_WORKERS: Final = 4096
"""Of those that left mail; each takes some tens of kilobytes beside it."""
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
    def __len__(self) -> int:
        """How many messages wait."""

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
        #: what each held when that was last looked at, and in how many messages.
        self._boxes: OrderedDict[_Mailbox, tuple[int, Holding]] = OrderedDict()
        self._bytes = self._handles = 0

    def add(self, mailbox: _Mailbox) -> None:
        """A peer is gone and has left mail; what is too much now is given up, the oldest first."""
        self._note(mailbox)
        if len(self._boxes) > 1 and self._is_too_much():
            if self._weighs_too_much():
                self._look_again()
            self._give_up()

    def remove(self, mailbox: _Mailbox) -> None:
        """A mailbox is empty. Those that have not ended are not here, which does no harm."""
        noted = self._boxes.pop(mailbox, None)
        if noted is not None:
            self._count(noted[1], -1)

    def _note(self, mailbox: _Mailbox) -> None:
        holding = mailbox.statistics()
        self._boxes[mailbox] = len(mailbox), holding
        self._count(holding, 1)

    def _count(self, holding: Holding, sign: int) -> None:
        self._bytes += sign * holding.bytes
        self._handles += sign * holding.handles

    def _look_again(self) -> None:
        """Count anew what somebody has received from; nothing comes to it any more."""
        for mailbox, (messages, holding) in self._boxes.items():
            if len(mailbox) != messages:
                self._count(holding, -1)
                self._note(mailbox)  # where it was in the order

    def _is_too_much(self) -> bool:
        return len(self._boxes) > MOST_WORKERS or self._weighs_too_much()

    def _weighs_too_much(self) -> bool:
        most_handles = self._budget.most // _PART_OF_BUDGET
        return self._bytes > MOST_BYTES or self._handles > most_handles

    def _give_up(self) -> None:
        """Give up the oldest until it is not too much; all are one warning, be they thousands."""
        workers = messages = 0
        before = self._bytes, self._handles
        while len(self._boxes) > 1 and self._is_too_much():
            oldest = next(iter(self._boxes))
            messages += oldest._discard()
            self.remove(oldest)
            workers += 1
        if not workers:
            return
        self.given_up += messages
        log.warning(
            "nobody receives what workers have left that are gone: %d messages of the %d that"
            " ended first are given up (%d bytes, %d handles; %d messages so far)",
            messages,
            workers,
            before[0] - self._bytes,
            before[1] - self._handles,
            self.given_up,
        )
