"""Reads the counts that prove that a worker was killed for want of memory; see `oom`.

Runs in: primary

Two small files are read when a worker starts, one more when SIGKILL has ended one, unasked.
"""

from __future__ import annotations

import os
import signal
from typing import Final, Protocol, final

import attrs

from .exit import Status, split
from .oom import Tally, count_in, counter_file

__all__ = ["Killed", "MemoryKills"]


_PIECE: Final = 64 * 1024


class Killed(Protocol):
    """A process of ours."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> Status | None: ...


@attrs.frozen
class _Start:
    """What was known when a worker started."""

    file: str
    count: int


@final
class MemoryKills:
    """Knows the workers of one primary by their cgroups.

    Args:
        proc: where the kernel tells of processes.
    """

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._mounts: str | None = None
        self._last = "", ""  # cgroups of a process, and where its kills are counted
        self._starts: dict[Killed, _Start] = {}
        self._tallies: dict[str, Tally] = {}

    def started(self, process: Killed) -> None:
        """A worker has started. Without a count that can be read there will be no evidence."""
        file = self._counter_file(_read(f"{self._proc}/{process.pid}/cgroup"))
        count = count_in(_read(file)) if file else None
        if count is not None:
            self._starts[process] = _Start(file, count)

    def _counter_file(self, cgroups: str) -> str:
        """Find it; empty if there is none."""
        if cgroups != self._last[0]:  # nearly all are in the same
            if self._mounts is None:
                self._mounts = _read(f"{self._proc}/self/mountinfo")
            self._last = cgroups, counter_file(cgroups, self._mounts) or ""
        return self._last[1]

    def forget(self, process: Killed) -> None:
        """A worker has ended, and nobody asks why; or it was said."""
        self._starts.pop(process, None)

    def is_proven(self, process: Killed) -> bool:
        """Whether a worker was killed for want of memory; to be asked once.

        Args:
            process: its; SIGKILL has ended it, and that was not ours.
        """
        start = self._starts.pop(process, None)
        if start is None:
            return False
        others = (other for other, its in self._starts.items() if its.file == start.file)
        deaths = 1 + sum(map(_is_killed, others))
        now = count_in(_read(start.file))
        tally = self._tallies.setdefault(start.file, Tally())
        return now is not None and tally.explains(before=start.count, now=now, deaths=deaths)


def _is_killed(process: Killed) -> bool:
    status = process.poll()
    return status is not None and split(status[0])[1] == signal.SIGKILL


def _read(path: str) -> str:
    """Read a file of the kernel, empty if that is not possible."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        pieces = iter(lambda: os.read(fd, _PIECE), b"")
        return os.fsdecode(b"".join(pieces))
    except OSError:
        return ""
    finally:
        os.close(fd)
