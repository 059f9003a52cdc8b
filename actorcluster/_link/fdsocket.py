"""FdSocket: bytes and descriptors over one Unix stream socket, without ever waiting halfway.

Runs in: both

This is the only file that calls ``sendmsg`` and ``recvmsg``. Writing and reading are plain calls
that do what can be done now; waiting is separate. So no cancellation can cut a frame in half, and
whoever reads decides itself when to wait.

*Groups.* The descriptors of one ``send_now`` leave together with the first of its bytes, and the
kernel never merges two sends that carry descriptors (AWP-FD-1). Where only part of the bytes was
taken the descriptors are gone already; the rest follows without them (AWP-FD-2). Bytes without
descriptors may follow in the same system call.

*Ownership.* Descriptors to send are borrowed: they must stay open until `groups_sent` has counted
their group. Where objects are given their numbers are asked for only then, so that what was closed
too early is an error, and never the wrong descriptor. Received ones belong to the caller from the
moment `receive_now` returns.

*ETOOMANYREFS* (too many descriptors in flight, counted per user) says nothing about this socket:
it is writable, and trying at once again would spin. It sets `stalled`; the caller pauses
(AWP-FD-8). A receiver without room for descriptors gets fewer of them and ``MSG_CTRUNC``,
reported as ``truncated``: a group that is lost, not an error of the stream.

Measured, 60-byte frames (Linux 6.18, CPython 3.11): ``send`` 1.15 us, ``sendmsg`` 1.44; 64 buffers
by ``sendmsg`` 6.7 us, joined first 3.2; above 8 KiB a buffer joining costs as much as it saves.
``recvmsg_into`` a reused buffer 2.4 us for 60 bytes and 14 for 200 kB; ``recvmsg`` the same and 16.
"""

from __future__ import annotations

import array
import errno
import fcntl
import mmap
import socket
import sys
import termios
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final, Protocol, TypeAlias, final

import attrs
import trio

from .handles import close_descriptors

__all__ = ["RECEIVE_SIZE", "Buffer", "Descriptor", "FdSocket", "Group"]

Buffer: TypeAlias = bytes | bytearray | memoryview


class _HasFileno(Protocol):
    def fileno(self) -> int: ...


Descriptor: TypeAlias = int | _HasFileno
#: Descriptors that one read brought, and whether some of them were lost on the way.
Group: TypeAlias = tuple[list[int], bool]
_Ancillary: TypeAlias = tuple[int, int, bytes]

#: The most that one read takes: two fragments of 256 KiB with their headers, or eight messages of
#: 64 KiB. A look at the socket costs as much as to decode one of these.
RECEIVE_SIZE: Final = 520 * 1024
#: So much is taken behind what is read to its place: the head of the next frame at least.
_BEHIND: Final = 4096
#: A Linux limit of 253 (SCM_MAX_FD) per call; one more is EINVAL.
_MAX_FDS: Final = 253
_INT: Final = array.array("i").itemsize
_ANCILLARY_SIZE: Final = socket.CMSG_SPACE(_MAX_FDS * _INT)
#: So many reads that bring descriptors are taken together: others want a turn, and what nobody
#: claims must not fill the table of open files.
_MOST_GROUPS: Final = 64
#: Linux' UIO_MAXIOV; more buffers in one call are EMSGSIZE.
_MAX_BUFFERS: Final = 1024
#: Buffers smaller than this on average are joined: cheaper than handing each to the kernel.
_JOIN_BELOW: Final = 4096

#: The kernel's way to say that the peer is gone (AWP-TR-6).
_GONE: Final = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN})
#: Passing shortages; not of buffer space, which is EAGAIN.
_SHORTAGE: Final = frozenset({errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM})

# Without it a program that restored SIGPIPE's default action would die of a dead worker.
_SEND_FLAGS: Final = int(socket.MSG_NOSIGNAL)
_RECEIVE_FLAGS: Final = int(socket.MSG_CMSG_CLOEXEC)
_TRUNCATED: Final = int(socket.MSG_CTRUNC)  # `&` with the enum member costs 0.6 us
_NOT_NOW: Final = -1
#: In place of the buffer of a socket that is closed.
_NO_BUFFER: Final = memoryview(bytearray())


@attrs.define(eq=False, repr=False)
class _Group:
    """What leaves together: bytes, and the descriptors that go with the first of them."""

    buffers: deque[Buffer]
    fds: Sequence[Descriptor]


@final
class FdSocket:
    """One end of a pipe that carries bytes and descriptors.

    Args:
        sock: a connected ``AF_UNIX`` stream socket, owned from now on; made non-blocking.

    Attributes:
        stalled: descriptors could not be sent for want of a resource that is not this socket's;
            pause, then `send_now` again.
        is_full_read: the last read probably left something behind.
        placed: bytes that the last read put where it was told to.
        sends: system calls that tried to write.
        receives: system calls that tried to read.
        groups_sent: groups of descriptors that have left.
        unsent: bytes kept for later.
    """

    __slots__ = (
        "_brings_many",
        "_buffer",
        "_buffers",
        "_queue",
        "_sock",
        "groups_sent",
        "is_full_read",
        "placed",
        "receives",
        "sends",
        "stalled",
        "unsent",
    )

    def __init__(self, sock: socket.socket) -> None:
        if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
            raise ValueError("a link needs an AF_UNIX stream socket")
        sock.setblocking(False)
        self._sock = sock
        self._queue: deque[_Group] = deque()
        self._buffer = memoryview(
            mmap.mmap(-1, RECEIVE_SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        )
        self._buffers = [self._buffer]
        self.stalled = False
        self.is_full_read = False
        self.placed = 0
        self._brings_many = False
        self.sends = 0
        self.receives = 0
        self.groups_sent = 0
        self.unsent = 0

    # ---- writing --------------------------------------------------------------------------

    # Ctrl-C between the kernel's taking and our noting it would send bytes twice.
    @trio.lowlevel.enable_ki_protection
    def send_now(self, buffers: Sequence[Buffer], fds: Sequence[Descriptor] = ()) -> bool:
        """Write what the socket takes now, and keep the rest for later. Never waits.

        While a rest is kept, what is given is put behind it, untried: the socket was full a
        moment ago. ``send_now(())`` writes on.

        Args:
            buffers: bytes in order; kept as they are, so they must not change afterwards.
            fds: 0 to 253 descriptors, or what has one, that go with the first byte; borrowed.

        Returns:
            True when nothing is left to write.

        Raises:
            trio.BrokenResourceError: the peer is gone; nothing is kept any more.
            trio.ClosedResourceError: `close` was called, or what had a descriptor is closed.
            OSError: a descriptor is not open, or the peer does not let any through. If this
                concerns what was kept before the call, the stream cannot go on.
            ValueError: descriptors without bytes, or more than 253; nothing was done.
        """
        size = len(buffers[0]) if len(buffers) == 1 else sum(map(len, buffers))
        if size == 0 and fds:  # the kernel would lose them without a word
            raise ValueError("descriptors need at least one byte to go with")
        if len(fds) > _MAX_FDS:
            raise ValueError(f"{len(fds)} descriptors, but {_MAX_FDS} can go at once")
        if size <= len(buffers) * _JOIN_BELOW and len(buffers) > 1:
            buffers = (b"".join(buffers),)
        if self._queue:
            if size == 0:
                return self._write_on()
            self._keep(buffers, fds, size)
            return False
        sent = self._send(buffers[:_MAX_BUFFERS], fds) if size else 0
        if sent == size:
            return True
        if sent == _NOT_NOW:
            self._keep(buffers, fds, size)
            return False
        self._keep(buffers, (), size)
        self._forget(self._queue[0], sent)
        return len(buffers) > _MAX_BUFFERS and self._write_on()

    def _send(self, buffers: Sequence[Buffer], fds: Sequence[Descriptor]) -> int:
        """Try one system call; returns the bytes taken, or _NOT_NOW."""
        sock = self._sock
        self.sends += 1
        self.stalled = False
        try:
            if fds:
                numbers = [fd if isinstance(fd, int) else fd.fileno() for fd in fds]
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", numbers))
                sent = sock.sendmsg(buffers, (rights,), _SEND_FLAGS)
                self.groups_sent += 1
                return sent
            if len(buffers) == 1:
                return sock.send(buffers[0], _SEND_FLAGS)
            return sock.sendmsg(buffers, (), _SEND_FLAGS)
        except BlockingIOError:
            return _NOT_NOW
        except OSError as exc:
            self._raise_unless_shortage(exc)
            self.stalled = True
            return _NOT_NOW

    def _raise_unless_shortage(self, exc: OSError) -> None:
        if self._sock.fileno() < 0:
            raise trio.ClosedResourceError("this end of the link is closed") from exc
        if exc.errno in _GONE:
            self._queue.clear()
            self.unsent = 0
            raise trio.BrokenResourceError("the other end of the link is closed") from exc
        if exc.errno not in _SHORTAGE:
            raise exc

    def _write_on(self) -> bool:
        queue = self._queue
        while queue:
            group = queue[0]
            buffers = list(islice(group.buffers, _MAX_BUFFERS))
            sent = self._send(buffers, group.fds)
            if sent == _NOT_NOW:
                return False
            group.fds = ()
            self._forget(group, sent)
            if sent < sum(map(len, buffers)):  # full; another try would only say so again
                return False
        return True

    def _keep(self, buffers: Sequence[Buffer], fds: Sequence[Descriptor], size: int) -> None:
        self._queue.append(_Group(deque(filter(len, buffers)), fds))
        self.unsent += size

    def _forget(self, group: _Group, sent: int) -> None:
        """Drop what was sent from the group, which is the first; nothing is copied."""
        self.unsent -= sent
        buffers = group.buffers
        while sent:
            first = buffers.popleft()
            if len(first) > sent:
                buffers.appendleft(memoryview(first)[sent:])
                return
            sent -= len(first)
        if not buffers:
            self._queue.popleft()

    async def wait_writable(self) -> None:
        """Wait until the socket takes bytes again.

        Raises:
            trio.ClosedResourceError: `close` was called, before or meanwhile.
        """
        self._raise_if_closed()
        await trio.lowlevel.wait_writable(self._sock)

    def shutdown_write(self) -> None:
        """Give the peer its end of file, behind what was written. Nothing happens if it is gone.

        Raises:
            trio.ClosedResourceError: `close` was called.
        """
        self._raise_if_closed()
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as exc:  # macOS says so when the peer is gone; Linux says nothing
            if exc.errno not in _GONE:
                raise

    # ---- reading --------------------------------------------------------------------------

    # Ctrl-C between the kernel's giving and ours would lose descriptors.
    @trio.lowlevel.enable_ki_protection
    def receive_now(
        self, most: int = RECEIVE_SIZE, place: memoryview | None = None
    ) -> tuple[memoryview, list[int], bool] | None:
        """Read what is there, up to the first descriptors. Never waits.

        Args:
            most: bytes to take, up to RECEIVE_SIZE; nothing where there is a place.
            place: where the first bytes go, how many `placed` says.

        Returns:
            None when nothing is there; else the other bytes (valid until the next call; if there
            are none at all it is the end of the stream), the descriptors, owned by the caller,
            and whether some of these were lost on the way.

        Raises:
            trio.ClosedResourceError: `close` was called.
        """
        self.is_full_read = False
        self.placed = 0
        if place is not None:
            most = len(place) + _BEHIND
            buffers = [place, self._buffer[:_BEHIND]]
        else:
            if most != len(self._buffers[0]):
                self._buffers = [self._buffer[:most]]
            buffers = self._buffers
        try:
            size, ancillary, flags = self._receive(buffers)
        except BlockingIOError:
            return None
        except OSError as exc:
            self._raise_if_closed()
            if exc.errno in _GONE:  # AWP-TR-6; all that the peer sent before has been read
                return self._buffer[:0], [], False
            raise
        fds = _descriptors(ancillary) if ancillary else []
        truncated = flags & _TRUNCATED != 0
        # The kernel stops reading behind descriptors, whatever there is.
        self.is_full_read = size == most or bool(ancillary) or truncated
        if place is not None:
            self.placed = min(size, len(place))
            size -= self.placed
        return self._buffer[:size], fds, truncated

    @trio.lowlevel.enable_ki_protection
    def gather_now(
        self, most: int = RECEIVE_SIZE, place: memoryview | None = None
    ) -> tuple[memoryview, list[Group]] | None:
        """Read what is there, also behind descriptors. Never waits.

        Args:
            most: as for `receive_now`.
            place: likewise; nothing is read behind descriptors then.

        Returns:
            None when nothing is there; else the bytes, and the descriptors of each read that
            brought any, with whether some were lost; for all else see `receive_now`.

        Raises:
            trio.ClosedResourceError: `close` was called.
        """
        first = self.receive_now(most, place)
        if first is None:
            return None
        data, fds, truncated = first
        if not fds and not truncated:
            return data, []
        if place is not None:
            return data, [(fds, truncated)]
        # To ask whether there is more costs less than to try in vain, unless there mostly is.
        if not self._brings_many and not self.pending():
            self.is_full_read = False
            return data, [(fds, truncated)]
        groups, size, count = [(fds, truncated)], len(data), len(fds)
        while size < most and len(groups) < _MOST_GROUPS and count < _MAX_FDS:
            try:
                more, ancillary, flags = self._receive([self._buffer[size:most]])
            except BlockingIOError:
                self.is_full_read = False
                break
            except OSError:  # the next read will say so, and what is here is not lost
                break
            size += more
            truncated = flags & _TRUNCATED != 0
            if not ancillary and not truncated:
                # The end of the stream is for the next read to tell.
                self.is_full_read = size == most or not more
                break
            fds = _descriptors(ancillary)
            groups.append((fds, truncated))
            count += len(fds)
        self._brings_many = len(groups) > 1
        return self._buffer[:size], groups

    def _receive(self, buffers: list[memoryview]) -> tuple[int, Sequence[_Ancillary], int]:
        self.receives += 1
        return self._sock.recvmsg_into(buffers, _ANCILLARY_SIZE, _RECEIVE_FLAGS)[:3]

    def pending(self) -> int:
        """Return how many bytes are there to be read now."""
        return int.from_bytes(fcntl.ioctl(self._sock, termios.FIONREAD, bytes(4)), sys.byteorder)

    async def wait_readable(self) -> None:
        """Wait until there is something to read, the end of the stream included.

        Raises:
            trio.ClosedResourceError: `close` was called, before or meanwhile.
        """
        self._raise_if_closed()
        await trio.lowlevel.wait_readable(self._sock)

    def interrupt(self) -> None:
        """Have who waits here look again: their wait ends with `trio.ClosedResourceError`."""
        trio.lowlevel.notify_closing(self._sock)

    # ---- the end --------------------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._sock.fileno() < 0

    def close(self) -> None:
        """Close the socket; what was kept for later is gone. May be called again."""
        if self._sock.fileno() < 0:
            return
        if trio.lowlevel.in_trio_run():
            trio.lowlevel.notify_closing(self._sock)
        self._sock.close()
        # Whatever holds this for longer, it has no use for that much memory.
        self._buffer = _NO_BUFFER
        self._buffers = [_NO_BUFFER]
        self._queue.clear()
        self.unsent = 0
        self.stalled = False

    def _raise_if_closed(self) -> None:
        if self._sock.fileno() < 0:
            raise trio.ClosedResourceError("this end of the link is closed")


def _descriptors(ancillary: Sequence[_Ancillary]) -> list[int]:
    """Take the descriptors out of every control message; all are closed if one is malformed."""
    fds: list[int] = []
    try:
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds += memoryview(data)[: len(data) - len(data) % _INT].cast("i")
    except BaseException:
        close_descriptors(fds)
        raise
    return fds
