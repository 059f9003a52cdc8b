"""The files of a trace: made so that nobody else's is touched, and never larger than they may be.

Runs in: primary

Theory of operation
===================

*Two files.* ``PATH`` is the one being written. When it is full it becomes ``PATH.1``, in place of
the one that was that, and another ``PATH`` begins: what is kept is the latest, at least half of
what may be there. A trace of an earlier run that is found at ``PATH`` becomes ``PATH.1`` as well.

*Whose they are.* A file is only ever made anew (``O_EXCL``, never through a symbolic link), of mode
0600. What is there already is left alone, and that is an error, unless it is a trace (or empty), a
regular file, ours, has no other name, and is not locked by somebody who writes it. It is looked at
before it is opened, and again when it is: a FIFO would wait for a reader, a device may do anything.

*When it cannot be written* the last record that is whole is its end.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Sequence
from typing import Final, NoReturn, final

from .tracefile import OPENING, is_trace

__all__ = ["Store", "earlier"]

_END_ROOM: Final = 64
"""For the record that says that it is full."""
_MODE: Final = 0o600


def earlier(path: str) -> str:
    """Where the file before this one is."""
    return f"{path}.1"


@final
class Store:
    """Writes records.

    Args:
        path: of the newest file.
        size: bytes of both files together, at most.
        begin: gives the first record of a file, by its number and the bytes that it may have.
        end: gives the last one of a file that is full.

    Attributes:
        path: absolute.
        records: that were written, to all files.
        written: bytes in the file.
        part: its number.

    Raises:
        OSError: there is no such file to be had.
    """

    def __init__(
        self, path: str, size: int, begin: Callable[[int, int], bytes], end: Callable[[], bytes]
    ) -> None:
        self.path = os.path.abspath(path)
        self.part = 0
        self.records = 0
        self.written = 0
        self._most = size // 2
        self._begin = begin
        self._end = end
        self._fd = -1
        _move_away(self.path)
        self._open()

    def append(self, records: Sequence[bytes]) -> None:
        """Write records: with one system call, unless a file is full.

        Raises:
            OSError: they cannot be written, not all of them; nothing more can.
        """
        fitting: list[bytes] = []
        size = 0
        for record in records:
            if self.written + size + len(record) > self._most - _END_ROOM:
                self._write_all(fitting)
                fitting, size = [], 0
                self._turn_over()
            fitting.append(record)
            size += len(record)
        self._write_all(fitting)

    def close(self) -> None:
        """Close the file; may be called again."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):  # some file systems say only now what was lost
                fcntl.flock(self._fd, fcntl.LOCK_UN)  # also for a child that was forked elsewhere
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1

    def _write_all(self, records: Sequence[bytes]) -> None:
        if records:
            self._write(b"".join(records))
            self.records += len(records)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self.written)
            self.close()
            raise
        self.written += len(data)

    def _turn_over(self) -> None:
        """This file is full: go on in another."""
        self._write(self._end())
        try:
            if self._is_ours():
                _refuse_unless_trace(earlier(self.path))
                os.rename(self.path, earlier(self.path))
        finally:
            self.close()
        self._open()

    def _is_ours(self) -> bool:
        """Whether it is still our file that has the name; it may have been moved or removed."""
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return False
        ours = os.fstat(self._fd)
        return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self.path, flags, _MODE)
        try:
            with contextlib.suppress(OSError):  # not every file system has locks
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchmod(self._fd, _MODE)  # whatever the umask was
            self.part += 1
            self.written = 0
            self._write(OPENING + self._begin(self.part, self._most))
        except BaseException:
            self.close()
            raise


def _move_away(path: str) -> None:
    """Make room for a new trace."""
    if _refuse_unless_trace(path):
        _refuse_unless_trace(earlier(path))
        os.rename(path, earlier(path))


def _refuse_unless_trace(path: str) -> bool:
    """Tell whether there is a trace that nobody writes.

    Raises:
        OSError: there is something else.
    """
    try:
        _check(path, os.lstat(path))
    except FileNotFoundError:
        return False
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(path, flags)
    try:
        _check(path, os.fstat(fd))
        if not is_trace(os.read(fd, len(OPENING))):
            _refuse(errno.EEXIST, path, "it is there, and is no trace")
        if _is_locked(fd):
            _refuse(errno.EBUSY, path, "another primary writes it")
    finally:
        os.close(fd)
    return True


def _is_locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # not every file system has locks
        return False
    return False


def _check(path: str, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        _refuse(errno.ELOOP, path, "it is a symbolic link")
    if not stat.S_ISREG(found.st_mode):
        _refuse(errno.EINVAL, path, "it is no regular file")
    if found.st_uid != os.geteuid():
        _refuse(errno.EPERM, path, "it is another user's")
    if found.st_nlink != 1:
        _refuse(errno.EMLINK, path, "it has another name besides")


def _refuse(code: int, path: str, why: str) -> NoReturn:
    raise OSError(code, f"no trace can be written here: {why}", path)
