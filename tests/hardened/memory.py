"""How much memory this process takes, by the kernel's own books."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Final

__all__ = ["MIB", "Peak", "growth_of_peak", "resident"]

MIB: Final = 1024 * 1024


def _status(field: str, pid: int | None = None) -> int:
    with open(f"/proc/{pid or 'self'}/status") as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    raise AssertionError(f"the status of a process has no {field}")


def resident(pid: int | None = None) -> int:
    """Bytes that are in memory now, of this process or another."""
    return _status("VmRSS", pid)


class Peak:
    """By how much memory grew at most, in bytes; once the block is over."""

    def __init__(self) -> None:
        self.growth = 0


@contextlib.contextmanager
def growth_of_peak() -> Iterator[Peak]:
    """Measure the block."""
    peak = Peak()
    gc.collect()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak is what is there now
    before = resident()
    yield peak
    peak.growth = _status("VmHWM") - before
