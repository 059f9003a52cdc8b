"""The passes of the scheduler: which one it is, and what is to be done at the end of it.

Runs in: both
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import trio

__all__ = ["Passes", "passes"]


@final
class Passes(trio.abc.Instrument):
    """Counts. Half a microsecond for each pass; a task that did it would need a turn in each."""

    def __init__(self) -> None:
        self.count = 0
        self._acts: list[Callable[[], bool]] = []

    def __dir__(self) -> list[str]:
        """All that Trio looks for; to find it in the names of all base classes takes long."""
        return ["before_io_wait"]

    def at_the_end(self, act: Callable[[], bool]) -> None:
        """Have something done when every task that can run in this pass has had its turn.

        Args:
            act: called then, outside of all tasks; tells whether it rescheduled one. It must not
                raise.
        """
        self._acts.append(act)

    def before_io_wait(self, timeout: float) -> None:
        self.count += 1
        if self._acts:
            acts, self._acts = self._acts, []
            rescheduled = sum(act() for act in acts)
            if rescheduled and timeout > 0:  # there was nobody when the loop decided to sleep
                trio.lowlevel.current_trio_token().run_sync_soon(_nothing)


def _nothing() -> None:
    """Wake the loop."""


_of_this_run: trio.lowlevel.RunVar[Passes] = trio.lowlevel.RunVar("actorcluster passes")


def passes() -> Passes:
    """Give the counter of the Trio run at hand; it ends with it."""
    try:
        return _of_this_run.get()
    except LookupError:
        counter = Passes()
        trio.lowlevel.add_instrument(counter)
        _of_this_run.set(counter)
        return counter
