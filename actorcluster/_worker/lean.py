"""Makes the Trio streams of connections, in few steps.

Runs in: worker

Theory of operation
===================

A short connection costs a worker mostly Python, and much of that in Trio's making of its stream and
in the helpers round each `recv` and `send`. So here a stream gets a socket of a class that does the
same in fewer steps: `recv` and `send` have the checkpoints that Trio's have; the options that a
stream sets are there already, for a connection has those of the socket that it was accepted on; and
closing tells Trio's loop only of sockets whose number somebody has learnt, and so may wait for. The
stream is one of Trio's; what is called most of it belongs to its socket, so that no two of them
keep each other alive.

This builds upon what Trio's objects look like inside, and upon who accepted. So of each listener
the first connection gets a stream that Trio made, and is looked at: unless all is as expected the
others get the same.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import math
import os
import socket
from typing import Any, Final, final

import trio
from trio.lowlevel import (
    Abort,
    cancel_shielded_checkpoint,
    checkpoint,
    checkpoint_if_cancelled,
    wait_readable,
    wait_task_rescheduled,
    wait_writable,
)

from .inet import STREAM_OPTIONS
from .opened import OpenConnections

__all__ = ["Streams"]

#: What Trio's objects hold, besides what this file sets.
_STREAM: Final = {"socket", "_send_conflict_detector"}
_DETECTOR: Final = {"_msg", "_held"}
_SOCKET: Final = {"_sock", "_did_shutdown_SHUT_WR"}

#: What a stream takes for its own closing; the second where the number is another file's now.
_CLOSED: Final = frozenset({errno.EBADF, errno.ENOTSOCK})

#: Bytes that a stream takes at once where nobody says how many.
_RECEIVE_SIZE: Final = 65536

#: To make a socket object of a descriptor that is non-blocking; 0 where that takes another call.
_READY: Final = getattr(socket, "SOCK_NONBLOCK", 0) and socket.SOCK_STREAM | socket.SOCK_NONBLOCK
#: How TCP_INFO of a listening socket begins.
_LISTENS: Final = b"\x0a"


@final
class Streams:
    """Makes the streams of one listener's connections."""

    def __init__(self) -> None:
        self._is_first = True
        #: None: as Trio makes them.
        self._kind: Any = None
        self._detector: Any = None
        #: whether they are TCP connections, given to us non-blocking.
        self._come_ready = False

    def make(self, sock: socket.socket) -> trio.SocketStream:
        """Make a stream of a connected stream socket, which is taken over."""
        if self._kind is None:
            return self._look(sock) if self._is_first else _plain(sock)
        sock.setblocking(False)
        return self._dress(sock)

    def open(self, fd: int) -> trio.SocketStream | None:
        """Make one of a TCP connection's descriptor, which came non-blocking, as the first did.

        Returns:
            None where it is no such thing, or there is more to it; then nothing was done.
        """
        if not self._come_ready:
            return None
        try:
            sock = socket.socket(-1, _READY, 0, fd)
        except OSError:
            return None
        try:
            if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) != _LISTENS:
                return self._dress(sock)
        except OSError:
            pass  # another protocol
        sock.detach()
        return None

    def _dress(self, sock: socket.socket) -> trio.SocketStream:
        stream: Any = _new(trio.SocketStream)
        stream.socket = lean = self._kind(sock)
        stream._send_conflict_detector = lean.detector = self._detector()
        stream.send_all = lean.send_all
        stream.receive_some = lean.receive_some
        stream.aclose = lean.aclose
        return stream  # type: ignore[no-any-return]  # one of Trio's

    def _look(self, sock: socket.socket) -> trio.SocketStream:
        """Make the first one, and see whether the others may be lean."""
        self._is_first = False
        before, is_ready = _options(sock), not os.get_blocking(sock.fileno())
        stream = _plain(sock)
        if _held_by(stream) == _STREAM and _held_by(stream.socket) == _SOCKET:
            detector = stream._send_conflict_detector
            if _held_by(detector) == _DETECTOR and before == _options(sock):
                kind: Any = type(stream.socket)
                self._kind = _lean(kind)
                self._detector = functools.partial(type(detector), detector._msg)
                self._come_ready = is_ready and bool(_READY) and None not in before
        return stream


def _plain(sock: socket.socket) -> trio.SocketStream:
    return trio.SocketStream(trio.socket.from_stdlib_socket(sock))


_new: Final[Any] = object.__new__


def _held_by(thing: object) -> set[str]:
    """The attributes that it holds itself; where it has slots for them, none."""
    return set(getattr(thing, "__dict__", ()))


def _options(sock: socket.socket) -> list[int | None]:
    """What a stream sets; None: there is no such option."""
    values: list[int | None] = []
    for option, _ in STREAM_OPTIONS:
        value = None
        with contextlib.suppress(OSError):
            value = sock.getsockopt(socket.IPPROTO_TCP, option)
        values.append(value)
    return values


class _Lean:
    """What is done in fewer steps than by the class of Trio's that follows in the line of bases."""

    #: who counts it.
    opened_by: OpenConnections | None = None
    #: whether somebody may wait for it in Trio's loop.
    may_wait = False
    #: of the stream: who may not send while another does.
    detector: Any
    _sock: socket.socket

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._did_shutdown_SHUT_WR = False

    async def recv(self, *args: Any) -> bytes:
        await checkpoint_if_cancelled()
        try:
            data = self._sock.recv(*args)
        except BlockingIOError:
            pass
        except BaseException:
            await cancel_shielded_checkpoint()
            raise
        else:
            await cancel_shielded_checkpoint()
            return data
        self.may_wait = True
        while True:
            await wait_readable(self._sock)
            with contextlib.suppress(BlockingIOError):
                return self._sock.recv(*args)

    async def send(self, *args: Any) -> int:
        await checkpoint_if_cancelled()
        try:
            size = self._sock.send(*args)
        except BlockingIOError:
            pass
        except BaseException:
            await cancel_shielded_checkpoint()
            raise
        else:
            await cancel_shielded_checkpoint()
            return size
        self.may_wait = True
        while True:
            await wait_writable(self._sock)
            with contextlib.suppress(BlockingIOError):
                return self._sock.send(*args)

    def close(self) -> None:
        if self.may_wait:
            _next(self).close()
        else:
            self._sock.close()
        if self.opened_by is not None:
            self.opened_by.closed(self)

    def __exit__(self, *args: object) -> None:
        self.close()

    def detach(self) -> int:
        fd = self._sock.detach()
        if self.opened_by is not None:
            self.opened_by.closed(self)
        return fd

    # ---- for the stream -------------------------------------------------------------------

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._did_shutdown_SHUT_WR:
            raise trio.ClosedResourceError("can't send data after sending EOF")
        with self.detector:
            try:
                sent = await self.send(data) if type(data) is bytes and data else 0
                if not sent or sent < len(data):
                    await self._send_rest(data, sent)
            except OSError as exc:
                raise _translated(exc) from (None if exc.errno in _CLOSED else exc)

    async def _send_rest(self, data: bytes | bytearray | memoryview, sent: int) -> None:
        with memoryview(data) as view:
            if not view:
                if self._sock.fileno() == -1:
                    raise trio.ClosedResourceError("socket was already closed")
                await checkpoint()
            while sent < len(view):
                with view[sent:] as rest:
                    sent += await self.send(rest)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        size = _RECEIVE_SIZE if max_bytes is None else max_bytes
        if size < 1:
            raise ValueError("max_bytes must be >= 1")
        try:
            return await self.recv(size)
        except OSError as exc:
            raise _translated(exc) from (None if exc.errno in _CLOSED else exc)

    async def aclose(self) -> None:
        if self._sock.fileno() >= 0:
            self.close()
        elif trio.current_effective_deadline() == -math.inf:
            # Whoever serves a listener closes once again, by force; Trio's checkpoint takes two
            # turns of the loop to say that it is cancelled.
            await wait_task_rescheduled(lambda _: Abort.SUCCEEDED)
        await checkpoint()

    # ---- where somebody may begin to wait -------------------------------------------------

    def fileno(self) -> int:
        self.may_wait = True
        return self._sock.fileno()

    async def _nonblocking_helper(self, *args: Any, **kwargs: Any) -> Any:
        self.may_wait = True
        return await _next(self)._nonblocking_helper(*args, **kwargs)

    async def connect(self, *args: Any) -> None:
        self.may_wait = True
        await _next(self).connect(*args)

    async def wait_writable(self) -> None:
        self.may_wait = True
        await _next(self).wait_writable()


def _translated(exc: OSError) -> Exception:
    """What a stream raises instead."""
    if exc.errno in _CLOSED:
        return trio.ClosedResourceError("this socket was already closed")
    return trio.BrokenResourceError(f"socket connection broken: {exc}")


def _next(sock: _Lean) -> Any:
    return super(_Lean, sock)


@functools.cache
def _lean(kind: Any) -> Any:
    """Make a lean class of one of Trio's sockets; it goes by the same name."""
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind.__name__, (_Lean, kind), names)
