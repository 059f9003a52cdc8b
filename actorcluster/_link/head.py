"""A socket that was read from before it was passed on: what was read comes first.

Runs in: both

What its giver had read, the *head*, travels beside the descriptor. Here the two are one socket
again, so that a ``trio.SocketStream`` on top of it is a stream like any other, and whoever sends it
on sends what is left of the head along.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from typing import Any, Final, final

import trio

from ..errors import HandleError

__all__ = ["HeadSocket"]

#: nobody sent it in particular, and no descriptors came with it
_NO_ADDRESS: Final = None


@final
class HeadSocket(trio.socket.SocketType):
    """A connected stream socket, and bytes that belong before all that can be read from it.

    Args:
        sock: the socket itself, owned from now on.
        head: those bytes.
    """

    def __init__(self, sock: trio.socket.SocketType, head: bytes) -> None:
        super().__init__()
        self._socket = sock
        self._head = head
        #: how many of them were received.
        self._received = 0

    @property
    def head(self) -> bytes:
        """What nobody has received so far."""
        return self._head[self._received :]

    # ---- receiving ------------------------------------------------------------------------

    def _gives(self, flags: int) -> bool:
        """Whether the next bytes are of the head."""
        return self._received < len(self._head) and not flags & socket.MSG_OOB

    async def _comes_first(self, flags: int) -> bool:
        """Whether the next bytes are of the head; if so, there was a checkpoint."""
        if not self._gives(flags):
            return False
        await trio.lowlevel.checkpoint()
        return self._gives(flags)  # somebody else may have received it meanwhile; that is no end

    def _take(self, size: int, flags: int) -> bytes:
        if self.fileno() < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        data = self._head[self._received : self._received + size]
        if not flags & socket.MSG_PEEK:
            self._received += len(data)
            if self._received == len(self._head):
                self._head, self._received = b"", 0
        return data

    async def recv(self, buflen: int, flags: int = 0, /) -> bytes:
        if buflen < 0 or not await self._comes_first(flags):
            return await self._socket.recv(buflen, flags)
        return self._take(buflen, flags)

    async def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        if bufsize < 0 or not await self._comes_first(flags):
            return await self._socket.recvfrom(bufsize, flags)
        return self._take(bufsize, flags), _NO_ADDRESS

    async def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        if nbytes < 0 or not await self._comes_first(flags):
            return await self._socket.recv_into(buffer, nbytes, flags)
        views = _views([buffer])
        if nbytes > len(views[0]):
            raise ValueError("nbytes is greater than the length of the buffer")
        return _fill(views, self._take(nbytes or len(views[0]), flags))

    async def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        if nbytes < 0 or not self._gives(flags):
            return await self._socket.recvfrom_into(buffer, nbytes, flags)
        return await self.recv_into(buffer, nbytes, flags), _NO_ADDRESS

    async def recvmsg(
        self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]:
        if bufsize < 0 or not await self._comes_first(flags):
            return await self._socket.recvmsg(bufsize, ancbufsize, flags)
        return self._take(bufsize, flags), [], 0, _NO_ADDRESS

    async def recvmsg_into(
        self, buffers: Iterable[Any], ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[int, list[tuple[int, int, bytes]], int, Any]:
        buffers = list(buffers)
        if not await self._comes_first(flags):
            return await self._socket.recvmsg_into(buffers, ancbufsize, flags)
        views = _views(buffers)
        data = self._take(sum(map(len, views)), flags)
        return _fill(views, data), [], 0, _NO_ADDRESS

    def is_readable(self) -> bool:
        return self._gives(0) or self._socket.is_readable()

    # ---- owning ---------------------------------------------------------------------------

    def dup(self) -> HeadSocket:
        return HeadSocket(self._socket.dup(), self.head)

    def detach(self) -> int:
        if self._head:
            raise HandleError(
                f"a bare descriptor would lose {len(self.head)} bytes that were read before this"
                " socket was sent; receive them first"
            )
        return self._socket.detach()

    def give_up(self) -> None:
        """End this object: descriptor and head are somebody else's."""
        self._head, self._received = b"", 0
        self.detach()

    def __enter__(self) -> HeadSocket:
        return self

    def __repr__(self) -> str:
        return f"<{self._socket!r} behind {len(self.head)} bytes>"


def _views(buffers: list[Any]) -> list[memoryview]:
    """Buffers as they are filled.

    Raises:
        TypeError: one cannot be.
    """
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    if any(view.readonly for view in views):
        raise TypeError("what is received into must be read-write")
    return views


def _fill(views: list[memoryview], data: bytes) -> int:
    """Put data into buffers, one after another; returns how many bytes it was."""
    start = 0
    for view in views:
        piece = data[start : start + len(view)]
        view[: len(piece)] = piece
        start += len(piece)
    return start


def _passed_on(name: str) -> Any:
    def method(self: HeadSocket, *args: Any, **options: Any) -> Any:
        return getattr(self._socket, name)(*args, **options)

    return method


def _asked(name: str) -> property:
    def attribute(self: HeadSocket) -> Any:
        return getattr(self._socket, name)

    return property(attribute)


# All else that a socket can do, it does.
for _name, _what in vars(trio.socket.SocketType).items():
    if _name not in vars(HeadSocket) and (_name == "__exit__" or not _name.startswith("_")):
        setattr(HeadSocket, _name, (_asked if isinstance(_what, property) else _passed_on)(_name))
