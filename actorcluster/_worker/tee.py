"""A worker's stderr on its way to ours, with its last words kept.

Runs in: primary

Theory of operation
===================

The worker writes into a pipe, and a task of its life reads it: a piece at a time, so that nobody
else waits for longer than a piece takes. Each piece goes to the `LastLines` of that worker, and
then to the primary's own stderr, the `Outlet`, that all workers share.

Nothing here ever blocks. Our stderr may be a pipe, terminal or socket that others have open, too:
making it non-blocking would do that to all of them. So a pipe or terminal is opened once more for
this alone, and a socket is written with a flag. As long as somebody reads there, the worker is
slowed down to his pace, as if it had inherited our stderr. When for `PATIENCE` seconds nobody has
read anything, what comes is counted and dropped until there is room; then a line says how much it
was.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import stat
from collections.abc import Callable
from typing import Final, TypeAlias, final

import trio

from .lastlines import LastLines

__all__ = ["Outlet", "Tee"]

PATIENCE: Final = 0.5
"""Seconds for which a stderr that nobody reads is waited for."""
_LAST_PATIENCE: Final = 1.0
"""Seconds in which the last words have to be shown: so long the end of a life can be put off."""
_PIECE: Final = 64 * 1024
_PIECES_LEFT: Final = 16
"""So often a pipe is read after the worker's end: others may write there for ever."""
_STDERR: Final = 2
_ATOMIC: Final = select.PIPE_BUF

_Write: TypeAlias = Callable[[int, memoryview], int]


@final
class Outlet:
    """Our own stderr, written to without ever blocking."""

    def __init__(self) -> None:
        self._fd = -1
        self._write: _Write = os.write
        self._what: tuple[int, int, int] | None = None
        self._turn = trio.Lock()
        self._is_stuck = False
        self._swallowed = 0

    def open(self) -> None:
        """Open what our descriptor 2 is now; to be called for each worker.

        Whoever puts another file there means the workers that start from then on, as if they
        inherited it.

        Raises:
            OSError: no descriptor is left.
        """
        found = _stderr()
        if found is None:
            self.close()
            return
        what = found.st_dev, found.st_ino, found.st_rdev
        if what != self._what:
            fd, write = _open(found.st_mode)
            self.close()
            self._fd, self._write, self._what = fd, write, what

    def close(self) -> None:
        """Close it; what is written from now on is shown nowhere."""
        self._confess()
        if self._fd >= 0:
            trio.lowlevel.notify_closing(self._fd)
            os.close(self._fd)
        self._fd, self._what, self._is_stuck = -1, None, False

    async def write_some(self, data: memoryview) -> tuple[int, int]:
        """Write a part of it, waiting for whoever reads there as long as somebody does.

        Returns:
            How many bytes that part has, and how many of those are dropped.

        Cancellation:
            Nothing was written.
        """
        async with self._turn:
            self._confess()
            while self._fd >= 0:
                try:
                    written = self._write(self._fd, data)
                except BlockingIOError:
                    if not await self._has_room():
                        break
                except OSError:  # nobody will ever read it
                    break
                else:
                    self._is_stuck = False
                    return written, 0
            self.drop(data)
            return len(data), len(data)

    def drop(self, data: memoryview) -> None:
        """Count what could not be written."""
        self._swallowed += len(data)

    async def _has_room(self) -> bool:
        """Wait until more can be written; False if nobody reads."""
        if self._is_stuck:
            return False
        with trio.move_on_after(PATIENCE):
            with contextlib.suppress(trio.ClosedResourceError):  # there is another one now
                await trio.lowlevel.wait_writable(self._fd)
            return True
        self._is_stuck = True
        return False

    def _confess(self) -> None:
        """Say how much was dropped, once there is room."""
        if self._swallowed and self._fd >= 0:
            text = f"\n[actorcluster: {self._swallowed} bytes of stderr were dropped here]\n"
            with contextlib.suppress(OSError):
                self._write(self._fd, memoryview(text.encode()))
                self._swallowed = 0


def _stderr() -> os.stat_result | None:
    """What is there, if it is meant for children, too: else it is any file with a free number."""
    try:
        return os.fstat(_STDERR) if os.get_inheritable(_STDERR) else None
    except OSError:
        return None


def _open(mode: int) -> tuple[int, _Write]:
    """Open our descriptor 2 once more, so that writing there does not block."""
    if stat.S_ISSOCK(mode):
        return _copy(), _send
    if stat.S_ISREG(mode):  # the copy shares its position
        return _copy(), os.write
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        return os.open(f"/proc/self/fd/{_STDERR}", flags), os.write
    except OSError as exc:
        if exc.errno in (errno.EMFILE, errno.ENFILE):
            raise
        return _copy(), _write_if_ready  # no right to: it was opened as another user


def _copy() -> int:
    fd = os.dup(_STDERR)
    os.set_inheritable(fd, False)
    return fd


def _send(fd: int, data: memoryview) -> int:
    sock = socket.socket(fileno=fd)
    try:
        return sock.send(data, socket.MSG_DONTWAIT)
    finally:
        sock.detach()


def _write_if_ready(fd: int, data: memoryview) -> int:
    """Nearly as good: it blocks if another process takes the room in between."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    if not poll.poll(0):
        raise BlockingIOError
    return os.write(fd, data[:_ATOMIC])


@final
class Tee:
    """The stderr of one worker.

    Args:
        fd: our end of the pipe; closed here from now on.
        outlet: where it goes on to.

    Attributes:
        last: what it wrote in the end.
        unshown: bytes that our own stderr did not take.
    """

    def __init__(self, fd: int, outlet: Outlet) -> None:
        os.set_blocking(fd, False)
        self.last = LastLines()
        self.unshown = 0
        self._fd = fd
        self._outlet = outlet
        self._rest = memoryview(b"")

    @trio.lowlevel.enable_ki_protection  # an interrupt is the body's to hear
    async def run(self) -> None:
        """Pass on what comes, up to its end.

        Cancellation:
            Call `finish`.
        """
        while True:
            try:
                data = self._read()
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._fd)
                continue
            if not data:
                return
            self._rest = memoryview(data)
            await self._show()

    async def finish(self) -> None:
        """Pass on what is still there when the worker has ended, and close the pipe.

        Others who have it open, too, are not waited for.
        """
        left = [bytes(self._rest)]
        with contextlib.suppress(BlockingIOError):
            while len(left) <= _PIECES_LEFT and (data := self._read()):
                left.append(data)
        self.close()
        self._rest = memoryview(b"".join(left))
        with trio.move_on_after(_LAST_PATIENCE):
            await self._show()
        self._outlet.drop(self._rest)
        self.unshown += len(self._rest)
        self._rest = memoryview(b"")

    def close(self) -> None:
        """Close the pipe. Whoever still writes there gets an error."""
        if self._fd >= 0:
            trio.lowlevel.notify_closing(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> bytes:
        data = os.read(self._fd, _PIECE)
        self.last.feed(data)
        return data

    async def _show(self) -> None:
        while self._rest:
            size, dropped = await self._outlet.write_some(self._rest)
            self._rest = self._rest[size:]
            self.unshown += dropped
