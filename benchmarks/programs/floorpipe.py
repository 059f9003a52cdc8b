"""The least that our way to send and receive asks of Python and Trio; see ``oneway_floor.py``.

Kept of it are the three things that a program sees: ``await send(body)`` for each message and
``async for`` over objects that carry one each, every await is a cancellation point, and one in 64
lets others run. Everything else that a library would do is left out: there is no protocol, no
credit, no acknowledgement, nothing is checked, no error is handled, nobody may wait beside anybody.
"""

from __future__ import annotations

import socket
from typing import Any, Final

import msgpack
import trio
from trio.lowlevel import cancel_shielded_checkpoint, checkpoint_if_cancelled

__all__ = ["FloorPipe", "Message"]

_EVERY: Final = 64
_READ_SIZE: Final = 256 * 1024


class Message:
    """What a receiver gets."""

    __slots__ = ("body",)

    body: Any


class FloorPipe:
    """One end."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end
        self._packer = msgpack.Packer(autoreset=False)
        self._pack = self._packer.pack  # into one buffer, until that is written
        self._packed = 0
        self._unpacker = msgpack.Unpacker(max_buffer_size=0)
        self._buffer = bytearray(_READ_SIZE)
        self._unread: list[Message] = []
        self._taken = 0

    async def send(self, body: Any) -> None:
        """Send one message, at the latest with the next `flush`."""
        await checkpoint_if_cancelled()
        self._pack(body)
        self._packed += 1
        if self._packed == _EVERY:
            await self.flush()
            await cancel_shielded_checkpoint()

    async def flush(self) -> None:
        """Write what was packed."""
        self._packed = 0
        with self._packer.getbuffer() as packed:
            written = 0
            while written < len(packed):
                try:
                    written += self._end.send(packed[written:])
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self._end)
        self._packer.reset()

    def __aiter__(self) -> FloorPipe:
        return self

    async def __anext__(self) -> Message:
        await checkpoint_if_cancelled()
        if not self._unread:
            await self._read()
        self._taken += 1
        if self._taken == _EVERY:
            self._taken = 0
            await cancel_shielded_checkpoint()
        return self._unread.pop()

    async def _read(self) -> None:
        unread = self._unread
        while not unread:
            try:
                size = self._end.recv_into(self._buffer)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._end)
                continue
            with memoryview(self._buffer) as view:
                self._unpacker.feed(view[:size])
            for body in self._unpacker:
                message = Message()
                message.body = body
                unread.append(message)
        unread.reverse()
