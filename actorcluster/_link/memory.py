"""MemorySocket: what `FdSocket` is, between two ends in one process, without a descriptor.

Runs in: primary

Theory of operation
===================

Two ends share two *lanes*, one for each direction. A lane holds what was written and not read so
far, in the pieces in which it was written, and takes the next one as long as it holds less than
`_ROOM`. What does not go in is kept by the writer, as a socket's is.

A descriptor is duplicated when it enters the lane, so that giver and receiver each have one of
their own, as the kernel would see to it. If there is no room in the table of open files it stays
with its giver (`stalled`), and is tried again later: here nothing is lost on the way.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Sequence
from typing import Final, final

import attrs
import trio

from .fdsocket import RECEIVE_SIZE, Buffer, Descriptor, Group
from .handles import close_descriptors

__all__ = ["MemorySocket", "memory_pair"]

#: Bytes in a lane beyond which nothing more goes in, as in a socket's buffer.
_ROOM: Final = 256 * 1024
#: So many groups of descriptors are taken out together.
_MOST_GROUPS: Final = 64
#: Passing shortages.
_SHORTAGE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


@final
@attrs.define(eq=False, repr=False)
class _Piece:
    """What was written at once: bytes, and the descriptors that go with the first of them."""

    data: Buffer
    fds: Sequence[Descriptor]


@final
class _Lane:
    """One direction.

    Attributes:
        size: bytes in it.
        is_ended: nothing more is written.
        is_broken: nothing more is read.
    """

    __slots__ = ("is_broken", "is_ended", "pieces", "reader", "size", "writer")

    def __init__(self) -> None:
        self.pieces: deque[_Piece] = deque()
        self.size = 0
        self.is_ended = False
        self.is_broken = False
        #: who waits at each end.
        self.reader: trio.lowlevel.Task | None = None
        self.writer: trio.lowlevel.Task | None = None

    def wake_reader(self) -> None:
        if self.reader is not None:
            task, self.reader = self.reader, None
            trio.lowlevel.reschedule(task)

    def wake_writer(self) -> None:
        if self.writer is not None:
            task, self.writer = self.writer, None
            trio.lowlevel.reschedule(task)

    def take(self, most: int) -> _Piece:
        """Take out the first piece, or so much of it."""
        piece = self.pieces[0]
        size = len(piece.data)
        if size <= most:
            self.size -= size
            return self.pieces.popleft()
        view = memoryview(piece.data)
        taken, piece.data = _Piece(view[:most], piece.fds), view[most:]
        piece.fds = ()
        self.size -= most
        return taken

    def break_off(self) -> None:
        """The reader has gone."""
        self.is_broken = True
        for piece in self.pieces:
            close_descriptors(fd for fd in piece.fds if isinstance(fd, int))
        self.pieces.clear()
        self.size = 0
        self.wake_writer()


@final
class MemorySocket:
    """One end; see `FdSocket` for what its methods do and raise, and `memory_pair` for both.

    Attributes:
        stalled: descriptors could not be duplicated; pause, then `send_now` again.
        is_full_read: the last read left something behind.
        placed: bytes put where the reader wants them: none, what was written is read as it is.
        sends: system calls that wrote: none.
        receives: system calls that read: none.
        groups_sent: groups of descriptors that have left.
        unsent: bytes kept for later.
    """

    __slots__ = (
        "_in",
        "_is_closed",
        "_out",
        "_queue",
        "groups_sent",
        "is_full_read",
        "receives",
        "sends",
        "stalled",
        "unsent",
    )

    def __init__(self, incoming: _Lane, outgoing: _Lane) -> None:
        self._in = incoming
        self._out = outgoing
        self._queue: deque[_Piece] = deque()
        self._is_closed = False
        self.stalled = False
        self.is_full_read = False
        self.sends = 0
        self.receives = 0
        self.groups_sent = 0
        self.unsent = 0

    # ---- writing --------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection
    def send_now(self, buffers: Sequence[Buffer], fds: Sequence[Descriptor] = ()) -> bool:
        """Write what the other end has room for, and keep the rest; see `FdSocket.send_now`."""
        data = buffers[0] if len(buffers) == 1 else b"".join(buffers)
        if not len(data) and fds:
            raise ValueError("descriptors need at least one byte to go with")
        if len(data):
            self._queue.append(_Piece(data, fds))
            self.unsent += len(data)
        return self._write_on()

    def _write_on(self) -> bool:
        self._raise_if_closed()
        self.stalled = False
        queue, lane = self._queue, self._out
        while queue:
            if lane.is_broken:
                queue.clear()
                self.unsent = 0
                raise trio.BrokenResourceError("the other end of the link is closed")
            if lane.size >= _ROOM:
                return False
            piece = queue[0]
            if piece.fds and not self._duplicate(piece):
                return False
            queue.popleft()
            self.unsent -= len(piece.data)
            lane.pieces.append(piece)
            lane.size += len(piece.data)
            lane.wake_reader()
        return True

    def _duplicate(self, piece: _Piece) -> bool:
        """Give the reader descriptors of its own; False, and nothing was done, if none is free."""
        fds: list[int] = []
        try:
            fds.extend(os.dup(fd if isinstance(fd, int) else fd.fileno()) for fd in piece.fds)
        except OSError as exc:
            close_descriptors(fds)
            if exc.errno not in _SHORTAGE:
                raise
            self.stalled = True
            return False
        except BaseException:
            close_descriptors(fds)
            raise
        piece.fds = fds
        self.groups_sent += 1
        return True

    async def wait_writable(self) -> None:
        """Wait until the other end has read something; see `FdSocket.wait_writable`."""
        self._raise_if_closed()
        lane = self._out
        if lane.size < _ROOM or lane.is_broken:
            await trio.lowlevel.checkpoint()
            return
        lane.writer = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            lane.writer = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        self._raise_if_closed()

    def shutdown_write(self) -> None:
        """Give the other end its end of file; see `FdSocket.shutdown_write`."""
        self._raise_if_closed()
        self._out.is_ended = True
        self._out.wake_reader()

    # ---- reading --------------------------------------------------------------------------

    @property
    def placed(self) -> int:
        return 0

    @trio.lowlevel.enable_ki_protection
    def receive_now(self, most: int = RECEIVE_SIZE) -> tuple[memoryview, list[int], bool] | None:
        """Read what is there, up to the first descriptors; see `FdSocket.receive_now`."""
        got = self._gather(most, 1)
        if got is None:
            return None
        data, groups = got
        return data, groups[0][0] if groups else [], False

    @trio.lowlevel.enable_ki_protection
    def gather_now(
        self, most: int = RECEIVE_SIZE, place: memoryview | None = None
    ) -> tuple[memoryview, list[Group]] | None:
        """Read what is there, also behind descriptors; see `FdSocket.gather_now`."""
        return self._gather(most, _MOST_GROUPS)

    def _gather(self, most: int, most_groups: int) -> tuple[memoryview, list[Group]] | None:
        self._raise_if_closed()
        lane = self._in
        if not lane.pieces:
            self.is_full_read = False
            return (memoryview(b""), []) if lane.is_ended else None
        parts: list[Buffer] = []
        groups: list[Group] = []
        while lane.pieces and most and not (lane.pieces[0].fds and len(groups) == most_groups):
            piece = lane.take(most)
            most -= len(piece.data)
            parts.append(piece.data)
            if piece.fds:
                groups.append(([fd for fd in piece.fds if isinstance(fd, int)], False))
        self.is_full_read = bool(lane.pieces)
        lane.wake_writer()
        return memoryview(parts[0] if len(parts) == 1 else b"".join(parts)), groups

    def pending(self) -> int:
        """Return how many bytes are there to be read now."""
        return self._in.size

    async def wait_readable(self) -> None:
        """Wait until there is something to read; see `FdSocket.wait_readable`."""
        self._raise_if_closed()
        lane = self._in
        if lane.pieces or lane.is_ended:
            await trio.lowlevel.checkpoint()
            return
        lane.reader = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            lane.reader = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        self._raise_if_closed()

    def interrupt(self) -> None:
        """Have who waits to read look again; here its wait ends as if there were something."""
        self._in.wake_reader()

    # ---- the end --------------------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._is_closed

    def close(self) -> None:
        """Close this end; what was kept for later is gone. May be called again."""
        if self._is_closed:
            return
        self._is_closed = True
        self._queue.clear()
        self.unsent = 0
        self.stalled = False
        self._out.is_ended = True
        self._out.wake_reader()
        self._out.wake_writer()  # one of ours
        self._in.break_off()
        self._in.wake_reader()

    def _raise_if_closed(self) -> None:
        if self._is_closed:
            raise trio.ClosedResourceError("this end of the link is closed")


def memory_pair() -> tuple[MemorySocket, MemorySocket]:
    """Make two ends that are joined."""
    one, other = _Lane(), _Lane()
    return MemorySocket(one, other), MemorySocket(other, one)
