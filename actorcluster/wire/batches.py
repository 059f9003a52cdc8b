"""Frames on their last yards: joined while small, never copied when large, one batch per send.

Runs in: both

The descriptors of one ``sendmsg`` belong to its first byte (AWP-FD-1). So a frame with handles
begins a `Batch` of its own, and frames without handles may follow in it.
"""

from __future__ import annotations

from typing import Any, Final, final

import attrs

__all__ = ["SMALL", "Batch", "Batches", "Buffer"]

Buffer = bytes | memoryview

#: Up to this size copying a payload is cheaper than one more buffer.
SMALL: Final = 16 * 1024


@final
@attrs.define(eq=False, repr=False)
class Batch:
    """What one ``sendmsg`` may carry.

    Attributes:
        buffers: to be written one after another.
        handles: of the frame that ``buffers`` begins with; they go with its first byte.
        number: of that frame among all our frames with handles, as in `HandlesAcknowledged`.
    """

    buffers: list[Buffer]
    handles: tuple[Any, ...] = ()
    number: int = 0


@final
class Batches:
    """Batches under construction.

    Attributes:
        size: bytes so far, roughly.
        small: frames, and heads of frames, that will be one buffer; may be appended to.
    """

    __slots__ = ("_buffers", "_done", "_handles", "_number", "size", "small")

    def __init__(self) -> None:
        self.size = 0
        self.small: list[bytes] = []
        self._buffers: list[Buffer] = []
        self._done: list[Batch] = []
        self._handles: tuple[Any, ...] = ()
        self._number = 0

    def start(self, handles: tuple[Any, ...], number: int) -> None:
        """Begin a new batch, whose first frame has these handles."""
        self._close()
        self._handles, self._number = handles, number

    def add(self, frame: bytes) -> None:
        """Add a small frame."""
        self.small.append(frame)
        self.size += len(frame)

    def add_large(self, head: bytes, payload: memoryview) -> None:
        """Add the head of a frame and its payload, which is copied only if it is small."""
        self.small.append(head)
        if len(payload) <= SMALL:
            self.small.append(payload.tobytes())
        else:
            self.join()
            self._buffers.append(payload)
        self.size += len(head) + len(payload)

    def join(self) -> None:
        """Make one buffer of the small frames so far."""
        small = self.small
        if small:
            self._buffers.append(small[0] if len(small) == 1 else b"".join(small))
            small.clear()

    def finish(self) -> list[Batch]:
        """Close the last batch and hand out all of them."""
        self._close()
        return self._done

    def _close(self) -> None:
        self.join()
        if self._buffers:
            self._done.append(Batch(self._buffers, self._handles, self._number))
            self._buffers = []
