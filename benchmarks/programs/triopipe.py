"""The pipe of the bare Trio programs: a socket pair, msgpack, and nothing else."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import msgpack
import trio

_READ_SIZE: Final = 256 * 1024
_MOST: Final = 64 * 1024 * 1024


class TrioPipe:
    """One end: ``send_all`` for each message, an unpacker for what is read."""

    def __init__(self, end: socket.socket) -> None:
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(end))
        self._pack = msgpack.Packer().pack
        self._unpacker = msgpack.Unpacker(max_buffer_size=_MOST)

    async def send(self, body: Any) -> None:
        """Send one message."""
        await self._stream.send_all(self._pack(body))

    async def messages(self) -> AsyncIterator[Any]:
        """Give every message, until the other end is closed."""
        while True:
            for body in self._unpacker:
                yield body
            data = await self._stream.receive_some(_READ_SIZE)
            if not data:
                return
            self._unpacker.feed(data)


def start(
    worker: Callable[..., Awaitable[None]],
    *args: Any,
    kind: socket.SocketKind = socket.SOCK_STREAM,
) -> tuple[int, socket.socket]:
    """Fork a process that runs a worker under Trio; to be called before this process does.

    Args:
        worker: called with its end of the pipe, and with the others.
        args: the others.
        kind: of the socket pair.

    Returns:
        Its process id, and our end of the pipe.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    pid = os.fork()
    if not pid:
        ours.close()
        trio.run(worker, theirs, *args)
        os._exit(0)
    theirs.close()
    return pid, ours
