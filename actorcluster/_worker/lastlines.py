"""The last lines of a text that has no end: pure arithmetic on bytes.

Runs in: primary
"""

from __future__ import annotations

import codecs
from collections import deque
from typing import Final, final

__all__ = ["LastLines"]

LINES: Final = 50
BYTES: Final = 16 * 1024
LINE_BYTES: Final = 2 * 1024
"""Of one line so much is kept, from its beginning: it must not push out all others."""

_decoder: Final = codecs.getincrementaldecoder("utf-8")


@final
class LastLines:
    """Keeps the last 50 lines, 16 KiB of them at most, of all that it is given.

    What it costs depends on the size of the pieces, never on what has been before.

    Attributes:
        dropped: lines that came before those that are kept.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._lines: deque[tuple[bytes, int]] = deque()  # what is kept of each, and its size
        self._kept = 0
        self._last = b""  # the line that is not complete yet: its beginning, and its size
        self._last_size = 0

    def feed(self, data: bytes) -> None:
        """Take the next piece, however it was cut."""
        first, *rest = data.rsplit(b"\n", LINES)
        if b"\n" in first:  # it holds more lines than are kept: only its last can stay
            before, _, first = first.rpartition(b"\n")
            self.dropped += len(self._lines) + before.count(b"\n") + 1
            self._lines.clear()
            self._last, self._last_size, self._kept = b"", 0, 0
        self._go_on(first)
        for line in rest:
            self._lines.append((self._last, self._last_size))
            self._last, self._last_size = b"", 0
            self._go_on(line)
        while len(self._lines) + bool(self._last_size) > LINES or self._kept > BYTES:
            self._kept -= len(self._lines.popleft()[0])
            self.dropped += 1

    def lines(self) -> tuple[str, ...]:
        """Give what is kept, the last line too if it has no end; what is no UTF-8 is escaped."""
        last = [(self._last, self._last_size)] if self._last_size else []
        return tuple(_text(*line) for line in [*self._lines, *last])

    def _go_on(self, data: bytes) -> None:
        """Lengthen the last line."""
        more = data[: max(0, LINE_BYTES - self._last_size)]
        self._last += more
        self._kept += len(more)
        self._last_size += len(data)


def _text(kept: bytes, size: int) -> str:
    is_cut = size > len(kept)
    # A character that the cut has split is left out with the rest.
    text = _decoder("backslashreplace").decode(kept, final=not is_cut)
    return f"{text} ... {size - len(kept)} bytes more" if is_cut else text
