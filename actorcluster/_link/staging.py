"""Taking over a descriptor in two steps, to be sent.

Runs in: both

Theory of operation
===================

A send may wait, fail or be cancelled, and until it has happened the descriptor must stay with its
giver. `stage` looks and changes nothing. Then `Staged.acquire` does all that can fail: a duplicate
where the giver keeps its own (``EMFILE``), a file's last bytes. `Staged.release` does what cannot,
so that of several either all are taken or none.

Sockets, numbers and handles are moved by taking the number out of the old object. A file object
offers no way to do that: its number is duplicated and the object closed. What is taken with
``keep_open`` is a duplicate too, marked ``shared`` for the receiver.

What was read from a stream before, its *head*, goes along in its meta: what the giver says it has
read, and then what a `HeadSocket` has left. Should somebody receive from that one while the send
waits, the send fails: what was to be sent is not there any more.

Sockets are made non-blocking here, by their giver: ``O_NONBLOCK`` belongs to what is shared, not
to the descriptor (AWP-FD-9).
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias, final

import attrs
import trio

from ..errors import HandleError
from ..wire._generated import HandleKind
from . import kinds
from .head import HeadSocket

__all__ = [
    "Description",
    "HandleLike",
    "Owner",
    "Sendable",
    "Staged",
    "stage",
    "why_not",
    "with_head",
]

#: Kind and meta of a handle, as on the wire.
Description: TypeAlias = tuple[HandleKind, dict[str, Any]]


class _HasFileno(Protocol):
    def fileno(self) -> int: ...


class Sendable:
    """What a message can carry: a `Handle`, what was staged to become one, what is lent."""

    __slots__ = ()

    describe: Callable[[], Description]


class Owner(Sendable):
    """What `Handle` is to this file."""

    __slots__ = ()

    def fileno(self) -> int:
        raise AssertionError("abstract")

    def _give_up(self) -> int:
        raise AssertionError("abstract")

    def _described(self) -> Description:
        raise AssertionError("abstract")


HandleLike: TypeAlias = "Owner | int | trio.SocketStream | trio.SocketListener | _HasFileno"

_TLS: Final = (ssl.SSLSocket, ssl.SSLObject, trio.SSLStream, trio.SSLListener)
#: whose number can be taken out of them; all else is a file object
_MOVABLE: Final = (int, Owner, socket.socket, trio.socket.SocketType)


@final
@attrs.define(eq=False, repr=False)
class Staged(Sendable):
    """A descriptor about to be sent; until `commit_all` it stays, untouched, with its giver.

    Attributes:
        fd: its number at the giver.
        keep_open: whether the giver keeps it, and a duplicate is sent.
    """

    fd: int
    keep_open: bool
    _holder: Any
    _head: bytes = b""
    _rest: int = 0
    _described: Description | None = None
    _position: int | None = None

    def describe(self) -> Description:
        """Return kind and meta for the wire; what was said once is said again.

        Raises:
            HandleError: a received handle is not what its giver declared, or has a head already;
                or what has a head is no stream.
            OSError: the number is not open.
        """
        if self._described is None:
            holder = self._holder
            meta: dict[str, Any] = {}
            if isinstance(holder, kinds.SomeSocket):
                kind = kinds.socket_kind(holder)
            elif isinstance(holder, Owner):
                kind, meta = holder._described()
            else:
                kind = kinds.real_kind(self.fd)
            if self._head:
                meta = {**meta, "head": self._whole_head(kind, meta)}
            if self.keep_open:
                meta = {**meta, "shared": True}
            self._described = kind, meta
        return self._described

    def _whole_head(self, kind: HandleKind, meta: dict[str, Any]) -> bytes:
        if kind not in kinds.STREAMS:
            raise HandleError(f"head= is for stream sockets, not for {kinds.public_name(kind)}")
        if meta.get("head"):
            raise HandleError(
                "this handle has a head of its own, which goes along; to put more before it, send"
                " its stream"
            )
        return self._head

    def acquire(self) -> int | None:
        """Do all that can fail; return the duplicate where one is needed.

        Raises:
            OSError: a duplicate is not to be had, or a file object cannot be flushed.
            HandleError: a received handle is not what its giver declared.
            trio.ClosedResourceError: it is closed by now.
            trio.BusyResourceError: some of its head was received by now.
        """
        holder = self._holder
        if type(holder) is socket.socket and holder.fileno() == self.fd:  # what is given most
            if self._described is None:
                self.describe()
            return os.dup(self.fd) if self.keep_open else None
        if _number(holder) != self.fd:
            raise trio.ClosedResourceError("this object is closed already")
        if isinstance(holder, HeadSocket) and len(holder.head) != self._rest:
            raise trio.BusyResourceError("this stream was read from while it waited to be sent")
        self.describe()
        if not isinstance(holder, _MOVABLE):
            if not self.keep_open:
                self._position = kinds.file_position(holder)
            if hasattr(holder, "flush"):  # after tell(), whose view it spoils
                holder.flush()
        elif not self.keep_open:
            return None
        return os.dup(self.fd)

    def release(self, duplicate: int | None) -> tuple[int, HandleKind, dict[str, Any]]:
        """Do all that cannot fail: end the giver's object, unless it keeps it."""
        kind, meta = self._described or self.describe()
        fd = self.fd if duplicate is None else duplicate
        if not self.keep_open:
            self._end_holder()
        if kind in kinds.SOCKETS:  # AWP-FD-9
            os.set_blocking(fd, False)
        return fd, kind, meta

    def _end_holder(self) -> None:
        holder = self._holder
        if isinstance(holder, Owner):
            holder._give_up()
            return
        if trio.lowlevel.in_trio_run():
            trio.lowlevel.notify_closing(self.fd)  # wakes whoever waits for it here
        if isinstance(holder, HeadSocket):
            holder.give_up()
        elif isinstance(holder, kinds.SomeSocket):
            holder.detach()
        elif not isinstance(holder, int):
            if self._position is not None:
                os.lseek(self.fd, self._position, os.SEEK_SET)
            try:
                holder.close()
            except OSError:  # it was flushed before, and its descriptor is gone all the same
                pass


def stage(x: Any, *, keep_open: bool = False) -> Staged:
    """Look at a descriptor about to be sent; nothing changes. Arguments and errors: `Handle.of`.

    Args:
        x: what holds the descriptor; or what `with_head` gave.
        keep_open: send a duplicate.
    """
    if type(x) is socket.socket:  # what is given most
        return Staged(_number(x), keep_open, x)
    holder, head = (x.holder, x.head) if isinstance(x, _Headed) else (x, b"")
    if isinstance(holder, trio.SocketStream | trio.SocketListener):
        holder = holder.socket
    elif isinstance(holder, trio.abc.AsyncResource) and hasattr(holder, "wrapped"):
        holder = holder.wrapped  # of trio's async files
    if isinstance(holder, HeadSocket):
        rest = holder.head
        return Staged(_number(holder), keep_open, holder, head + rest, len(rest))
    return Staged(_number(holder), keep_open, holder, head)


@final
@attrs.frozen(eq=False)
class _Headed:
    """What holds a descriptor, and what was read from it."""

    holder: Any
    head: bytes


def with_head(x: Any, head: Any) -> Any:
    """Put together what holds a stream, and what its giver has read from it; for `stage`.

    Raises:
        TypeError: there is no stream, or the head is not bytes.
    """
    if not isinstance(head, bytes | bytearray | memoryview):
        raise TypeError(f"head= must be bytes, not {type(head).__name__}")
    if x is None:
        raise TypeError("head= goes with handle=: it is what was read from that")
    return _Headed(x, bytes(head))


def why_not(x: Any) -> str | None:
    """Say why something with a descriptor cannot be sent all the same; None: nothing to say."""
    if not isinstance(x, _TLS):
        return None
    return (
        f"{type(x).__name__} cannot be sent: the state of a TLS connection (keys, counters, what is"
        " buffered) lives in this process alone; hand the connection over before the handshake, and"
        " let whoever serves it make that"
    )


def _number(holder: Any) -> int:
    is_plain = type(holder) is socket.socket or isinstance(holder, trio.socket.SocketType)
    if is_plain and (fd := holder.fileno()) >= 0:  # what is given most
        return int(fd)
    if (why := why_not(holder)) is not None:
        raise TypeError(why)
    is_number = isinstance(holder, int) and not isinstance(holder, bool)
    if not is_number and not (hasattr(holder, "fileno") and hasattr(holder, "close")):
        raise TypeError(f"{type(holder).__name__} has no descriptor to send")
    try:
        fd = holder if is_number else holder.fileno()
    except OSError as exc:  # io.UnsupportedOperation: a file in memory
        raise TypeError(f"{type(holder).__name__} has no descriptor to send") from exc
    except ValueError:  # what closed file objects raise
        fd = -1
    if fd < 0:
        raise trio.ClosedResourceError("this object is closed already")
    return int(fd)
