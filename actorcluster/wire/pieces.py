"""Fragments with a long piece: their shape, and how one is read to where it belongs.

Runs in: both

The pieces of a message are put together in one place, see `fragments`. To read one into a buffer
and to copy it from there costs a third more than to read it into its place. That is known as soon
as the head of its frame is: where the piece before ends. So a frame that has begun is made a
`Landing`, and its place is what is read into next.

Only what is shaped as nearly all fragments are may land: nil or [nil], and a bin that ends exactly
where the header says. What it means and whether it is allowed is found out when it is complete, as
for every frame. A place is memory that is there: no header makes room for anything.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, TypeAlias, final

from ._generated import FLAG_FRAG, Kind
from .header import HEAD, HEADER_SIZE
from .runs import Frame

__all__ = ["FindPlace", "Landing", "begin_landing", "piece_in"]

_MAIL: Final = frozenset({int(Kind.TELL), int(Kind.CALL), int(Kind.REPLY)})
_U32: Final = struct.Struct(">I")
_BIN32: Final = b"\xc0\xc6"  # nil as the envelope, then the payload is a bin
_LIST_OF_ONE: Final = 0x91  # before that nil, in the first fragment of a plain message
#: The longest head: header, [nil], and the bin's.
_LONGEST: Final = HEADER_SIZE + 1 + len(_BIN32) + _U32.size

FindPlace: TypeAlias = Callable[[int, int], memoryview | None]
"""Says where the next piece of a channel belongs, and of that many bytes; None: nowhere yet."""


@final
class Landing:
    """One such frame, of whose piece something is still to come.

    Args:
        frame: all but its payload.
        place: the payload, of which nothing is there yet.

    Attributes:
        rest: where the bytes belong that come next.
    """

    __slots__ = ("_frame", "rest")

    def __init__(self, frame: Frame, place: memoryview) -> None:
        frame.payload = place
        self._frame = frame
        self.rest = place

    def advance(self, count: int) -> Frame | None:
        """So many bytes have come; gives the frame when it is complete."""
        self.rest = self.rest[count:]
        return None if self.rest else self._frame

    def fill(self, data: memoryview) -> int:
        """Copy there what was read elsewhere; tells how much of it that is, for `advance`."""
        size = min(len(data), len(self.rest))
        self.rest[:size] = data[:size]
        return size


def begin_landing(begun: bytearray, size: int, find: FindPlace) -> Landing | None:
    """Give what has come of a frame of that size a place, if there is one."""
    if len(begun) < _LONGEST:
        return None
    _, length, _, word, _, channel = HEAD.unpack_from(begun)
    is_first = begun[HEADER_SIZE] == _LIST_OF_ONE
    start = HEADER_SIZE + is_first + len(_BIN32) + _U32.size
    (rest,) = _U32.unpack_from(begun, start - _U32.size)
    kind, flags, nfds = word >> 24, word >> 16 & 0xFF, word >> 8 & 0xFF
    if not flags & FLAG_FRAG or kind not in _MAIL:
        return None
    if not _is_bin32(begun, is_first) or start + rest != size:
        return None
    place = find(channel, rest)
    if place is None:
        return None
    frame = Frame(kind, flags, nfds, channel, length, [None] if is_first else None, None)
    landing = Landing(frame, place)
    landing.advance(landing.fill(memoryview(begun)[start:]))
    return landing


def piece_in(data: bytes | bytearray | memoryview) -> tuple[list[None] | None, memoryview] | None:
    """Envelope and payload of a complete fragment of that shape; None if it has another."""
    if len(data) < _LONGEST - 1:
        return None
    is_first = data[HEADER_SIZE] == _LIST_OF_ONE
    start = HEADER_SIZE + is_first + len(_BIN32)
    if not _is_bin32(data, is_first) or len(data) < start + _U32.size:
        return None
    piece = memoryview(data)[start + _U32.size :]
    (size,) = _U32.unpack_from(data, start)
    return ([None] if is_first else None, piece) if size == len(piece) else None


def _is_bin32(data: bytes | bytearray | memoryview, is_first: bool) -> bool:
    start = HEADER_SIZE + is_first
    return data[start : start + len(_BIN32)] == _BIN32
