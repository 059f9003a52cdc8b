"""Our ends of a worker's standard streams; they give back their descriptors when it has ended.

Runs in: primary

A `Worker` stays readable after its end, and nobody can say when the last one lets go of it. So
when the process has ended, what is still in a pipe is read, no more than a pipe holds, and the
pipe is closed; whoever reads the stream later finds it there. Where others have the pipe too,
processes that the worker started, it stays open.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterator
from typing import Final, final

import trio
from trio.lowlevel import FdStream

__all__ = ["Input", "Output"]

_PIECE: Final = 64 * 1024
_MOST: Final = 1024 * 1024
"""So much is kept at once: a pipe holds no more, but others may go on writing."""


@final
class Output(trio.abc.ReceiveStream):
    """What a worker writes to its stdout or stderr.

    Args:
        fd: our end of the pipe; ours to close from now on.
    """

    def __init__(self, fd: int) -> None:
        self._pipe = FdStream(fd)
        self._left = bytearray()  # what was still there when the worker ended
        self._is_over = False
        self._is_read = False
        self._has_ended = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive what there is, as of any stream."""
        if self._is_read or not (self._left or self._is_over):
            return await self._receive(max_bytes)
        size = _PIECE if max_bytes is None else max_bytes
        if size < 1:
            raise ValueError("max_bytes must be integer >= 1")
        await trio.lowlevel.checkpoint()
        data = bytes(self._left[:size])
        del self._left[:size]
        return data

    async def _receive(self, max_bytes: int | None) -> bytes:
        was_read, self._is_read = self._is_read, True
        try:
            return await self._pipe.receive_some(max_bytes)
        finally:
            self._is_read = was_read
            self._settle()

    async def aclose(self) -> None:
        """Close it; what nobody has read is gone."""
        self._left.clear()
        self._is_over = False
        await self._pipe.aclose()

    def ended(self) -> None:
        """The worker's process has ended."""
        self._has_ended = True
        self._settle()

    def _settle(self) -> None:
        """Read the pipe up to its end, and close it."""
        if not self._has_ended or self._is_read or self._left or self._pipe.fileno() < 0:
            return
        with contextlib.suppress(BlockingIOError):  # others have it
            while data := os.read(self._pipe.fileno(), _PIECE):
                self._left += data
                if len(self._left) > _MOST:
                    return
            self._is_over = True
            self._pipe.close()


@final
class Input(trio.abc.SendStream):
    """What a worker reads from its stdin.

    Args:
        fd: our end of the pipe; ours to close from now on.
    """

    def __init__(self, fd: int) -> None:
        self._pipe = FdStream(fd)
        self._is_broken = False
        self._is_written = False
        self._has_ended = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send, as to any stream."""
        await self._check()
        with self._writing():
            await self._pipe.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until something can be sent, as to any stream."""
        await self._check()
        with self._writing():
            await self._pipe.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close it: the worker reads the end of the file."""
        self._is_broken = False
        await self._pipe.aclose()

    def ended(self) -> None:
        """The worker's process has ended."""
        self._has_ended = True
        self._settle()

    async def _check(self) -> None:
        if self._is_broken:
            await trio.lowlevel.checkpoint()
            raise trio.BrokenResourceError("the worker has ended")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        was_written, self._is_written = self._is_written, True
        try:
            yield
        finally:
            self._is_written = was_written
            self._settle()

    def _settle(self) -> None:
        """Close the pipe if nobody is left who could read it."""
        if not self._has_ended or self._is_written or self._pipe.fileno() < 0:
            return
        poll = select.poll()
        poll.register(self._pipe.fileno(), 0)  # no reader left is an error, and always told
        if poll.poll(0):
            self._is_broken = True
            self._pipe.close()
