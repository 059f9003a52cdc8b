"""Free places between objects are filled, so that what is made later lies side by side.

Runs in: worker

CPython's allocator has pools of places of one size, and fills those that are partly in use first.
After many imports there are such pools all over the memory. A forked worker shares those pages with
the fork server until it writes to them: each object that it puts into one costs it a copy of a page
where a new pool would have had room for a hundred objects. The same goes for what is larger than a
pool's largest, which the C library has: it takes what was given back before it takes from the end.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections import deque
from typing import Final

__all__ = ["fill_holes"]

#: Of CPython since 3.10; with another size there would be some holes left, or a pool too many.
_POOL: Final = 16 * 1024
_POOL_HEAD: Final = 48
_STEP: Final = 16
_LARGEST: Final = 512
_ACCOUNT: Final = (
    *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
    *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
)
#: The largest come first: what they leave of a hole is filled by the smaller.
_SIZES: Final = (32768, 16384, 8192, 4096, 2048, *range(1032, 0, -_STEP))
_MOST_CHUNKS: Final = 4096
#: So many pools of one size are given a chance: another allocator may have none at all.
_MOST_POOLS: Final = 256


def fill_holes() -> int:
    """Fill them for ever, and have the C library give back what it does not use.

    Returns:
        how many there were.
    """
    if sys.flags.dev_mode or "PYTHONMALLOC" in os.environ:
        return 0  # another allocator, or one that adds something to each object
    head = sys.getsizeof(b"")
    # Not lists: what those keep would take places of the very sizes that are looked at.
    filled: deque[bytes] = deque()
    for size in range(-(-head // _STEP) * _STEP, _LARGEST + 1, _STEP):
        _fill(size, size - head, filled)
    # Not even an interpreter that ends frees it: it would write to all those pages.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(filled))
    library = ctypes.CDLL(None)
    trim = getattr(library, "malloc_trim", None)
    if trim is not None:  # it is glibc's
        trim(ctypes.c_size_t(0))
    return len(filled) + _fill_heap(library)


class _Account(ctypes.Structure):
    """The C library's ``struct mallinfo2``."""

    _fields_ = [(name, ctypes.c_size_t) for name in _ACCOUNT]


def _fill_heap(library: ctypes.CDLL) -> int:
    """Take what the C library was given back, until it takes from the end."""
    try:
        account, allocate = library.mallinfo2, library.malloc
    except AttributeError:  # it is not glibc, or an old one
        return 0
    account.restype, allocate.restype = _Account, ctypes.c_void_p
    filled = 0
    for size in _SIZES:
        for _ in range(_MOST_CHUNKS):
            end = account().keepcost
            if not allocate(ctypes.c_size_t(size)) or account().keepcost != end:
                break
            filled += 1
    return filled


def _fill(size: int, length: int, filled: deque[bytes]) -> None:
    """Take places of one size until a pool was empty, which is left empty."""
    fit = (_POOL - _POOL_HEAD) // size
    pool: deque[bytes] = deque()
    one = bytes(length)
    for _ in range(_MOST_POOLS):
        number = id(one) // _POOL
        while id(one) // _POOL == number:
            pool.append(one)
            one = bytes(length)
        if len(pool) == fit:
            break
        filled += pool
        pool.clear()
