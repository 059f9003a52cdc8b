"""Runs of plain messages, read by their heads: what comes most, and nothing else.

Runs in: both

Theory of operation
===================

::

     95   CE length:u32   CE 20 00 00 00   CE 00 00 00 00   91 C0   payload
     0    1    2..5       6                11               16      18..

A TELL from main actor to main actor in one frame begins with eighteen bytes of which only the
length can differ. Nearly all messages of a stream have one of a few lengths. So whoever has
checked a head once needs no look at its fields the next time: the bytes as a whole are found among
those that are known, with the length that they say. The decoder reads the payload alone, and must
then stand where the head says that the next one begins.

A long message is decoded where it lies: the decoder that reads one after another has a buffer of
its own, into which all would be copied first.

What is unknown, incomplete, or not all well is left where it is, for who knows all frames.
"""

from __future__ import annotations

import struct
from typing import Any, Final, final

from ._generated import Kind
from .values import LEAST_BUFFER, UNPACK_ERRORS, Values, too_deep

__all__ = ["LONGEST", "PlainReader"]

#: Longer messages (envelope and payload) are decoded each by itself.
LONGEST: Final = 8192

#: What can hold something in a decoded body.
_NESTS: Final[frozenset[type]] = frozenset({dict, list})

_HEAD_SIZE: Final = 18
_HEADER_SIZE: Final = 16
_SIGNATURE: Final = b"\x95\xce"
#: The head from behind the length on: word, channel, and [nil] as the envelope.
_REST: Final = struct.pack(">BIBI", 0xCE, Kind.TELL << 24, 0xCE, 0) + b"\x91\xc0"
#: So much is given to the decoder at once.
_RUN: Final = 65536
#: So many heads are kept before all are forgotten.
_MOST_HEADS: Final = 1024


@final
class PlainReader:
    """Takes the plain messages that some bytes begin with.

    Args:
        values: decodes.
    """

    def __init__(self, values: Values) -> None:
        self._values = values
        self._unpacker: Any = values.unpacker(_RUN)
        #: heads that were checked: the length that each says; those of long messages apart.
        self._heads: dict[bytes, int] = {}
        self._long_heads: dict[bytes, int] = {}

    def shrink(self) -> None:
        """Give back memory, as `Connection.shrink` does."""
        self._unpacker = None  # even one with the least buffer takes 40 KiB

    def read(self, view: memoryview, max_frame: int, bodies: list[Any], lengths: list[int]) -> int:
        """Take what comes first.

        Args:
            view: begins with a frame.
            max_frame: our limit of that name, `LONGEST` at least.
            bodies: that of each message is appended.
            lengths: likewise its bytes of envelope and payload.

        Returns:
            where the first frame begins that was not taken.
        """
        start, size = 0, len(view)
        while start < size:
            head = bytes(view[start : start + _HEAD_SIZE])
            length = self._long_heads.get(head) or self._length_in(head)
            end = start + _HEADER_SIZE + length
            if not length or length > max_frame or end > size:
                break
            if length > LONGEST:
                if not self._decode_long(view[start + _HEAD_SIZE : end], length, bodies, lengths):
                    break
                start = end
            elif taken := self._decode(view[start : start + _RUN], bodies, lengths):
                start += taken
            else:
                break
        return start

    def _length_in(self, head: bytes) -> int:
        """The length that a head says; 0 for all heads that are not of interest here."""
        known = self._heads.get(head)
        if known is not None:
            return known
        length = _length_at(head)
        if length:
            heads = self._long_heads if length > LONGEST else self._heads
            if len(heads) >= _MOST_HEADS:
                heads.clear()
            heads[head] = length
        return length

    def _decode(self, view: memoryview, bodies: list[Any], lengths: list[int]) -> int:
        """Take what begins a piece of the stream; returns how many bytes that was."""
        values, unpacker, known = self._values, self._unpacker, self._heads
        if unpacker is None:
            unpacker = self._unpacker = values.unpacker(_RUN, LEAST_BUFFER)
        indexes, limit = values.indexes, values.max_depth
        unpacker.feed(view)
        read, unpack, tell = unpacker.read_bytes, unpacker.unpack, unpacker.tell
        add_body, add_length, flat = bodies.append, lengths.append, _NESTS.isdisjoint
        start: int = tell()  # it counts all bytes that the decoder ever saw
        good = end = start
        size = start + len(view)
        try:
            while True:
                head = read(_HEAD_SIZE)
                length = known.get(head) or self._length_in(head)
                end += _HEADER_SIZE + length
                if not length or length > LONGEST or end > size:
                    read(size - tell())  # what is left there would be taken for the next piece
                    return good - start
                body = unpack()
                if tell() != end or indexes:
                    break
                if length > limit:  # each level of nesting costs a byte at least
                    kind = type(body)
                    inner = body.values() if kind is dict else body if kind is list else ()
                    if not flat(map(type, inner)) and too_deep(body, limit):
                        break
                add_body(body)
                add_length(length)
                good = end
        except UNPACK_ERRORS:
            pass
        indexes.clear()
        self._unpacker = values.unpacker(_RUN)  # the old one has lost its way
        return good - start

    def _decode_long(
        self, view: memoryview, length: int, bodies: list[Any], lengths: list[int]
    ) -> bool:
        """Take the payload of one long message; tells whether all is well with it."""
        values = self._values
        try:
            body = values.unpack(view)
            good = not values.indexes and not too_deep(body, values.max_depth)
        except UNPACK_ERRORS:
            good = False
        if good:
            bodies.append(body)
            lengths.append(length)
        else:
            values.indexes.clear()
        return good


def _length_at(head: bytes) -> int:
    """The length that the head of a plain message says; 0 where there is none."""
    if len(head) < _HEAD_SIZE or head[:2] != _SIGNATURE or head[6:] != _REST:
        return 0
    return int.from_bytes(head[2:6], "big")
