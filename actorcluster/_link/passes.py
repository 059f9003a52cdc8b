"""Counts the passes of the scheduler, so that it can be told what happens in the same one.

Runs in: both
"""

from __future__ import annotations

from typing import final

import trio

__all__ = ["Passes", "passes"]


@final
class Passes(trio.abc.Instrument):
    """Counts. Half a microsecond for each pass; a task that did it would need a turn in each."""

    def __init__(self) -> None:
        self.count = 0

    def __dir__(self) -> list[str]:
        """All that Trio looks for; to find it in the names of all base classes takes long."""
        return ["before_io_wait"]

    def before_io_wait(self, timeout: float) -> None:
        self.count += 1


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
