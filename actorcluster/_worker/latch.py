"""An event that costs next to nothing as long as nobody waits for it.

Runs in: primary
"""

from __future__ import annotations

from typing import final

import trio

__all__ = ["Latch"]


@final
class Latch:
    """Set once; whoever waits for it goes on."""

    __slots__ = ("_awaited", "_is_set")

    def __init__(self, *, is_set: bool = False) -> None:
        self._is_set = is_set
        self._awaited: trio.Event | None = None

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._is_set

    def set(self) -> None:
        """Let everybody go on."""
        self._is_set = True
        if self._awaited is not None:
            self._awaited.set()

    async def wait(self) -> None:
        """Wait until it is set."""
        if self._is_set:
            await trio.lowlevel.checkpoint()
            return
        if self._awaited is None:
            self._awaited = trio.Event()
        await self._awaited.wait()
