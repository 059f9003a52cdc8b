"""A port that the worker serves, in mode handoff or shared."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Self

from .events import Connections, Listening
from .handles import Handle

if TYPE_CHECKING:
    from .worker import Worker

_log = logging.getLogger("awp")
_AGAIN_SECONDS = 0.1


class ListenerClosed(Exception):
    """The listener has ended: closed here, by the primary, or because the worker stops."""


class Accepted:
    """A connection to serve.

    Attributes:
        sock: the socket, non-blocking.
        head: bytes of it that were read already; they come first.
    """

    def __init__(self, sock: socket.socket, head: bytes, closed: Callable[[], None]) -> None:
        self.sock = sock
        self.head = head
        self._closed: Callable[[], None] | None = closed

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The connection as streams of asyncio."""
        reader, writer = await asyncio.open_connection(sock=self.sock)
        if self.head:
            reader.feed_data(self.head)
        return reader, writer

    def give_away(self) -> Handle:
        """The connection as a handle that can be sent; what was read of it goes along."""
        handle = Handle.of(self.sock)
        if self.head:
            handle.meta["head"] = self.head
        self.close()
        return handle

    def close(self) -> None:
        """Close it; another one may come in its place."""
        self.sock.close()
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class Listener:
    """An open port.

    Attributes:
        mode: "handoff": the primary accepts; "shared": this process does.
        address: where it is bound: [host, port], or a path.
        data: what the first worker that listened there said.
    """

    def __init__(self, worker: Worker, event: Listening, credit: int) -> None:
        self.mode = event.mode
        self.address = event.address
        self.data = event.data
        self.channel = event.channel
        self._worker = worker
        self._waiting: deque[tuple[int, Handle]] = deque()
        self._arrived = asyncio.Event()
        self._is_open = True
        self._closed = 0
        self._room = asyncio.Semaphore(max(credit, 1))
        self._sock = event.handle.socket() if event.handle is not None else None
        self._accepting = 0
        if self._sock is not None:
            self._sock.setblocking(False)  # as it is already: so that Python knows

    # ----------------------------------------------------------------- what the primary says

    def arrive(self, event: Connections) -> None:
        """Connections were handed over."""
        numbered = enumerate(event.handles, event.first)
        self._waiting.extend(one for one in numbered if one[1].fd >= 0)
        self._arrived.set()
        if not self._is_open:
            self.reject_waiting()

    def reject_waiting(self) -> None:
        """Give back what nobody has taken yet."""
        numbers = [number for number, _ in self._waiting]
        while self._waiting:
            self._waiting.popleft()[1].close()
        if numbers:
            self._worker.decide(self.channel, numbers, taken=False)

    def end(self) -> None:
        """Take no more; connections that are served go on."""
        self._is_open = False
        self.reject_waiting()
        self._arrived.set()
        self._close_shared()

    def _close_shared(self) -> None:
        if self._sock is not None and not self._accepting and not self._is_open:
            self._sock.close()

    # -------------------------------------------------------------------------- for its user

    async def accept(self) -> Accepted:
        """The next connection.

        Raises:
            ListenerClosed: there will be no more.
        """
        return await (self._accept_shared() if self._sock is not None else self._take())

    async def _take(self) -> Accepted:
        while True:
            while self._is_open and not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            if not self._is_open:
                raise ListenerClosed
            number, handle = self._waiting.popleft()
            written = asyncio.Event()
            if self._worker.decide(self.channel, [number], taken=True, on_written=written.set):
                try:
                    await self._worker.until(written)
                except BaseException:
                    handle.close()
                    self._was_closed()
                    raise
                return Accepted(handle.socket(), handle.head, self._was_closed)
            handle.close()

    def _was_closed(self) -> None:
        self._closed += 1
        self._worker.connection_closed(self.channel, self._closed)

    async def _accept_shared(self) -> Accepted:
        await self._room.acquire()
        self._accepting += 1
        sock = None
        try:
            while self._is_open and sock is None:
                sock = await self._accept_or_end()
        finally:
            self._accepting -= 1
            self._close_shared()
            if sock is None:
                self._room.release()
        if sock is None:
            raise ListenerClosed
        return Accepted(sock, b"", self._room.release)

    async def _accept_or_end(self) -> socket.socket | None:
        loop = asyncio.get_running_loop()
        assert self._sock is not None
        accepting = asyncio.ensure_future(loop.sock_accept(self._sock))
        ended = asyncio.ensure_future(self._arrived.wait())
        try:
            await asyncio.wait({accepting, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not accepting.done():
                return None
            return accepting.result()[0]
        except OSError:
            _log.exception("cannot accept")
            await asyncio.sleep(_AGAIN_SECONDS)
            return None
        finally:
            accepting.cancel()
            ended.cancel()

    async def serve(self, handler: Callable[[Accepted], Awaitable[None]]) -> None:
        """Run `handler` in a task for each connection, until no more come and all are done.

        An exception of a handler is logged, and ends its connection alone.
        """
        tasks: set[asyncio.Task[None]] = set()
        try:
            while True:
                accepted = await self.accept()
                task = asyncio.create_task(_served(handler, accepted))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        except ListenerClosed:
            await asyncio.gather(*tasks, return_exceptions=True)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    def close(self) -> None:
        """Be done with the port."""
        if self._is_open:
            self._is_open = False
            self._worker.listen_close(self.channel)
            self.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


async def _served(handler: Callable[[Accepted], Awaitable[None]], accepted: Accepted) -> None:
    with accepted:
        try:
            await handler(accepted)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # clients come and go
        except Exception:  # noqa: BLE001 - whatever it is: the others go on
            _log.exception("a connection failed")
