"""Process 1 reaps whom it has adopted: in a container nobody else does, and they would pile up.

Runs in: primary

What a killed worker had started, or what put itself into the background, becomes a child of
process 1, which may be the primary. The kernel does not tell such children from those that somebody
in this process has started, and whoever started one wants its exit status. So only process 1 does
anything here at all, and it reaps only who has been dead for a while and for whom no object is
there that would wait for it.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import subprocess
import sys
from collections.abc import Iterable
from typing import Final, NoReturn

import trio

from .process import Process

__all__ = ["is_process_1", "reap_adopted"]

log = logging.getLogger("actorcluster.adopted")

PATIENCE: Final = 10.0
"""Seconds that whoever started a process has, after its end, to wait for it."""


def is_process_1() -> bool:
    """Whether orphans are ours, and can be seen: /proc may show another namespace."""
    try:
        return os.getpid() == 1 and os.readlink("/proc/self") == "1"
    except OSError:
        return False


async def reap_adopted() -> NoReturn:
    """Reap those who have ended and whom nobody else will.

    Cancellation:
        They stay zombies.
    """
    before: set[int] = set()
    while True:
        await trio.sleep(PATIENCE)
        ended = _ended()
        if lasting := ended & before:
            _reap(lasting - _awaited())
        before = ended


def _reap(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ChildProcessError):  # somebody did after all
            _, status = os.waitpid(pid, os.WNOHANG)
            log.info("reaped process %d, an orphan: wait status %d", pid, status)


def _ended() -> set[int]:
    """Our children that are zombies."""
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
            state, parent = file.read().rpartition(b")")[2].split()[:2]
            if (state, parent) == (b"Z", b"1"):
                found.add(int(name))
    return found


def _awaited() -> set[int]:
    """Those for whom there is an object that waits for them, or will when it is asked."""
    kinds: tuple[type, ...] = (Process, subprocess.Popen)  # Trio and asyncio have a Popen inside
    multiprocessing = sys.modules.get("multiprocessing.popen_fork")
    if multiprocessing is not None:
        kinds += (multiprocessing.Popen,)
    return {
        getattr(thing, "pid", None) or 0
        for thing in gc.get_objects()
        if issubclass(type(thing), kinds)
    }
