"""All listeners of a worker, and what the primary says about them.

Runs in: worker
"""

from __future__ import annotations

import errno
import itertools
import socket
import weakref
from collections.abc import Mapping
from typing import Any, final

import attrs
import trio

from .._link.channel import Channel
from .._link.failure import os_error
from ..errors import ActorClusterError, HandleError, PeerClosed
from ..wire import events
from ..wire._generated import ErrorCode, State
from .accepting import CREDIT, Address, ClusterListener, HandoffListener, SharedListener
from .stopped import ToldToStop

__all__ = ["Address", "ClusterListener", "Listeners"]


@attrs.define(eq=False, repr=False)
class _Pending:
    """A LISTEN without an answer so far."""

    request: Mapping[str, Any]
    max_connections: int | None
    answered: trio.Event = attrs.Factory(trio.Event)
    result: ClusterListener | trio.socket.SocketType | None = None
    error: Exception | None = None


@final
class Listeners:
    """All listeners of a worker."""

    def __init__(self, link: Channel) -> None:
        self.link = link
        #: every listener channel that is open, or asked for.
        self._requests: dict[int, Mapping[str, Any]] = {}
        self._pending: dict[int, _Pending] = {}
        self._listeners: dict[int, ClusterListener] = {}
        self._datagram_sockets: dict[int, weakref.ref[trio.socket.SocketType]] = {}
        #: those that this worker bound for itself, and closed ones with open connections.
        self._others: list[ClusterListener] = []
        self._stopped = False
        link.pass_to(events.Connections, self._on_connections)

    # ---- what the primary says ------------------------------------------------------------

    def on_event(self, event: events.Event) -> None:
        """Act on what the primary says about listening."""
        if isinstance(event, (events.Listening, events.ErrorReceived)):
            self._on_answer(event)

    def _on_connections(self, event: events.Connections) -> None:
        listener = self._listeners.get(event.channel)
        if isinstance(listener, HandoffListener):
            listener.put(event)
        else:
            self._refuse(event)

    def _on_answer(self, event: events.Listening | events.ErrorReceived) -> None:
        pending = self._pending.pop(event.channel, None)
        if pending is None:
            return  # the late answer to an ask; those to a LISTEN given up do not get here
        # The listener must be there before anything else is read: connections may follow at once.
        if isinstance(event, events.ErrorReceived):
            pending.error = _failure(event.error, pending.request)
        else:
            try:
                pending.result = self._make(event, pending)
            except HandleError as exc:
                pending.error = exc
                if event.handle is not None:
                    event.handle.close()
                self._say_closed(event.channel)
        pending.answered.set()

    def _make(
        self, event: events.Listening, pending: _Pending
    ) -> ClusterListener | trio.socket.SocketType:
        """Make what was asked for, of what the primary sent."""
        channel, most = event.channel, pending.max_connections
        listener: ClusterListener
        if event.mode == "handoff":
            listener = HandoffListener(self, channel, _address(event), most, event.policy)
        elif event.handle is None:
            raise HandleError(f"[AWP-LI-5] mode {event.mode} came without a socket")
        else:
            sock: trio.socket.SocketType = event.handle.into_socket()
            if pending.request["transport"] == "udp":
                self._datagram_sockets[channel] = weakref.ref(sock)
                return sock
            shared = socket.socket(fileno=sock.detach())
            listener = SharedListener(self, channel, _address(event), shared, most)
        self._listeners[channel] = listener
        if self._stopped:
            listener.stop()
        return listener

    def _refuse(self, event: events.Connections) -> None:
        """Give back connections of a listener that does not get any."""
        last = event.first + len(event.handles) - 1
        numbers = list(range(event.first, last + 1))
        self.link.connection.send_conn_reply(event.channel, last, numbers)
        self.link.flush()
        for handle in event.handles:
            handle.close()

    # ---- life -----------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop was heard."""
        self._stopped = True
        for listener in [*self._listeners.values(), *self._others]:
            listener.stop()

    def fail(self) -> None:
        """The channel has ended: whoever waits for an answer learns it."""
        for pending in self._pending.values():
            pending.answered.set()
        self._pending.clear()

    def is_idle(self) -> bool:
        """Whether no connection accepted from any of these listeners is open."""
        return all(one.is_idle() for one in [*self._listeners.values(), *self._others])

    def check_running(self) -> None:
        """Raise `ToldToStop` after Stop."""
        if self._stopped or self.link.connection.state is not State.ACTIVE:
            raise ToldToStop("the worker was told to stop")

    def add_own(self, sock: socket.socket, max_connections: int | None) -> ClusterListener:
        """Wrap a socket that this worker bound for itself; Stop treats it like the others.

        The primary, which has no part in it, is told where it is.
        """
        bound = sock.getsockname()
        listener = SharedListener(self, None, (bound[0], bound[1]), sock, max_connections)
        self._others.append(listener)
        self.link.connection.send_serving(address=(bound[0], bound[1]))
        self.link.flush()
        return listener

    def remove(self, listener: ClusterListener, channel: int | None) -> None:
        """A listener was closed; its connections still count until they are."""
        if channel is not None:
            del self._listeners[channel]
            self._others.append(listener)
            self._say_closed(channel)
        self._others = [one for one in self._others if not (one.is_closed and one.is_idle())]

    def _say_closed(self, channel: int) -> None:
        """Nothing is listened on at this channel any more."""
        self._requests.pop(channel, None)
        if not self.link.ended:
            self.link.connection.send_listen_close(channel)
            self.link.flush()

    # ---- listening ------------------------------------------------------------------------

    async def listen(self, request: dict[str, Any], max_connections: int | None) -> ClusterListener:
        """Ask the primary for a shared port.

        Raises:
            OSError: it could not be bound; EADDRINUSE also when this worker has it already.
            trio.ClosedResourceError: the worker was told to stop.

        Cancellation:
            The port is not used by this worker.
        """
        listener = await self._ask(request, max_connections)
        assert isinstance(listener, ClusterListener)
        return listener

    async def bind_udp(self, request: dict[str, Any]) -> trio.socket.SocketType:
        """Ask the primary for a shared datagram socket; see `listen`."""
        sock = await self._ask(request, None)
        assert not isinstance(sock, ClusterListener)
        return sock

    async def _ask(
        self, request: dict[str, Any], max_connections: int | None
    ) -> ClusterListener | trio.socket.SocketType:
        await trio.lowlevel.checkpoint()
        self.check_running()
        self._forget_closed_sockets()
        connection = self.link.connection
        if len(self._requests) >= connection.peer_limits["max_listeners"]:
            raise OSError(errno.EMFILE, "this worker has too many listeners")
        if request.get("port") == 0:
            request = {**request, "key": self._free_key(request)}
        credit: dict[str, Any] = {"credit": CREDIT}
        if max_connections is not None:
            credit = {"credit": min(CREDIT, max_connections), "limit": max_connections}
        channel = connection.send_listen({**request, **credit})
        self._requests[channel] = request
        pending = self._pending[channel] = _Pending(request, max_connections)
        self.link.flush()
        try:
            await pending.answered.wait()
        except trio.Cancelled:
            self._give_up(channel, pending)
            raise
        if pending.result is None:
            self._requests.pop(channel, None)
            raise pending.error or PeerClosed("the primary is gone")
        return pending.result

    def _give_up(self, channel: int, pending: _Pending) -> None:
        """Nobody waits for the answer any more, which may be there already."""
        self._pending.pop(channel, None)
        result = pending.result
        if result is not None:
            result.close()  # a listener says LISTEN_CLOSE
        if isinstance(result, ClusterListener):
            return
        self._datagram_sockets.pop(channel, None)
        self._say_closed(channel)

    def _free_key(self, request: Mapping[str, Any]) -> str:
        """Tell ports 0 apart: the n-th that a worker has open is the n-th of every worker."""
        taken = {
            other.get("key")
            for other in self._requests.values()
            if all(other.get(name) == request.get(name) for name in ("transport", "host", "port"))
        }
        return next(key for key in map(str, itertools.count(1)) if key not in taken)

    def _forget_closed_sockets(self) -> None:
        """Nobody tells when user code closes a datagram socket, so it is noticed here."""
        for channel, reference in list(self._datagram_sockets.items()):
            sock = reference()
            if sock is None or sock.fileno() == -1:
                del self._datagram_sockets[channel]
                self._say_closed(channel)


def _address(event: events.Listening) -> Address:
    address = event.address
    return (address[0], address[1]) if isinstance(address, list) else str(address)


def _failure(error: Mapping[str, Any], request: Mapping[str, Any]) -> Exception:
    """What a refused LISTEN means to who asked."""
    if request["transport"] in ("tcp", "udp"):
        where = f"{request.get('host') or '*'}:{request.get('port')}"
    else:
        where = str(request.get("path") or request.get("name"))
    if (exc := os_error(error, where)) is not None:
        return exc
    if error.get("code") == ErrorCode.BAD_PAYLOAD:
        return ValueError(f"cannot listen on {where}: {error.get('message')}")
    if error.get("code") in (ErrorCode.REFUSED, ErrorCode.STOPPING):
        return ToldToStop("the worker was told to stop")
    return ActorClusterError(f"cannot listen on {where}: {error.get('message')}")
