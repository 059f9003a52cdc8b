"""How often an await of ours is a scheduling point.

Runs in: both
"""

from __future__ import annotations

import time
from typing import Final, final

import trio

__all__ = ["EVERY_MESSAGES", "EVERY_SECONDS", "Pace"]

EVERY_MESSAGES: Final = 64
EVERY_SECONDS: Final = 0.001


@final
class Pace:
    """Makes scheduling points frequent enough, and not more.

    A scheduling point costs more than a whole small message, so an await of ours is one only
    every 64 messages or every millisecond, whichever comes first. It is a cancellation point
    every time.

    Attributes:
        left: messages until the next one.
        until: when the next one is due at the latest, as `time.perf_counter` counts.
    """

    __slots__ = ("left", "until")

    def __init__(self) -> None:
        self.left = 0
        self.until = 0.0

    def is_due(self) -> bool:
        """Count a message; whether it is time for a scheduling point."""
        self.left -= 1
        return self.left < 0 or time.perf_counter() > self.until

    def restart(self) -> None:
        """Note that the task at hand has just been scheduled, for whatever reason."""
        self.left = EVERY_MESSAGES - 1
        self.until = time.perf_counter() + EVERY_SECONDS

    async def rest(self) -> None:
        """Take a scheduling point, but no cancellation point: for after the deed."""
        await trio.lowlevel.cancel_shielded_checkpoint()
        self.restart()

    async def step(self) -> None:
        """Take a cancellation point, and a scheduling point when one is due: for before it."""
        if self.is_due():
            await trio.lowlevel.checkpoint()
            self.restart()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
