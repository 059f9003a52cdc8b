"""Cuts both streams of one connection into frames, and writes the record of each. Pure.

Runs in: primary

It shares nothing with the library's own reading of frames but the numbers: a fault of that is to
be seen in the trace. Of each frame no more is kept than what can be in the file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, final

from ..wire._generated import FLAG_LANE
from .masks import shown
from .tracefile import (
    FROM_WORKER,
    TO_WORKER,
    Broken,
    Closed,
    Direction,
    Shut,
    encode,
    frame_bytes,
)

__all__ = ["Fd", "Stream", "Tap"]

_HEADER: Final = 16
_FLAGS: Final = 8
_NFDS: Final = 9
_KEPT: Final = 64 * 1024
"""Of a body, without bodies: an envelope is seldom longer."""
_MOST_FDS: Final = 4096

Fd = tuple[int, int]


@final
class Stream:
    """One direction: takes bytes, gives frames.

    Args:
        keep: so many bytes of a body are kept, at most.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._head = bytearray()
        self._body = bytearray()
        self._left = 0  # bytes of the body to come
        self._is_broken = False

    @property
    def unfinished(self) -> int:
        """Bytes of a frame whose end is not here."""
        if len(self._head) < _HEADER:
            return len(self._head)
        return _HEADER + self._size - self._left

    @property
    def _size(self) -> int:
        return int.from_bytes(self._head[2:6], "big")

    def feed(
        self, data: bytes | bytearray | memoryview, on_frame: Callable[[bytes, bytes, int], None]
    ) -> bytes | None:
        """Take bytes; none are taken after those that are no header.

        Args:
            data: copied.
            on_frame: called with the header, what is kept of the body, and its size.

        Returns:
            what came in place of a header, once.
        """
        view, at = memoryview(data), 0
        while at < len(view) and not self._is_broken:
            missing = _HEADER - len(self._head)
            if missing > 0:
                self._head += view[at : at + missing]
                at += missing
                if len(self._head) < _HEADER:
                    break
                if not _is_header(self._head):
                    self._is_broken = True
                    return bytes(self._head)
                self._left = self._size
            piece = view[at : at + self._left]
            room = self._keep - len(self._body)
            if room > 0:
                self._body += piece[:room]
            at += len(piece)
            self._left -= len(piece)
            if self._left == 0:
                head, body, size = bytes(self._head), bytes(self._body), self._size
                self._head.clear()
                self._body.clear()
                on_frame(head, body, size)
        return None


def _is_header(head: bytearray) -> bool:
    return (head[0], head[1], head[6], head[11]) == (0x95, 0xCE, 0xCE, 0xCE)


@final
class Tap:
    """One worker's connection.

    Args:
        worker: its id.
        note: takes records.
        now: microseconds since the trace began.
        bodies: whether they are in.
        most: bytes of a body, at most.
        lane: whether handles go by a side lane. Frames to the worker get the flag for that behind
            us, and have it in the trace.
    """

    def __init__(
        self,
        worker: int,
        note: Callable[[bytes], None],
        now: Callable[[], int],
        *,
        bodies: bool,
        most: int,
        lane: bool = False,
    ) -> None:
        self._worker = worker
        self._note = note
        self._now = now
        self._bodies = bodies
        self._lane = lane
        keep = most if bodies else min(most, _KEPT)
        self._streams = Stream(keep), Stream(keep)
        self._fds: tuple[deque[Sequence[Fd]], deque[Sequence[Fd]]] = deque(), deque()
        self._is_shut = [False, False]

    def pass_on(
        self,
        direction: Direction,
        buffers: Iterable[bytes | bytearray | memoryview],
        groups: Iterable[Sequence[Fd]] = (),
    ) -> None:
        """Take note of what has gone or come."""
        self._fds[direction].extend(groups)

        def on_frame(header: bytes, body: bytes, size: int) -> None:
            waiting = self._fds[direction]
            fds = waiting.popleft() if header[_NFDS] and waiting else ()
            if self._lane and direction == TO_WORKER and header[_NFDS]:
                flags = bytes((header[_FLAGS] | FLAG_LANE,))
                header = header[:_FLAGS] + flags + header[_NFDS:]
            parts = shown(header, body, size, bodies=self._bodies)
            envelope, payload, payload_size, masked = parts
            fields: list[object] = [self._now(), self._worker, direction, header, envelope, payload]
            fields.append(payload_size)
            if fds or masked:
                fields.append(fds)
            if masked:
                fields.append(masked)
            self._note(frame_bytes(fields))

        for buffer in buffers:
            first = self._streams[direction].feed(buffer, on_frame)
            if first is not None:
                time, worker = self._now(), self._worker
                broken = Broken(time=time, worker=worker, direction=direction, first=first)
                self._note(encode(broken))

    def shut(self, direction: Direction) -> None:
        """That side says nothing more."""
        if not self._is_shut[direction]:
            self._is_shut[direction] = True
            now = self._now()
            self._note(encode(Shut(time=now, worker=self._worker, direction=direction)))

    def close(self, unsent: int) -> None:
        """The connection is closed; so many bytes have not left."""
        unclaimed = [fd for group in self._fds[FROM_WORKER] for fd in group][:_MOST_FDS]
        closed = Closed(
            time=self._now(),
            worker=self._worker,
            unsent=unsent,
            unfinished=self._streams[FROM_WORKER].unfinished,
            unclaimed=tuple(unclaimed),
        )
        self._note(encode(closed))
