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

A connection counts as open until its socket is closed, detached or sent away, see `opened`. The
primary hears how many are closed by CONN_CREDIT: at once if its policy goes by that, or if there is
a limit, else for its statistics only, four times a second at most.

``max_connections`` holds for open connections, those in the queue and those that the primary may
still send, taken together: a full worker is never given what another one could serve. The primary
hears of room by CONN_CREDIT, as soon as there is some.
"""

from __future__ import annotations

import abc
import contextlib
import errno
import math
import socket
from collections import deque
from typing import Any, Final, Protocol, final

import trio

from .._link import kinds
from .._link.channel import Channel
from .._link.handles import Handle
from .._link.pace import Pace
from ..errors import HandleError
from ..wire import events
from ..wire._generated import HandleKind, State
from .lean import Streams
from .opened import OpenConnections

__all__ = [
    "CLIENT_GONE",
    "CREDIT",
    "Address",
    "ClusterListener",
    "HandoffListener",
    "Owner",
    "SharedListener",
]

#: Connections that may be on their way to a worker, or wait in it, for one listener.
CREDIT: Final = 64

_TCP: Final = HandleKind.TCP_SOCKET

#: Connections that one worker accepts at once on a socket that others accept on.
_SHARED_BURST: Final = 4

#: How often a full listener (``max_connections``) on a shared socket looks whether a connection
#: was closed.
_FULL_POLL_SECONDS: Final = 0.02

#: How long the primary may wait for what it only needs to tell others.
_REPORT_SECONDS: Final = 0.25

#: Policies that do not ask how many connections are open.
_BLIND: Final = frozenset({None, "round_robin", "weighted", "sticky_address", "sticky_peek"})

#: The client went away between connecting and our accept; accept(2) asks to treat it as a retry.
CLIENT_GONE: Final = frozenset(
    {
        errno.ECONNABORTED,
        errno.EPROTO,
        errno.ENETDOWN,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.EPERM,
    }
)

Address = tuple[str, int] | str


class Owner(Protocol):
    """Who keeps the listeners of a worker."""

    link: Channel

    def remove(self, listener: ClusterListener, channel: int | None) -> None: ...


class ClusterListener(trio.abc.Listener[trio.SocketStream]):
    """One shared port inside a worker; use it like any Trio listener.

    Attributes:
        address: (host, port) as bound, or a path.
    """

    def __init__(
        self, owner: Owner, channel: int | None, address: Address, max_connections: int | None
    ) -> None:
        self.address = address
        self._owner = owner
        self._channel = channel
        self._max = math.inf if max_connections is None else max_connections
        self._closed = False
        self._stopped = False
        self._open = OpenConnections()
        self._streams = Streams()

    def is_idle(self) -> bool:
        """Whether no accepted connection is open."""
        return self._open.count() == 0

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

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this listener was closed")


@final
class HandoffListener(ClusterListener):
    """A listener whose connections are accepted in the primary and handed over."""

    def __init__(
        self,
        owner: Owner,
        channel: int,
        address: Address,
        max_connections: int | None,
        policy: str | None = None,
    ) -> None:
        super().__init__(owner, channel, address, max_connections)
        self._open = OpenConnections(self._some_closed)
        self._reports_at_once = self._max != math.inf or policy not in _BLIND
        self._number = channel
        self._took = 0
        self._told_closed = 0
        self._report_at = math.inf
        self._most_expected = int(min(CREDIT, self._max))
        self._expected = self._most_expected  # what LISTEN said
        self._pace = Pace()
        self._queue: deque[tuple[int, Handle]] = deque()
        #: Taken, but the accept() that took them was cancelled before it was written down.
        self._taken: deque[trio.SocketStream] = deque()
        self._writing = 0
        self._parked: deque[trio.lowlevel.Task] = deque()

    def put(self, event: events.Connections) -> None:
        """Connections have arrived."""
        self._expected -= len(event.handles)
        self._queue.extend(enumerate(event.handles, event.first))
        if self._stopped or self._closed:
            self._refuse_queue()
        if self._queue and self._parked:
            self._owner.link.reply_follows = True
        self._wake(len(self._queue))

    def stop(self) -> None:
        super().stop()
        self._refuse_queue()

    def is_idle(self) -> bool:
        return not self._writing and super().is_idle()

    async def accept(self) -> trio.SocketStream:
        if self._pace.is_due():
            await trio.lowlevel.checkpoint()
            self._pace.restart()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            if self._taken:
                stream = self._taken.popleft()
                await self._wait_written(stream)
                break
            self._check_open()
            if not self._queue or self._owner.link.connection.state is not State.ACTIVE:
                await self._wait()
                continue
            number, handle = self._queue.popleft()
            if (opened := self._open_up(number, handle)) is not None:
                stream = opened
                if not self._say_taken(number):
                    await self._wait_written(stream)
                break
        self._open.add(stream.socket)
        return stream

    # ---- waiting --------------------------------------------------------------------------

    async def _wait(self) -> None:
        """Wait until something may be there to be taken."""
        self._give_credit()
        if self._report_at <= trio.current_time():
            self._report()
        with trio.CancelScope(deadline=self._report_at):
            await self._park()

    async def _park(self) -> None:
        task = trio.lowlevel.current_task()
        self._parked.append(task)

        def abort(_: Any) -> trio.lowlevel.Abort:
            self._parked.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _wake(self, count: int) -> None:
        for _ in range(min(count, len(self._parked))):
            trio.lowlevel.reschedule(self._parked.popleft())

    # ---- taking ---------------------------------------------------------------------------

    def _open_up(self, number: int, handle: Handle) -> trio.SocketStream | None:
        """Make the stream of a connection; None if it is not what the primary said: refused."""
        try:
            return self._into_stream(handle)
        except HandleError:
            handle.close()
            link = self._owner.link
            link.connection.send_conn_reply(self._number, number, [number])
            link.flush()
            return None

    def _say_taken(self, number: int) -> bool:
        """Write CONN_REPLY, or else queue it; tells which."""
        self._took += 1
        self._writing += 1  # meanwhile it is nobody's
        self._give_credit()
        self._writing -= 1
        link = self._owner.link
        if link.is_clear:
            return link.write_at_once(link.connection.take_connection(self._number, number))
        link.connection.send_conn_reply(self._number, number)
        return False

    async def _wait_written(self, stream: trio.SocketStream) -> None:
        """Wait until CONN_REPLY is written: before that nobody may touch it (AWP-LI-2).

        Cancellation:
            The reply is on its way and cannot be called back, so the connection stays ours: the
            next accept() returns it.
        """
        self._writing += 1
        try:
            await self._owner.link.write_out()
        except trio.Cancelled:
            if self._closed:
                stream.socket.close()
            else:
                self._taken.append(stream)
                self._wake(1)
            raise
        finally:
            self._writing -= 1

    def _into_stream(self, handle: Handle) -> trio.SocketStream:
        """Make a stream of a connection: `Handle.into_stream` in half the time where all is well.

        Raises:
            HandleError: it is none, or not what the primary declared; it is still open then.
        """
        declared = handle._declared
        if declared in kinds.STREAMS and not handle._meta:
            if declared == _TCP and (opened := self._streams.open(handle.fileno())) is not None:
                handle._fd = -1
                return opened
            try:
                sock = socket.socket(-1, -1, 0, handle.fileno())
            except OSError:
                pass  # it is no socket
            else:
                if kinds.socket_kind(sock) == declared:
                    handle.detach()
                    return self._streams.make(sock)
                sock.detach()
        stream = handle.into_stream()
        assert isinstance(stream, trio.SocketStream)
        return stream

    def _give_credit(self) -> None:
        """Let the primary send more: for a batch of connections at once, or when none is left."""
        expected = self._expected + len(self._queue)
        count: float = self._most_expected - expected
        if count <= 0 or (expected and count * 4 < self._most_expected) or self._stopped:
            return
        if self._max != math.inf:
            count = min(count, self._open.room(self._max - expected - self._in_between))
        if count > 0:
            self._say_credit(int(count))

    def _say_credit(self, count: int) -> None:
        """Say how many more may come, and how many of those taken are closed."""
        connection = self._owner.link.connection
        if connection.state is State.ACTIVE:
            closed = self._took - self._in_between - len(self._open)
            connection.send_conn_credit(self._number, count, closed or None)
            self._owner.link.flush_once()
            self._expected += count
            self._told_closed = closed

    @property
    def _in_between(self) -> int:
        """How many are taken, but not yet in the hands of the application."""
        return self._writing + len(self._taken)

    # ---- saying how many are closed -------------------------------------------------------

    def _some_closed(self) -> None:
        """Some connections are not open any more."""
        if self._reports_at_once:
            self._report()
        else:
            self._report_at = trio.current_time() + _REPORT_SECONDS
            self._wake(1)  # whoever accepts does it then

    def _report(self) -> None:
        self._report_at = math.inf
        self._open.tell_again()
        if self._closed or self._stopped:
            return
        self._give_credit()
        if self._took - self._in_between - len(self._open) != self._told_closed:
            self._say_credit(0)

    def _refuse_queue(self) -> None:
        """Give back what was not acknowledged."""
        if not self._queue:
            return
        numbers = [number for number, _ in self._queue]
        link = self._owner.link
        if not link.ended:
            link.connection.send_conn_reply(self._number, numbers[-1], numbers)
            link.flush()
        while self._queue:
            self._queue.popleft()[1].close()

    def _close(self) -> None:
        self._refuse_queue()
        while self._taken:
            self._taken.popleft().socket.close()
        self._wake(len(self._parked))


@final
class SharedListener(ClusterListener):
    """A listener that accepts on the socket it shares with the other workers.

    It accepts what is there without a scheduling point in between, for a pass of Trio's loop
    costs more than an accept; but only so many at once, for they are the other workers', too.
    """

    def __init__(
        self,
        owner: Owner,
        channel: int | None,
        address: Address,
        sock: socket.socket,
        max_connections: int | None,
    ) -> None:
        super().__init__(owner, channel, address, max_connections)
        sock.setblocking(False)
        self._socket = sock
        self._pace = Pace()
        self._left = _SHARED_BURST
        self._over = trio.Event()

    def stop(self) -> None:
        super().stop()
        if not self._closed:
            trio.lowlevel.notify_closing(self._socket)  # nothing is closed; accept() looks again

    async def accept(self) -> trio.SocketStream:
        await self._step()
        while not self._stopped:
            self._check_open()
            if self._open.room(self._max) <= 0:
                await trio.sleep(_FULL_POLL_SECONDS)
            elif (stream := self._accept_now()) is not None:
                self._left -= 1
                return stream
            else:
                await self._wait()
        await self._over.wait()
        raise trio.ClosedResourceError("this listener was closed")

    async def _step(self) -> None:
        if self._left > 0:
            await self._pace.step()
        else:
            await trio.lowlevel.checkpoint()
            self._restart()

    def _restart(self) -> None:
        self._left = _SHARED_BURST
        self._pace.restart()

    def _accept_now(self) -> trio.SocketStream | None:
        """Accept one; None when there is none, or its client was gone already."""
        listening = self._socket
        try:
            fd = listening._accept()[0]  # type: ignore[attr-defined]  # what accept() wraps
        except BlockingIOError:
            return None
        except OSError as exc:
            if exc.errno not in CLIENT_GONE:
                raise
            return None
        stream = self._streams.make(socket.socket(-1, socket.SOCK_STREAM, 0, fd))
        self._open.add(stream.socket)
        return stream

    async def _wait(self) -> None:
        """Wait until there may be a connection, or Stop was heard, or the listener is closed."""
        with contextlib.suppress(trio.ClosedResourceError):
            await trio.lowlevel.wait_readable(self._socket)
        self._restart()

    def _close(self) -> None:
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()
        self._over.set()
