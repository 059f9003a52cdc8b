"""A unix socket at a path: nobody is let in too early, and nobody's file is taken away.

Runs in: both

Theory of operation
===================

*Mode.* The umask is the whole process's, so it is left alone. The kernel makes the file with the
mode of the socket less the umask: the socket's is set before, so the file is never more open than
asked for. What the umask took away is given back before ``listen()``; until then nobody can
connect.

*A file that is there already.* Whoever is killed leaves his behind. It is replaced if it is a
socket, belongs to us, no socket has its name, and it refuses connections. All else is left alone,
and the address is in use: other kinds of files, links, others' sockets.

*Two at once.* Between the look at a file and ``listen()`` on the one in its place nobody may do the
same: two primaries that find the same dead file would each remove the other's. So the directory is
locked meanwhile. Such a lock is the kernel's: it leaves no file, and ends with whoever has it. A
directory that cannot be locked is good enough for a new file, but nothing is replaced in it.

*The end.* The file is removed while the socket still listens, so that nobody takes it for dead and
replaces it before it is removed; and only if it is still the one that was made. Where that could
not be done, for the primary was killed, its fork server does it afterwards: then the socket must be
dead besides, as for whoever replaces it, for another file may have got the number of the old one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from typing import Final

__all__ = ["PRIVATE", "PRIVATE_FILE", "bind_unix", "remove_orphan", "remove_socket"]

PRIVATE: Final = "actorcluster-"
"""The name of a directory that we made for one socket begins so ..."""
PRIVATE_FILE: Final = "channel"
"""... and this is the socket's."""

#: Longest path that fits into a socket address, whose last byte is a NUL.
_LONGEST: Final = 107

_LOCK_SECONDS: Final = 0.1
"""So long another primary's lock is waited for; it takes a hundredth of that."""
_LOCK_PAUSE: Final = 0.001
_UNCONNECTED: Final = b"01"  # the state of a socket, in /proc/net/unix
_PATH_FLAGS: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def bind_unix(path: str, mode: int | None, backlog: int) -> tuple[socket.socket, tuple[int, int]]:
    """Listen on a path.

    Args:
        path: absolute.
        mode: permission bits of the file; None leaves them to the umask.
        backlog: clients that may wait.

    Returns:
        The socket, non-blocking, and device and inode of its file.

    Raises:
        OSError: the path is too long, in use, or whatever else the kernel says.
    """
    with _locked(os.path.dirname(path)) as is_locked:
        try:
            return _bind(path, mode, backlog)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or not (is_locked and _remove_dead(path)):
                raise
        return _bind(path, mode, backlog)


def remove_socket(path: str, file: tuple[int, int]) -> None:
    """Remove the file of a socket that still listens, unless another has taken its place."""
    with contextlib.suppress(OSError):
        if _identity(os.lstat(path)) == file:
            os.unlink(path)


def remove_orphan(path: str, file: tuple[int, int]) -> None:
    """Remove the file of a socket whose primary was killed, if it is that one and nobody has it.

    With it goes a directory that was made for it.
    """
    with contextlib.suppress(OSError), _locked(os.path.dirname(path)) as is_locked:
        if is_locked and _identity(os.lstat(path)) == file:
            _remove_dead(path)
    directory, name = os.path.split(path)
    if name == PRIVATE_FILE and os.path.basename(directory).startswith(PRIVATE):
        with contextlib.suppress(OSError):  # something is in it
            os.rmdir(directory)


def _bind(path: str, mode: int | None, backlog: int) -> tuple[socket.socket, tuple[int, int]]:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    file = None
    try:
        sock.setblocking(False)
        if mode is not None:
            os.fchmod(sock.fileno(), mode)
        sock.bind(_shortest(path))
        found = os.lstat(path)
        file = _identity(found)
        if mode is not None and stat.S_IMODE(found.st_mode) != mode:
            _give_mode(path, file, mode)
        sock.listen(backlog)
    except BaseException:
        if file is not None:
            remove_socket(path, file)
        sock.close()
        raise
    return sock, file


def _shortest(path: str) -> str:
    """The path itself, or the way there from our directory if only that fits into an address."""
    if len(os.fsencode(path)) <= _LONGEST:
        return path
    with contextlib.suppress(OSError):  # our directory was removed
        relative = os.path.relpath(path)
        if len(os.fsencode(relative)) <= _LONGEST:
            return relative
    raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)


def _give_mode(path: str, file: tuple[int, int], mode: int) -> None:
    """Set the mode of this very file: its path may be another's by now, or a link."""
    with _opened(path) as (fd, found):
        if _identity(found) != file:
            raise OSError(errno.ENOENT, "it was replaced by another file at once", path)
        os.chmod(f"/proc/self/fd/{fd}", mode)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[int, os.stat_result]]:
    """Hold on to a file itself: no other gets its inode in the block."""
    fd = os.open(path, _PATH_FLAGS)
    try:
        yield fd, os.fstat(fd)
    finally:
        os.close(fd)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def _locked(directory: str) -> Iterator[bool]:
    """Keep other primaries from binding in a directory; gives whether that could be had."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        yield _lock(fd)
    finally:
        os.close(fd)


def _lock(fd: int) -> bool:
    until = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(_LOCK_PAUSE)
        except OSError:  # this file system has no locks
            return False
        else:
            return True


def _remove_dead(path: str) -> bool:
    """Remove a socket file that nobody is behind any more; returns whether there is none now."""
    try:
        with _opened(path) as (fd, found):
            is_ours = stat.S_ISSOCK(found.st_mode) and found.st_uid == os.geteuid()
            if not is_ours or _is_alive(fd, path):
                return False
            if _identity(os.lstat(path)) == _identity(found):
                os.unlink(path)
    except FileNotFoundError:  # somebody has removed it
        return True
    except OSError:
        return False
    return True


def _is_alive(fd: int, path: str) -> bool:
    """Whether somebody listens behind a socket file, or is about to.

    Who is asked by connecting has a client that leaves at once; hence the look at all names first.
    It does not see those in other network namespaces, nor who had another name for the file.
    """
    if _is_bound(path):
        return True
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(f"/proc/self/fd/{fd}")
        except ConnectionRefusedError:
            return False
        except OSError:  # it is of another type, or its backlog is full
            return True
    return True


def _is_bound(path: str) -> bool:
    """Whether a socket has that name, one that listens or does not yet."""
    names = {os.fsencode(path)}
    with contextlib.suppress(OSError):  # from here it has no other
        names.add(os.fsencode(_shortest(path)))
    with contextlib.suppress(OSError), open("/proc/net/unix", "rb") as table:
        for line in table:
            fields = line.rstrip(b"\n").split(None, 7)
            if len(fields) > 7 and fields[5] == _UNCONNECTED and fields[7] in names:
                return True
    return False
