"""Files that are open when a process is forked: what is in their buffers is written exactly once.

Runs in: worker

Without care each child would write what a preloaded module had left in a buffer. And what a child
itself leaves there would be lost: an interpreter that ends writes it when it collects the module as
garbage, but what was imported before the fork is frozen, see `template`, and never collected.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import io
from typing import Any, Final, final

__all__ = ["Buffers"]

_BUFFERED: Final = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)


@final
class Buffers:
    """The buffers of a process; to be made before the modules are imported that open files.

    An interpreter calls first what was registered last, so the atexit functions of those modules
    can still write.
    """

    def __init__(self) -> None:
        self._files: list[Any] = []
        atexit.register(self._flush)

    def empty(self) -> None:
        """Find all that there are, and write what is in them."""
        # Not isinstance: a proxy would be asked what it stands for.
        self._files = [it for it in gc.get_objects() if issubclass(type(it), _BUFFERED)]
        self._flush()
        ctypes.CDLL(None).fflush(None)  # those of C code, which the C library writes at the end

    def _flush(self) -> None:
        for file in self._files:
            with contextlib.suppress(OSError, ValueError):  # ValueError: it was closed
                file.flush()
