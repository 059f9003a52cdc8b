"""Descriptors to pass, and what of them is open: for tests of everything that carries them."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator

__all__ = ["is_open", "memfd", "no_free_descriptor"]


def memfd(size: int = 0) -> int:
    """A descriptor that can be told from others by its size."""
    fd = os.memfd_create("test")
    os.truncate(fd, size)
    return fd


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def no_free_descriptor(*, but: int = 0) -> Iterator[None]:
    """While the block runs, this process gets no more descriptors, or only so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    listed = {int(name) for name in os.listdir("/proc/self/fd")}
    used = set(filter(is_open, listed))  # not what it was listed with
    free = [number for number in range(len(used) + but + 1) if number not in used]
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[but], hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
