"""Our ends of a worker's streams: never in its way, and readable when it has ended.

Runs in: primary

Theory of operation
===================

*What it prints.* A task of its life reads its stdout and stderr as it writes, and keeps `RING`
bytes of each. So a worker that nobody listens to goes on: when the ring is full, the oldest bytes
are dropped, and counted. Somebody who does read slows the worker down to his pace instead, as a
pipe would, until he has not read for `PATIENCE` seconds.

*Further streams* (stdio[3] and higher) are between the worker and whoever asked for them. Nobody
reads them unasked, and nothing is dropped.

*After its end.* A `Worker` stays readable after its end, and nobody can say when the last one lets
go of it. So when the process has ended, what is still in a pipe is read, no more than a pipe holds,
and the pipe is closed; whoever reads the stream later finds it there. Where others have the pipe
too, processes that the worker started, it stays open, and nobody reads it unasked any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
from collections.abc import Iterator
from typing import Final, TypeAlias, final

import trio
from trio.lowlevel import FdStream, ParkingLot

__all__ = ["PATIENCE", "RING", "Duplex", "Input", "Output", "Stream"]

RING: Final = 256 * 1024
"""So many bytes of a stdout or stderr are kept for whoever reads it later."""
PATIENCE: Final = 1.0
"""Seconds without a read after which a reader is given up."""
_SLICES: Final = 10
"""In so many the patience is divided: while we are held up ourselves only one of them passes."""
_PIECE: Final = 64 * 1024
_MOST: Final = 1024 * 1024
"""So much is kept at the end: a pipe holds no more, but others may go on writing."""


@final
class Output(trio.abc.ReceiveStream):
    """What a worker writes.

    Args:
        fd: our end of the pipe; ours to close from now on.
        has_ring: `run` will be called.

    Attributes:
        dropped: bytes that nobody read in time.
    """

    def __init__(self, fd: int, *, has_ring: bool = False) -> None:
        self._pipe = FdStream(fd)
        self._kept = bytearray()
        self._has_ring = has_ring
        self._is_over = False
        self._is_closed = False
        self._is_read = False  # somebody is in receive_some()
        self._has_ended = False
        self._is_given_up = True  # nobody has ever read
        self._news = ParkingLot()
        self._room = ParkingLot()
        self.dropped = 0

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive what there is, as of any stream."""
        size = _PIECE if max_bytes is None else max_bytes
        if size < 1:
            raise ValueError("max_bytes must be integer >= 1")
        if self._is_read:
            raise trio.BusyResourceError("another task is receiving from this stream")
        self._is_read = True
        self._is_given_up = False
        try:
            while not (self._kept or self._is_over):
                if self._is_closed:
                    await trio.lowlevel.checkpoint()
                    raise trio.ClosedResourceError("this stream was closed")
                if not self._has_ring:
                    return await self._receive(max_bytes)
                await self._news.park()
            await trio.lowlevel.checkpoint()
            data = bytes(self._kept[:size])
            del self._kept[:size]
            self._room.unpark_all()
            return data
        finally:
            self._is_read = False
            if not self._kept:
                self._settle()

    async def _receive(self, max_bytes: int | None) -> bytes:
        while True:
            try:
                return await self._pipe.receive_some(max_bytes)
            except trio.BrokenResourceError as exc:
                # A socket says once what its other end left unread; then it is at its end.
                if not isinstance(exc.__cause__, ConnectionResetError):
                    raise

    async def aclose(self) -> None:
        """Close it; what nobody has read is gone."""
        self._kept.clear()
        self._is_over = False
        self._is_closed = True
        self._wake()
        await self._pipe.aclose()

    # ---- the ring -------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection  # an interrupt is the body's to hear
    async def run(self) -> None:
        """Keep what comes, up to its end or ours.

        Cancellation:
            Call `ended`.
        """
        with contextlib.suppress(trio.ClosedResourceError):
            while not self._is_over:
                await self._wait_for_room()
                data = await self._pipe.receive_some(_PIECE)
                self._kept += data
                excess = len(self._kept) - RING
                if excess > 0 and self._is_given_up:
                    del self._kept[:excess]
                    self.dropped += excess
                self._is_over = not data
                self._news.unpark_all()
            self._pipe.close()

    async def _wait_for_room(self) -> None:
        """Wait until there is some, or nobody will make any."""
        slices = _SLICES
        while len(self._kept) >= RING and not self._is_given_up:
            with trio.move_on_after(PATIENCE / _SLICES) as patience:
                await self._room.park()
            slices = slices - 1 if patience.cancelled_caught else _SLICES
            self._is_given_up = not slices

    def _wake(self) -> None:
        self._news.unpark_all()
        self._room.unpark_all()

    # ---- the end --------------------------------------------------------------------------

    def ended(self) -> None:
        """The worker's process has ended."""
        self._has_ended = True
        if self._has_ring or not self._is_read:
            self._settle()
        self._has_ring = False
        self._wake()

    def _settle(self) -> None:
        """Read the pipe up to its end, and close it."""
        if not self._has_ended or self._pipe.fileno() < 0:
            return
        with contextlib.suppress(BlockingIOError):  # others have it
            while data := self._read():
                self._kept += data
                if len(self._kept) > _MOST:
                    return
            self._is_over = True
            self._pipe.close()

    def _read(self) -> bytes:
        try:
            return os.read(self._pipe.fileno(), _PIECE)
        except ConnectionResetError:
            return b""


@final
class Input(trio.abc.SendStream):
    """What a worker reads.

    Args:
        fd: our end of the pipe; ours to close from now on.
    """

    def __init__(self, fd: int) -> None:
        self._pipe = FdStream(fd)
        self._is_broken = False
        self._is_written = False
        self._has_ended = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send, as to any stream."""
        await self._check()
        with self._writing():
            await self._pipe.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until something can be sent, as to any stream."""
        await self._check()
        with self._writing():
            await self._pipe.wait_send_all_might_not_block()

    def shut_down(self) -> None:
        """Of a socket: the worker reads the end of the file, whoever else has our end.

        Raises:
            trio.BusyResourceError: somebody is sending.
        """
        if self._is_written:
            raise trio.BusyResourceError("another task is sending to this stream")
        if self._pipe.fileno() >= 0:
            sock = socket.socket(fileno=self._pipe.fileno())
            try:
                with contextlib.suppress(OSError):  # it is at its end anyway
                    sock.shutdown(socket.SHUT_WR)
            finally:
                sock.detach()

    async def aclose(self) -> None:
        """Close it: the worker reads the end of the file."""
        self._is_broken = False
        await self._pipe.aclose()

    def ended(self) -> None:
        """The worker's process has ended."""
        self._has_ended = True
        self._settle()

    async def _check(self) -> None:
        if self._is_broken:
            await trio.lowlevel.checkpoint()
            raise trio.BrokenResourceError("the worker has ended")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        was_written, self._is_written = self._is_written, True
        try:
            yield
        finally:
            self._is_written = was_written
            self._settle()

    def _settle(self) -> None:
        """Close the pipe if nobody is left who could read it."""
        if not self._has_ended or self._is_written or self._pipe.fileno() < 0:
            return
        poll = select.poll()
        poll.register(self._pipe.fileno(), 0)  # no reader left is an error, and always told
        if poll.poll(0):
            self._is_broken = True
            self._pipe.close()


@final
class Duplex(trio.abc.HalfCloseableStream):
    """A stream both ways: what a worker has as descriptor 3 or higher.

    Args:
        fd: our end of the socket; ours to close from now on.

    Raises:
        OSError: no descriptor is left; then it is closed.
    """

    def __init__(self, fd: int) -> None:
        self._output = Output(fd)
        try:
            self._input = Input(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0))
        except BaseException:
            os.close(fd)
            raise

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive what there is, as of any stream."""
        return await self._output.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send, as to any stream."""
        await self._input.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until something can be sent, as to any stream."""
        await self._input.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Say that nothing more will be sent: the worker reads the end of the file."""
        self._input.shut_down()
        await self._input.aclose()

    async def aclose(self) -> None:
        """Close it, both ways."""
        try:
            await self._input.aclose()
        finally:
            await self._output.aclose()

    def ended(self) -> None:
        """The worker's process has ended."""
        self._input.ended()
        self._output.ended()


Stream: TypeAlias = Input | Output | Duplex
