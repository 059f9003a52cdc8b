"""What /proc says of processes: their children, memory, descriptors and threads."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

__all__ = ["descendants", "descriptors", "others_of_group", "pss", "rss", "switches", "threads"]

_KIB: Final = 1024


def descendants(pid: int) -> list[int]:
    """Give the children of a process, their children, and so on; some may just have ended."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found


def others_of_group(leader: int) -> list[int]:
    """Give the processes of a group beside the one that leads it."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            stat = Path(f"/proc/{name}/stat").read_text()
            group = int(stat.rpartition(")")[2].split()[2])  # a name may hold anything before it
            if group == leader != int(name):
                found.append(int(name))
    return found


def pss(pid: int) -> int:
    """Give the proportional set size of a process, in bytes."""
    return _entry(Path(f"/proc/{pid}/smaps_rollup"), "Pss") * _KIB


def rss(pid: int) -> int:
    """Give the resident set size of a process, in bytes."""
    return _entry(Path(f"/proc/{pid}/status"), "VmRSS") * _KIB


def threads(pid: int) -> int:
    """Count the threads of a process."""
    return _entry(Path(f"/proc/{pid}/status"), "Threads")


def descriptors(pid: int) -> int:
    """Count the open descriptors of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def switches(pid: int) -> int:
    """Count how often the threads of a process have gone to sleep, and so been woken up."""
    tasks = Path(f"/proc/{pid}/task")
    return sum(_entry(task / "status", "voluntary_ctxt_switches") for task in tasks.iterdir())


def _entry(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0])
    raise LookupError(f"{path} has no {name}")
