"""Handle: one open descriptor, one owner, closed exactly once.

Runs in: both

Theory of operation
===================

A message may carry descriptors, and each has one owner at any moment. `Handle` is that owner: it
is turned into something useful (``into_...``, ``detach``), sent, or closed, and each of these ends
it. One that is merely forgotten says so with a ``ResourceWarning`` and closes.

*Sending* has two steps, see `staging`: what is staged has not changed yet, and `commit_all` takes
all of it or, if one duplicate cannot be had, nothing.

*Receiving* must be cheap (accepted connections arrive this way, many at a time), so a received
handle believes what its giver declared until it is used. Then the kernel is asked, and a false
declaration is a `HandleError` (AWP-HA-2); such a handle can still be closed or detached. Where
nothing was promised (``opaque``, or a kind of a newer minor version) the kernel's answer is taken.

``O_NONBLOCK`` and the file position belong to what is shared, not to the descriptor (AWP-FD-9).
Hence sockets are made non-blocking by their giver, at the commit, also with ``keep_open``; a
receiver refuses a shared one that is not, and of a shared pipe it opens a description of its own.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import socket
import stat
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO, Final, cast, final

import attrs
import trio

from ..errors import HandleError
from ..wire._generated import HandleKind
from ..wire.holdings import DescriptorShare
from . import kinds
from .head import HeadSocket
from .staging import Description, HandleLike, Owner, Sendable, Staged, stage, why_not, with_head

__all__ = ["HANDLES", "Handle", "close_descriptors", "commit", "commit_all", "own"]


# Ctrl-C halfway through a change of owner would leave a descriptor with two owners, or none.
_whole = trio.lowlevel.enable_ki_protection


def close_descriptors(fds: Iterable[int]) -> None:
    """Close raw descriptor numbers, all of them, whatever happens to one."""
    for fd in fds:
        try:
            os.close(fd)
        except OSError:  # e.g. a late write error of a file system; the number is free anyway
            pass


@final
@attrs.define(eq=False, repr=False)
class Handle(Owner):
    """An open descriptor on its way to, or from, another process; it has one owner.

    Made by `of`, or received: anywhere in a message's body, or as ``message.handle``. Sending it,
    ``into_...()``, `detach` and `close` end it. What is asked of it after that raises
    ``trio.ClosedResourceError``; `closed` is then True, and `close` does nothing.

    What arrives is what was sent, not a copy: a socket shared with its giver (``keep_open``) has
    one queue, one set of options and one blocking mode, a file one position.
    """

    _fd: int
    _declared: int | None = None
    _meta: dict[str, Any] = attrs.Factory(dict)
    _real: HandleKind | None = None
    #: what is told when it is closed, if somebody counts it.
    _share: DescriptorShare | None = None

    @classmethod
    def of(cls, x: HandleLike, *, head: bytes = b"") -> Handle:
        """Take over a descriptor.

        The object given is closed by this; a number is no longer the caller's. A file object is
        flushed first, and the descriptor's position set to where the object stood; what it has
        read ahead from something without a position (a pipe) is lost. A socket becomes
        non-blocking.

        Args:
            x: an open stdlib or trio socket, ``trio.SocketStream``, ``trio.SocketListener``, file
                object (of Python or trio, pipes included) or descriptor number. A `Handle` is
                returned as it is, unless there is a head to add.
            head: what was read from that stream already. The receiver reads it first, and then
                what is left of the head that the stream itself was received with.

        Raises:
            TypeError: it has no descriptor, or is a TLS connection, whose state stays here.
            HandleError: it is no stream and there is a head, or a handle that has one already.
            trio.ClosedResourceError: it is closed.
            OSError: it cannot be flushed or duplicated, or the number is not open; what was the
                caller's still is.
        """
        if head:
            return commit(stage(with_head(x, head)))
        if isinstance(x, Handle):
            x.fileno()
            return x
        return commit(stage(x))

    def fileno(self) -> int:
        """Return the number of the descriptor, which stays with this handle."""
        if self._fd < 0:
            raise trio.ClosedResourceError("this handle was sent, taken or closed already")
        return self._fd

    @property
    def closed(self) -> bool:
        """Whether the descriptor is no longer here: sent, taken or closed."""
        return self._fd < 0

    @property
    def kind(self) -> str:
        """What it is, verified with the kernel.

        One of ``tcp_stream tcp_listener unix_stream unix_listener udp_socket pipe file memfd
        other``.

        Raises:
            HandleError: it is not what its giver declared.
        """
        return kinds.public_name(self._verified())

    @property
    def address(self) -> kinds.Address:
        """Where the other end of a stream is, or where any other socket is bound.

        ``(host, port)``; the path of a Unix socket, bytes if its name is abstract; None for a
        socket without a name and for all that is no socket.

        Raises:
            HandleError: it is not what its giver declared.
        """
        kind = self._verified()
        if kind not in kinds.SOCKETS:
            return None
        if kind not in kinds.STREAMS:
            return kinds.simple_address(kinds.ask_socket(self._fd, socket.socket.getsockname))
        try:
            return kinds.simple_address(kinds.ask_socket(self._fd, socket.socket.getpeername))
        except OSError:  # the peer is gone by now; the giver may have told who it was
            peer = self._meta.get("peer")
            return kinds.simple_address(tuple(peer) if isinstance(peer, list) else peer)

    @property
    def head(self) -> bytes:
        """What its giver had read from this stream; it goes with it, see `into_stream`."""
        self.fileno()
        return self._meta.get("head") or b""

    @_whole
    def into_stream(self) -> trio.SocketStream | trio.lowlevel.FdStream:
        """Turn it into a Trio stream: of a TCP or Unix stream socket, or of one end of a pipe.

        The stream gives the handle's head first, and then what can be read from the socket. When
        it is sent on, what is left of the head goes with it.

        Raises:
            HandleError: it is something else; it is still open then.
            OSError: it is a pipe shared in blocking mode, and to open it anew is not possible.
        """
        kind = self._expected()
        if kind not in kinds.SOCKETS:  # those are verified while they are taken
            kind = self._verified()
        if kind in kinds.PIPES:
            self._set_blocking(blocking=False)
            return trio.lowlevel.FdStream(self.detach())
        return trio.SocketStream(self._take_socket("into_stream", kinds.STREAMS))

    def into_listener(self) -> trio.SocketListener:
        """Turn a listening TCP or Unix socket into a Trio listener.

        Raises:
            HandleError: it is something else; it is still open then.
        """
        return trio.SocketListener(self._take_socket("into_listener", kinds.LISTENERS))

    def into_socket(self) -> trio.socket.SocketType:
        """Turn any socket into a Trio socket; one with a head gives that first.

        Raises:
            HandleError: it is no socket; it is still open then.
        """
        return self._take_socket("into_socket", kinds.ANY_SOCKET)

    @_whole
    def into_file(self) -> BinaryIO:
        """Turn what is no socket into an ordinary, blocking binary file object.

        It is what ``open()`` gives for the descriptor's own access mode: buffered, unless it is
        for reading and writing and has no position (a terminal).

        Raises:
            HandleError: it is a socket; it is still open then.
            OSError: it cannot be used as a file, e.g. a directory; it is still open then.
        """
        kind = self._verified()
        if stat.S_ISSOCK(os.fstat(self._fd).st_mode):
            raise self._refusal("into_file")
        if kind in kinds.PIPES:
            self._set_blocking(blocking=True)
        access = kinds.access_mode(self._fd)
        mode = {os.O_RDONLY: "rb", os.O_WRONLY: "wb"}.get(access, "r+b")
        buffering = 0 if mode == "r+b" and not kinds.has_position(self._fd) else -1
        file = cast("BinaryIO", open(self._fd, mode, buffering))  # noqa: SIM115 (the caller's)
        self._fd = -1
        return file

    def detach(self) -> int:
        """Return the number of the descriptor, which is the caller's to close from now on.

        Raises:
            HandleError: it has a head, which a bare descriptor would lose. Receive that first, from
                what `into_socket` gives; then detach that.
        """
        if self.head:
            raise HandleError(
                f"a bare descriptor would lose the {len(self.head)} bytes of the head; see"
                " into_socket()"
            )
        return self._give_up()

    def _give_up(self) -> int:
        fd, self._fd = self.fileno(), -1
        return fd

    def dup(self) -> Handle:
        """Return a second handle to the same thing, to be closed separately.

        Raises:
            OSError: no descriptor is to be had.
        """
        return Handle(os.dup(self.fileno()), self._declared, self._meta.copy(), self._real)

    @_whole
    def close(self) -> None:
        """Close the descriptor. Nothing happens if it is not here any more."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            if self._share is not None:
                self._share.give_back(1)
            os.close(fd)

    def __repr__(self) -> str:
        if self._fd < 0:
            return "<Handle closed>"
        return f"<Handle {kinds.kind_name(self._expected())} {self._fd}>"

    def __reduce__(self) -> Any:
        raise TypeError("a Handle has one owner and cannot be copied or pickled; see Handle.dup()")

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            try:
                text = f"{self!r} was never closed"
                warnings.warn(text, ResourceWarning, stacklevel=2, source=self)
            finally:
                self.close()

    def _count_in(self, share: DescriptorShare) -> None:
        """Note where it was entered; it does nothing any more but wait there to be closed."""
        self._share = share

    def _described(self) -> Description:
        return self._verified(), self._meta

    def _expected(self) -> int | None:
        return self._declared if self._real is None else self._real

    def _verified(self) -> HandleKind:
        fd = self.fileno()
        return self._real or self._verify(kinds.real_kind(fd))

    def _verify(self, real: HandleKind) -> HandleKind:
        if not kinds.is_true_of(self._declared, real):
            declared = kinds.kind_name(self._declared)
            raise HandleError(f"[AWP-HA-2] declared {declared}, but it is {kinds.kind_name(real)}")
        self._real = real
        return real

    def _refusal(self, method: str) -> HandleError:
        return HandleError(f"{method}() is not for a handle of kind {self.kind}")

    @_whole
    def _take_socket(self, method: str, wanted: frozenset[HandleKind]) -> trio.socket.SocketType:
        """Verify and take in one go: it is the way of every handed-over connection."""
        fd = self.fileno()
        try:
            sock = socket.socket(fileno=fd)
        except OSError as exc:
            if exc.errno != errno.ENOTSOCK:
                raise
            raise self._refusal(method) from None
        try:
            real = self._real
            if real is None:
                real = kinds.socket_kind(sock)
                if real != self._declared:
                    self._verify(real)
                self._real = real
            if real not in wanted:
                raise self._refusal(method)
            if self._meta.get("shared") and os.get_blocking(fd):
                raise HandleError("[AWP-FD-9] the giver shares this socket in blocking mode")
            taken = trio.socket.from_stdlib_socket(sock)
            if head := self._meta.get("head"):
                taken = HeadSocket(taken, head)
        except BaseException:
            sock.detach()
            raise
        self._fd = -1
        return taken

    def _set_blocking(self, *, blocking: bool) -> None:
        """Set the mode of a pipe, but not of one that its giver still uses (AWP-FD-9)."""
        fd = self._fd
        if os.get_blocking(fd) == blocking:
            return
        if self._meta.get("shared"):
            flags = kinds.access_mode(fd) | os.O_NONBLOCK | os.O_CLOEXEC
            self._fd = os.open(f"/proc/self/fd/{fd}", flags)
            os.close(fd)
            self._meta = {**self._meta, "shared": False}
        os.set_blocking(self._fd, blocking)


def own(fd: int, kind: HandleKind, meta: dict[str, Any] | None = None) -> Handle:
    """Make a handle of a descriptor whose kind the caller knows; no system call."""
    return Handle(fd, kind, {} if meta is None else meta, kind)


@_whole
def commit(staged: Staged) -> Handle:
    """Take the descriptor, or a duplicate; see `commit_all`."""
    fd, kind, meta = staged.release(staged.acquire())
    return Handle(fd, kind, meta, kind)


@_whole
def commit_all(staged: Sequence[Staged]) -> tuple[Handle, ...]:
    """Take what was staged: moved, or duplicated where the giver keeps it; all or nothing.

    Raises:
        OSError: a duplicate is not to be had, or a file object cannot be flushed.
        HandleError: a received handle is not what its giver declared.
        trio.ClosedResourceError: one is closed by now.
        ValueError: two of them would move the same descriptor.
    """
    if len(staged) == 1:  # as ever
        return (commit(staged[0]),)
    moved = [item.fd for item in staged if not item.keep_open]
    if len(moved) > len(set(moved)):
        raise ValueError("one descriptor cannot be moved twice")
    duplicates: list[int | None] = []
    try:
        for item in staged:
            duplicates.append(item.acquire())  # noqa: PERF401 (the handler needs what there is)
    except BaseException:
        close_descriptors(duplicate for duplicate in duplicates if duplicate is not None)
        raise
    return tuple(own(*item.release(fd)) for item, fd in zip(staged, duplicates, strict=True))


@final
class _Adapter:
    """How the protocol core sees `Handle`; see ``HandleAdapter``."""

    type: builtins.type[Any] = Sendable

    def describe(self, handle: Any) -> Description:
        """Return kind and meta of a handle, or of what was staged to become one."""
        if isinstance(handle, Handle):
            return handle._described()
        described: Description = handle.describe()
        return described

    def why_not(self, value: Any) -> str | None:
        """Say what keeps a value that is no handle from being sent as one."""
        if (why := why_not(value)) is None and isinstance(value, _OPEN):
            why = f"{type(value).__name__} cannot be sent in a body as it is, but Handle.of() of it"
        return why

    def build(self, fd: int, kind: int, meta: dict[str, Any]) -> Handle:
        """Make the owner of a received descriptor; it is verified when it is used."""
        return Handle(fd, kind, meta)


#: Of what a handle can be made; which is said to who has forgotten it.
_OPEN: Final = (
    socket.socket,
    trio.socket.SocketType,
    trio.SocketStream,
    trio.SocketListener,
    io.FileIO,
    io.BufferedReader,
    io.BufferedWriter,
    io.TextIOWrapper,
)

HANDLES: Final = _Adapter()
