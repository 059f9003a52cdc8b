"""How long a program may take to end, and how the wrapper ends when it has.

Runs in: worker
"""

from __future__ import annotations

import os
import signal
from typing import Final

import attrs

__all__ = ["ORPHAN_SECONDS", "Ending", "ending", "patience"]

ORPHAN_SECONDS: Final = 1.0
"""What a program has to end when the primary is gone: the wrapper has two seconds (AWP-ST-3)."""
_MARGIN: Final = 0.5


def patience(deadline: float) -> float:
    """How long to wait for a program that was told to end.

    Args:
        deadline: when the primary's own patience ends: its SIGKILL would leave nobody to see to
            what the program has started.
    """
    return max(deadline - _MARGIN, deadline / 2)


@attrs.frozen
class Ending:
    """How a process ends: by exit code, or by a signal if that is not 0."""

    code: int = 0
    signal: int = 0

    @property
    def is_failure(self) -> bool:
        """Whether that is anything but exit code 0."""
        return self != Ending()


def ending(status: int, *, told: int = 0) -> Ending:
    """How the wrapper ends for a program that ended in that way.

    Args:
        status: as `os.waitpid` gives it.
        told: the signal by which the program was told to end; to die of it was to obey.
    """
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return Ending(code)
    if -code == told and told != signal.SIGKILL:
        return Ending()
    return Ending(signal=-code)
