"""Has the C library keep what large messages were in, for the next ones.

Runs in: both

By default glibc gives every block of 128 KiB or more back to the kernel as soon as it is free, and
what lies at the end of its heap as well. The next message of that size then has its memory mapped
anew, page by page, which takes longer than all that we do with it. But glibc learns: when it frees
a block that it had mapped, it takes blocks of that size from its heap from then on, and keeps twice
as much at the end of that. So it is shown one.

Source: mallopt(3), M_MMAP_THRESHOLD, "dynamic mmap threshold".
"""

from __future__ import annotations

import functools
from typing import Final

__all__ = ["LARGEST_KEPT", "keep_large_blocks"]

LARGEST_KEPT: Final = 4 * 1024 * 1024
"""Messages up to that size are spared. Twice as much memory is kept, in processes that used it."""


@functools.cache
def keep_large_blocks() -> None:
    """Show the C library a block, once; nothing is written to it, so it costs no memory."""
    bytes(LARGEST_KEPT)
