"""Frames and the descriptors that belong to them: SPEC.md, sections 3 and 4.

Descriptors come beside the bytes, and only their order ties them to frames. Each recvmsg that
brought some, or lost some, is a group; the oldest group belongs to the next frame that declares
descriptors, wherever the bytes of either stood.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from .awp_v1 import HEADER_SIZE, Abort

_HEADER = struct.Struct(">BBIBBBBBBI")


class Violation(Exception):
    """The peer broke the protocol: the connection is to end with ABORT.

    Attributes:
        code: of ABORT.
        header: of the frame at fault, if it is one.
    """

    def __init__(self, code: Abort, text: str, header: bytes = b"") -> None:
        super().__init__(text)
        self.code = code
        self.header = header


class Frame(NamedTuple):
    """One frame as it arrived. Whoever takes it owns its descriptors."""

    kind: int
    flags: int
    nfds: int
    channel: int
    body: bytes
    fds: list[int]
    lost: bool
    header: bytes


def header(kind: int, flags: int, nfds: int, channel: int, length: int) -> bytes:
    """The 16 bytes in front of a body."""
    return _HEADER.pack(0x95, 0xCE, length, 0xCE, kind, flags, nfds, 0, 0xCE, channel)


def close_fds(fds: list[int]) -> None:
    """Close descriptors that nobody wants."""
    for fd in fds:
        os.close(fd)
    fds.clear()


class FrameReader:
    """Finds frames in what was read, by their lengths.

    Attributes:
        max_frame, max_fds: the limits that were announced.
    """

    def __init__(self, max_frame: int, max_fds: int) -> None:
        self.max_frame = max_frame
        self.max_fds = max_fds
        self._buffer = bytearray()
        self._groups: deque[tuple[list[int], bool]] = deque()

    def feed(self, data: bytes, fds: list[int], truncated: bool) -> None:
        """What one recvmsg brought."""
        self._buffer += data
        if fds or truncated:
            self._groups.append((fds, truncated))

    def check_unclaimed(self) -> None:
        """To be called when all complete frames are taken.

        Raises:
            Violation: far more descriptors than frames have declared.
        """
        if sum(len(fds) for fds, _ in self._groups) > 4 * self.max_fds:
            raise Violation(Abort.FD_VIOLATION, "descriptors that no frame has declared")

    def frames(self) -> Iterator[Frame]:
        """The frames that are complete.

        Raises:
            Violation: a header is wrong.
        """
        while (frame := self._next()) is not None:
            yield frame

    def _next(self) -> Frame | None:
        if len(self._buffer) < HEADER_SIZE:
            return None
        head = bytes(self._buffer[:HEADER_SIZE])
        array, ce1, length, ce2, kind, flags, nfds, _, ce3, channel = _HEADER.unpack(head)
        if (array, ce1, ce2, ce3) != (0x95, 0xCE, 0xCE, 0xCE):
            raise Violation(Abort.BAD_SIGNATURE, "this is no frame", head)
        if length > self.max_frame:
            text = f"a frame of {length} bytes, where {self.max_frame} are taken"
            raise Violation(Abort.FRAME_TOO_LARGE, text, head)
        if nfds > self.max_fds:
            raise Violation(Abort.FD_VIOLATION, f"{nfds} descriptors in a frame", head)
        end = HEADER_SIZE + length
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[HEADER_SIZE:end])
        del self._buffer[:end]
        fds, lost = self._group(nfds, head)
        return Frame(kind, flags, nfds, channel, body, fds, lost, head)

    def _group(self, nfds: int, head: bytes) -> tuple[list[int], bool]:
        """What belongs to a frame, and whether it is lost."""
        if not nfds:
            return [], False
        if not self._groups:
            return [], True
        fds, truncated = self._groups.popleft()
        if len(fds) > nfds:
            close_fds(fds)
            raise Violation(Abort.FD_VIOLATION, "more descriptors than were declared", head)
        if truncated or len(fds) < nfds:
            close_fds(fds)
            return [], True
        return fds, False

    def close(self) -> None:
        """Nothing more will be read: close the descriptors that no frame got."""
        self._buffer.clear()
        while self._groups:
            close_fds(self._groups.popleft()[0])
