"""Listeners whose accept() gives plain Trio streams, handed over or accepted on a shared socket.

Runs in: worker

Theory of operation
===================

A listener in *handoff* mode gets connections from the primary by CONN frames and keeps them in a
queue. ``accept()`` takes one out, writes CONN_REPLY and only then returns the stream: what was
not acknowledged was never touched, so the primary may give it to another worker when this one
dies. In *shared* mode the listener accepts by itself on a duplicate of the primary's socket.

From Stop on, ``accept()`` waits and never raises: a server loop is ended by cancelling main, not
by an error in the middle of a drain. What still lies in the queue is refused at once.

A connection counts as open until its socket is closed, detached or sent away. User code does
that at any time and Trio tells nobody, so open connections are counted when somebody asks.
"""

from __future__ import annotations

import abc
import errno
import math
import weakref
from collections import deque
from typing import Any, Final, Protocol, final

import trio

from .._link.channel import Channel
from .._link.handles import Handle
from ..wire import events

__all__ = ["CREDIT", "Address", "ClusterListener", "HandoffListener", "Owner", "SharedListener"]

#: Connections that may be on their way to a worker, or wait in it, for one listener.
CREDIT: Final = 64

#: How often a full listener (``max_connections``) looks whether a connection was closed.
_FULL_POLL_SECONDS: Final = 0.02

Address = tuple[str, int] | str


@final
class _OpenConnections:
    """Counts accepted connections that are still open; amortised O(1) for each one added."""

    def __init__(self) -> None:
        self._sockets: list[weakref.ref[trio.socket.SocketType]] = []
        self._prune_at = 64

    def add(self, sock: trio.socket.SocketType) -> None:
        self._sockets.append(weakref.ref(sock))
        if len(self._sockets) >= self._prune_at:
            self._prune_at = 2 * self.count() + 64

    def count(self) -> int:
        self._sockets = [
            ref for ref in self._sockets if (sock := ref()) is not None and sock.fileno() != -1
        ]
        return len(self._sockets)


class Owner(Protocol):
    """Who keeps the listeners of a worker."""

    link: Channel

    def remove(self, listener: ClusterListener, channel: int | None) -> None: ...


class ClusterListener(trio.abc.Listener[trio.SocketStream]):
    """One shared port inside a worker; use it like any Trio listener.

    Attributes:
        address: (host, port) as bound, or a path.
    """

    def __init__(self, owner: Owner, channel: int | None, address: Address) -> None:
        self.address = address
        self._owner = owner
        self._channel = channel
        self._closed = False
        self._stopped = False
        self.open_connections = _OpenConnections()

    def is_idle(self) -> bool:
        """Whether no accepted connection is open."""
        return self.open_connections.count() == 0

    def stop(self) -> None:
        """Stop was heard: accept() waits from now on."""
        self._stopped = True

    @abc.abstractmethod
    async def accept(self) -> trio.SocketStream:
        """Wait for a connection.

        Returns:
            Its stream. From here on the connection is this worker's.

        Raises:
            trio.ClosedResourceError: the listener was closed.

        Cancellation:
            No connection was taken.
        """

    async def aclose(self) -> None:
        """Stop listening here; other workers go on.

        Cancellation:
            The listener is closed all the same.
        """
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """What `aclose` does, without a checkpoint."""
        if not self._closed:
            self._closed = True
            self._close()
            self._owner.remove(self, self._channel)

    @abc.abstractmethod
    def _close(self) -> None: ...

    def _taken(self, handle: Handle) -> trio.SocketStream:
        stream = handle.into_stream()
        assert isinstance(stream, trio.SocketStream)
        self.open_connections.add(stream.socket)
        return stream


@final
class HandoffListener(ClusterListener):
    """A listener whose connections are accepted in the primary and handed over."""

    def __init__(
        self, owner: Owner, channel: int, address: Address, max_connections: int | None
    ) -> None:
        super().__init__(owner, channel, address)
        self._number = channel
        self._max = math.inf if max_connections is None else max_connections
        self._queue: deque[tuple[int, Handle]] = deque()
        self._acknowledged = 0
        self._credit_due = 0
        self._parked: deque[trio.lowlevel.Task] = deque()

    def put(self, event: events.Connections) -> None:
        """Connections have arrived."""
        numbered = zip(range(event.first, event.first + len(event.handles)), event.handles)  # noqa: B905
        self._queue.extend(numbered)
        if self._stopped or self._closed:
            self._refuse_queue()
        for _ in range(min(len(self._queue), len(self._parked))):
            trio.lowlevel.reschedule(self._parked.popleft())

    def stop(self) -> None:
        super().stop()
        self._refuse_queue()

    async def accept(self) -> trio.SocketStream:
        await trio.lowlevel.checkpoint()
        while True:
            if self._closed:
                raise trio.ClosedResourceError("this listener was closed")
            if self._stopped:
                await trio.sleep_forever()
            if self._is_full():
                await trio.sleep(_FULL_POLL_SECONDS)
            elif not self._queue:
                await self._park()
            else:
                number, handle = self._queue.popleft()
                await self._acknowledge(number, handle)
                return self._taken(handle)

    def _is_full(self) -> bool:
        return self._max != math.inf and self.open_connections.count() >= self._max

    async def _park(self) -> None:
        task = trio.lowlevel.current_task()
        self._parked.append(task)

        def abort(_: Any) -> trio.lowlevel.Abort:
            self._parked.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    async def _acknowledge(self, number: int, handle: Handle) -> None:
        """Write CONN_REPLY to the channel, before anybody touches the connection (AWP-LI-2)."""
        link = self._owner.link
        if number > self._acknowledged:
            self._acknowledged = number
            link.connection.send_conn_reply(self._number, number)
            self._give_credit()
            link.flush()
        try:
            while not link.is_flushed:
                await link.wait_flushed()
        except trio.Cancelled:
            # The reply is on its way and cannot be taken back: the connection stays ours, and the
            # next accept() returns it.
            self._queue.appendleft((number, handle))
            raise

    def _give_credit(self) -> None:
        self._credit_due += 1
        if self._credit_due * 4 >= min(CREDIT, self._max):
            self._owner.link.connection.send_conn_credit(self._number, self._credit_due)
            self._credit_due = 0

    def _refuse_queue(self) -> None:
        """Give back what was not acknowledged."""
        rejected = [number for number, _ in self._queue if number > self._acknowledged]
        if not rejected:
            return
        link = self._owner.link
        if not link.ended:
            link.connection.send_conn_reply(self._number, rejected[-1], rejected)
            link.flush()
        self._acknowledged = rejected[-1]
        while self._queue:
            self._queue.popleft()[1].close()

    def _close(self) -> None:
        self._refuse_queue()
        while self._queue:
            self._queue.popleft()[1].close()
        while self._parked:
            trio.lowlevel.reschedule(self._parked.popleft())


@final
class SharedListener(ClusterListener):
    """A listener that accepts on the socket it shares with the other workers."""

    def __init__(
        self,
        owner: Owner,
        channel: int | None,
        address: Address,
        sock: trio.socket.SocketType,
        max_connections: int | None,
    ) -> None:
        super().__init__(owner, channel, address)
        self._max = max_connections
        self._socket = sock
        self._accepting: set[trio.CancelScope] = set()

    def stop(self) -> None:
        super().stop()
        for scope in self._accepting:
            scope.cancel()

    async def accept(self) -> trio.SocketStream:
        while not self._stopped:
            if self._closed:
                raise trio.ClosedResourceError("this listener was closed")
            if self._max is not None and self.open_connections.count() >= self._max:
                await trio.sleep(_FULL_POLL_SECONDS)
                continue
            sock = await self._accept()
            if sock is not None:
                self.open_connections.add(sock)
                return trio.SocketStream(sock)
        await trio.sleep_forever()
        raise AssertionError("unreachable")

    async def _accept(self) -> trio.socket.SocketType | None:
        """Accept one; None when Stop came first, or the client was gone already."""
        with trio.CancelScope() as scope:
            self._accepting.add(scope)
            try:
                sock, _ = await self._socket.accept()
                return sock
            except OSError as exc:
                if self._closed:
                    raise trio.ClosedResourceError("this listener was closed") from None
                if exc.errno == errno.ECONNABORTED:
                    return None
                raise
            finally:
                self._accepting.discard(scope)
        return None

    def _close(self) -> None:
        self._socket.close()
