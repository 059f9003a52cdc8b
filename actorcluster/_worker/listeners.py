"""All listeners of a worker, and what the primary says about them.

Runs in: worker
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from typing import Any, final

import attrs
import trio

from .._link.channel import Channel
from .._link.failure import os_error
from ..errors import ActorClusterError, PeerClosed
from ..wire import events
from ..wire._generated import ErrorCode
from .accepting import CREDIT, Address, ClusterListener, HandoffListener, SharedListener

__all__ = ["Address", "ClusterListener", "Listeners"]


@attrs.define(eq=False)
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
        self._pending: dict[int, _Pending] = {}
        self._listeners: dict[int, ClusterListener] = {}
        self._own: list[ClusterListener] = []
        self._addresses: dict[int, tuple[Any, ...]] = {}
        self._ephemeral: dict[tuple[Any, ...], int] = {}
        self._stopped = False

    # ---- what the primary says ------------------------------------------------------------

    def on_event(self, event: events.Event) -> None:
        """Act on what the primary says about listening."""
        if isinstance(event, events.Connections):
            listener = self._listeners.get(event.channel)
            if isinstance(listener, HandoffListener):
                listener.put(event)
            else:
                self._refuse(event)
        elif isinstance(event, (events.Listening, events.ErrorReceived)):
            self._on_answer(event)

    def _on_answer(self, event: events.Listening | events.ErrorReceived) -> None:
        pending = self._pending.pop(event.channel, None)
        if pending is None:  # cancelled meanwhile; LISTEN_CLOSE is on its way
            if isinstance(event, events.Listening) and event.handle is not None:
                event.handle.close()
            return
        # The listener must be there before anything else is read: connections may follow at once.
        try:
            pending.result = self._make(event, pending)
        except (ActorClusterError, OSError, trio.ClosedResourceError) as exc:
            pending.error = exc
        pending.answered.set()

    def _make(
        self, event: events.Listening | events.ErrorReceived, pending: _Pending
    ) -> ClusterListener | trio.socket.SocketType:
        """Make what was asked for, or raise what the primary said instead."""
        if isinstance(event, events.ErrorReceived):
            raise _failure(event.error, pending.request)
        if pending.request["transport"] == "udp":
            sock: trio.socket.SocketType = event.handle.into_socket()
            return sock
        address = tuple(event.address) if isinstance(event.address, list) else event.address
        most = pending.max_connections
        listener: ClusterListener
        if event.mode == "shared":
            sock = event.handle.into_socket()
            listener = SharedListener(self, event.channel, address, sock, most)
        else:
            listener = HandoffListener(self, event.channel, address, most)
        self._listeners[event.channel] = listener
        if self._stopped:
            listener.stop()
        return listener

    def _refuse(self, event: events.Connections) -> None:
        """Give back connections of a listener that is closed, or not known yet."""
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
        for listener in [*self._listeners.values(), *self._own]:
            listener.stop()

    def fail(self) -> None:
        """The channel has ended: whoever waits for an answer learns it."""
        for pending in self._pending.values():
            pending.answered.set()
        self._pending.clear()

    def is_idle(self) -> bool:
        """Whether no connection accepted from any of these listeners is open."""
        return all(one.is_idle() for one in [*self._listeners.values(), *self._own])

    def add_own(self, sock: socket.socket, max_connections: int | None) -> ClusterListener:
        """Wrap a socket that this worker bound for itself; Stop treats it like the others."""
        bound = sock.getsockname()
        shared = trio.socket.from_stdlib_socket(sock)
        listener = SharedListener(self, None, (bound[0], bound[1]), shared, max_connections)
        self._own.append(listener)
        return listener

    def remove(self, listener: ClusterListener, channel: int | None) -> None:
        """A listener was closed; its connections still count until they are."""
        if listener not in self._own:
            self._own.append(listener)
        self._own = [one for one in self._own if one is listener or not one.is_idle()]
        if channel is None:
            return
        self._listeners.pop(channel, None)
        self._addresses.pop(channel, None)
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
        if self._stopped:
            raise trio.ClosedResourceError("the worker was told to stop")
        identity = self._identify(request)
        credit = CREDIT if max_connections is None else min(CREDIT, max_connections)
        channel = self.link.connection.send_listen({**request, "credit": credit})
        self._addresses[channel] = identity
        pending = self._pending[channel] = _Pending(request, max_connections)
        self.link.flush()
        try:
            await pending.answered.wait()
        except trio.Cancelled:
            self._give_up(channel, pending)
            raise
        if pending.result is None:
            self._addresses.pop(channel, None)
            raise pending.error or PeerClosed("the primary is gone")
        return pending.result

    def _give_up(self, channel: int, pending: _Pending) -> None:
        """Nobody waits for the answer any more, which may be there already."""
        self._pending.pop(channel, None)
        if isinstance(pending.result, ClusterListener):
            pending.result.close()  # says LISTEN_CLOSE
            return
        if pending.result is not None:
            pending.result.close()
        self._addresses.pop(channel, None)
        if pending.error is None and not self.link.ended:
            self.link.connection.send_listen_close(channel)
            self.link.flush()

    def _identify(self, request: dict[str, Any]) -> tuple[Any, ...]:
        """Tell ports apart: the n-th port 0 of each worker is one shared port."""
        identity = tuple(request.get(key) for key in ("transport", "host", "port", "path", "name"))
        if request.get("port") == 0:
            count = self._ephemeral[identity] = self._ephemeral.get(identity, 0) + 1
            request["key"] = str(count)
        elif identity in self._addresses.values():
            text = f"this worker listens there already: {request}"
            raise OSError(errno.EADDRINUSE, text)
        return identity


def _failure(error: Mapping[str, Any], request: Mapping[str, Any]) -> Exception:
    """What a refused LISTEN means to who asked."""
    where = str(request.get("path") or f"{request.get('host') or '*'}:{request.get('port')}")
    if (exc := os_error(error, where)) is not None:
        return exc
    if error.get("code") in (ErrorCode.REFUSED, ErrorCode.STOPPING):
        return trio.ClosedResourceError("the worker was told to stop")
    return ActorClusterError(f"cannot listen on {where}: {error.get('message')}")
