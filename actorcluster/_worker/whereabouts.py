"""Where a Trio task waits.

Runs in: primary
"""

from __future__ import annotations

import traceback
from typing import Any

import trio

__all__ = ["whereabouts"]


def whereabouts(task: trio.lowlevel.Task, ours: str) -> tuple[str, str]:
    """Find out where a task that is not running just now waits.

    Args:
        task: which.
        ours: the file whose frames are nobody's business.

    Returns:
        Where in the application's code, in short, and the whole stack.
    """
    frames = [one for one in task.iter_await_frames() if one[0].f_code.co_filename != ours]
    stack = traceback.StackSummary.extract(iter(frames))
    last = next((one for one in reversed(frames) if not _is_trios(one[0])), None)
    short = "an unknown place"
    if last is not None:
        short = f"{last[0].f_code.co_filename}:{last[1]}"
    return short, "Stack (most recent call last):\n" + "".join(stack.format())


def _is_trios(frame: Any) -> bool:
    return str(frame.f_globals.get("__name__")).startswith("trio.")
