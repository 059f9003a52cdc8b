"""Our end of the connection: raw bytes and descriptors out, frames in, and a note of all of it.

Runs in: both

A task reads all the time, so that a case that writes much cannot wait for a worker that waits for
it; a case that wants to be read from slowly, or not at all, says so by `hold`. What is written can
be cut into pieces. A piece is held back until the one before it has left the socket: so the other
side really reads it in pieces, whatever it does with them.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import random
import socket
import struct
import termios
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import attrs
import trio

from .frames import Cutter, Heard, Marker
from .lane import Lane

__all__ = ["Line", "Step"]

_ROOM: Final = socket.CMSG_SPACE(253 * 4)
_READ: Final = 65536
_EDGE: Final = 48  # so many bytes at either end of a large write go one by one
_DRAIN_SECONDS: Final = 1.0
_ENDS: Final = (errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN, errno.ENOTCONN)


@attrs.frozen
class Step:
    """Something that was said.

    Attributes:
        to_worker: whether the worker heard it.
        fds: names of the descriptors that went with it.
    """

    to_worker: bool
    at: float
    data: bytes
    fds: tuple[str, ...] = ()


class Line:
    """One end of a connection.

    Args:
        end: a non-blocking socket, which stays the caller's.
        way: how to cut what is written: "whole", "bytewise" or "random".
        seed: of the random cuts.
        on_frame: is told of each frame that has come.
        lane: our end of the way for descriptors, likewise; None: they go beside the bytes.
    """

    def __init__(
        self,
        end: socket.socket,
        way: str,
        seed: int,
        on_frame: Callable[[Heard], None],
        lane: socket.socket | None = None,
    ) -> None:
        self._end = end
        self.lane = None if lane is None else Lane(lane, self._deal)
        self._marker = Marker()
        self._way = way
        self._random = random.Random(seed)  # noqa: S311  (for cuts, not for keys)
        self._on_frame = on_frame
        self._began = trio.current_time()
        self._news = trio.Event()
        self._may_read = trio.Event()
        self._may_read.set()
        self.cutter = Cutter(self.lane)
        self.steps: list[Step] = []
        self.ended: str | None = None
        """How the other side's stream has ended: "eof" or "reset"."""
        self.is_refused = False
        """Whether a write found that nobody reads any more."""
        self.read_size = _READ
        self.group_offsets: list[int] = []
        """Where in the stream descriptors came; exact while `read_size` is 1."""
        self.received = 0

    def now(self) -> float:
        """Seconds since the beginning."""
        return trio.current_time() - self._began

    # ---- reading --------------------------------------------------------------------------

    def hold(self) -> None:
        """Read nothing from now on."""
        self._may_read = trio.Event()

    def go_on(self) -> None:
        """Read again."""
        self._may_read.set()

    async def news(self) -> None:
        """Wait until something has come, or the stream has ended."""
        await self._news.wait()

    async def read_forever(self) -> None:
        """Read until the stream ends, and from the lane for as long."""
        async with trio.open_nursery() as nursery:
            if self.lane is not None:
                nursery.start_soon(self.lane.read_forever)
            await self._read_stream()
            nursery.cancel_scope.cancel()

    async def _read_stream(self) -> None:
        try:
            while True:
                await self._may_read.wait()
                if self.ended is not None:
                    return
                await trio.lowlevel.wait_readable(self._end)
                if self._may_read.is_set():
                    self.read_now()
        except trio.ClosedResourceError:
            self._finish("closed")

    def read_now(self) -> None:
        """Take what is there, without waiting."""
        while self.ended is None:
            try:
                data, ancillary, _, _ = self._end.recvmsg(self.read_size, _ROOM)
            except BlockingIOError:
                return
            except OSError as exc:
                if exc.errno not in _ENDS:
                    raise
                self._finish("reset")
                return
            groups = _groups_in(ancillary)
            if groups:
                self.group_offsets.append(self.received)
                self.cutter.add_group(groups)
            if not data:
                self._finish("eof")
                return
            self.received += len(data)
            self._take(data)

    def _take(self, data: bytes) -> None:
        for heard in self.cutter.feed(data, self.now()):
            names = tuple(f"fd{number}" for number in range(len(heard.fds)))
            self.steps.append(Step(False, heard.at, heard.raw, names))
            self._on_frame(heard)
        self._tell()

    def _deal(self) -> None:
        """Handles have come by the lane, for which frames may have waited."""
        self._take(b"")

    def _finish(self, how: str) -> None:
        self.ended = how
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    # ---- writing --------------------------------------------------------------------------

    async def write(
        self, data: bytes, fds: Sequence[int] = (), names: Sequence[str] = (), *, way: str = ""
    ) -> None:
        """Write it; a descriptor goes with its first byte. That nobody reads is not an error.

        Where there is a lane, descriptors go by that, before the bytes.
        """
        if self.lane is not None:
            data = self._marker.marked(data)
            if fds:
                await self.lane.send(fds)
                fds = ()
        self.steps.append(Step(True, self.now(), data, tuple(names)))
        pieces = list(self._cut(data, way or self._way))
        for index, piece in enumerate(pieces):
            await self._write_piece(piece, fds if index == 0 else ())
            if index + 1 < len(pieces):
                await self.drained()

    async def write_beside(self, data: bytes, fd: int) -> None:
        """Write it with a descriptor beside its bytes although there is a lane."""
        data = self._marker.marked(data)
        self.steps.append(Step(True, self.now(), data, ("beside",)))
        await self._write_piece(data, [fd])

    async def _write_piece(self, piece: bytes, fds: Sequence[int]) -> None:
        view = memoryview(piece)
        rights: list[Any] = []
        if fds:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        while view and not self.is_refused:
            try:
                sent = self._end.sendmsg([view], rights, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                try:
                    await trio.lowlevel.wait_writable(self._end)
                except trio.ClosedResourceError:
                    return
                continue
            except OSError as exc:
                if exc.errno not in _ENDS:
                    raise
                self.is_refused = True
                return
            view, rights = view[sent:], []
        await trio.lowlevel.checkpoint()

    def _cut(self, data: bytes, way: str) -> Iterable[bytes]:
        if way == "whole" or len(data) < 2:
            return [data]
        if way == "random":
            count = min(len(data) - 1, self._random.randint(1, 8))
            cuts = sorted(self._random.sample(range(1, len(data)), count))
        else:
            cuts = [at for at in range(1, len(data)) if at < _EDGE or at > len(data) - _EDGE]
        return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]

    async def drained(self) -> None:
        """Wait until the other side has read it all; one that does not read is not waited for."""
        with trio.move_on_after(_DRAIN_SECONDS):
            while self.unread() and self.ended is None:  # noqa: ASYNC110  (the kernel tells nobody)
                await trio.sleep(0.0003)

    def unread(self) -> int:
        """How much of what we wrote waits in the kernel, in its own measure."""
        raw = fcntl.ioctl(self._end.fileno(), termios.TIOCOUTQ, b"\0" * 4)
        left: int = struct.unpack("i", raw)[0]
        return left

    def waiting(self) -> int:
        """How many bytes wait to be read."""
        left: int = struct.unpack("i", fcntl.ioctl(self._end.fileno(), termios.FIONREAD, bytes(4)))[
            0
        ]
        return left

    def shut_down(self) -> None:
        """Say that nothing more comes."""
        try:
            self._end.shutdown(socket.SHUT_WR)
        except OSError as exc:
            if exc.errno not in _ENDS:
                raise

    def close(self) -> None:
        """Close our end."""
        self.is_refused = True
        self._finish("closed")
        self.go_on()
        trio.lowlevel.notify_closing(self._end)
        self._end.close()

    def close_descriptors(self, frames: Iterable[Heard]) -> None:
        """Close what has come and was taken by nobody."""
        if self.lane is not None:
            self.lane.close_descriptors()
        for fd in {*self.cutter.take_groups(), *(fd for heard in frames for fd in heard.fds)}:
            try:
                os.close(fd)
            except OSError:
                continue  # the case has closed it


def _groups_in(ancillary: Iterable[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return fds.tolist()
