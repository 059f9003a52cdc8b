"""Frames and the handles of a side lane: which belongs to which, and what has to wait.

Runs in: primary

Theory of operation
===================

Bytes come by one socket and handles by another, and neither waits for the other. Each handle brings
its number; the frames with the flag LANE declare theirs in order, so the numbers of a frame are
known as soon as its header is there. Bytes are given on up to a header whose handles are not all
there, and no further; what is given on is in order, with a group of descriptors for each frame that
has any, as if they had come beside the bytes.

A handle that will not come any more is *lost*, and its frame gets what there is of the others as a
group that was cut off: what becomes of that is told in AWP-FD-5. One that comes when it is lost
already, twice, or long before anybody could have declared it, is nobody's.

The bytes are looked at, never checked: behind what is no header all is given on as it is.
"""

from __future__ import annotations

from typing import Final, final

from ..wire._generated import FLAG_LANE

__all__ = ["Pairing"]

_HEADER: Final = 16
_LENGTH: Final = slice(2, 6)
_FLAGS: Final = 8
_NFDS: Final = 9
_MOST_FDS: Final = 253
_SIGNATURE: Final = ((0, 0x95), (1, 0xCE), (6, 0xCE), (11, 0xCE))
#: So far ahead of what was declared a number may be.
_AHEAD: Final = 1024


@final
class Pairing:
    """The books of one direction.

    Attributes:
        awaits: a frame waits for handles.
        discarded: descriptors that are nobody's, for the caller to close.
    """

    def __init__(self) -> None:
        self.awaits = False
        self.discarded: list[int] = []
        self._data = bytearray()
        self._next = 0  # where the next header begins, from the beginning of the data
        self._declared = 0
        self._arrived: dict[int, int] = {}
        self._groups: list[tuple[list[int], bool]] = []
        self._is_raw = False  # the stream is no frames any more
        self._is_over = False

    @property
    def unclaimed(self) -> int:
        """Handles that no frame has declared so far."""
        return len(self._arrived)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Bytes have come."""
        self._data += data
        self._go_on()

    def bring(self, number: int, fd: int) -> None:
        """A handle has come by the lane."""
        is_known = number <= self._declared or number in self._arrived
        if is_known or number > self._declared + _AHEAD or self._is_over:
            self.discarded.append(fd)
            return
        self._arrived[number] = fd
        if self.awaits:
            self._go_on()

    def give_up(self) -> None:
        """What the frame that waits is waiting for is lost."""
        if self.awaits:
            self._go_on(is_lost=True)

    def end(self) -> None:
        """The lane is over: all that has not come is lost."""
        self._is_over = True
        self._go_on()

    def take(self) -> tuple[bytes, list[tuple[list[int], bool]]]:
        """What may be given on: bytes, and the group of each frame in them that has handles."""
        ready = len(self._data) if self._is_raw else min(self._next, len(self._data))
        data = bytes(self._data[:ready])
        del self._data[:ready]
        self._next -= ready
        groups, self._groups = self._groups, []
        return data, groups

    def take_rest(self) -> bytes:
        """The stream is at its end: what is left of a header that is not complete."""
        rest = bytes(self._data)
        self._data.clear()
        return rest

    def take_all(self) -> list[int]:
        """All descriptors that are here, for the caller to close."""
        fds = [*self.discarded, *self._arrived.values(), *(fd for g, _ in self._groups for fd in g)]
        self.discarded, self._groups = [], []
        self._arrived.clear()
        return fds

    def _go_on(self, *, is_lost: bool = False) -> None:
        """Look at headers, up to one whose handles are still to come."""
        self.awaits = False
        while not self._is_raw and self._next + _HEADER <= len(self._data):
            head = self._data[self._next : self._next + _HEADER]
            if any(head[at] != byte for at, byte in _SIGNATURE):
                self._is_raw = True
                return
            nfds = head[_NFDS]
            if head[_FLAGS] & FLAG_LANE and 0 < nfds <= _MOST_FDS:
                numbers = range(self._declared + 1, self._declared + nfds + 1)
                found = [self._arrived[number] for number in numbers if number in self._arrived]
                if len(found) < nfds and not (is_lost or self._is_over):
                    self.awaits = True
                    return
                is_lost = False
                for number in numbers:
                    self._arrived.pop(number, None)
                self._declared += nfds
                self._groups.append((found, len(found) < nfds))
            self._next += _HEADER + int.from_bytes(head[_LENGTH], "big")
