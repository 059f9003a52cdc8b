"""Whose parent dies is adopted: by us, if we say so."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import AsyncIterator
from pathlib import Path

import trio

__all__ = ["adopting_orphans", "children"]

_PR_SET_CHILD_SUBREAPER = 36


def children() -> set[int]:
    """Every process that is a child of ours, the ended ones included."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended
            found.update(map(int, (task / "children").read_text().split()))
    return found


@contextlib.asynccontextmanager
async def adopting_orphans(patience: float) -> AsyncIterator[None]:
    """Adopt whoever loses its parent in the block.

    Args:
        patience: seconds in which all who were not there before must have ended by themselves.
    """
    prctl = ctypes.CDLL(None).prctl
    before = children()
    assert 0 == prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
        with trio.fail_after(patience):
            # Who has been reaped has left its own children to us.
            while others := children() - before:
                for pid in others:
                    await trio.to_thread.run_sync(_reap, pid, abandon_on_cancel=True)
    finally:
        assert 0 == prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):  # somebody else has
        os.waitpid(pid, 0)
