"""A channel at work in one Trio run: between two `End`s, or an `End` and a peer played by hand."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeVar

import trio
import trio.testing

from actorcluster._link.channel import Channel
from actorcluster._link.fdsocket import FdSocket
from actorcluster._link.handles import HANDLES, Handle
from actorcluster._link.pipe import LINK_LIMITS
from actorcluster.errors import RemoteProtocolError
from actorcluster.wire import events
from actorcluster.wire.connection import Connection
from actorcluster.wire.state import Role

__all__ = ["PATIENCE", "End", "Passes", "Peer", "linked", "played"]

PATIENCE = 60
"""Seconds that nothing here takes; what hangs is cut off."""

EventT = TypeVar("EventT", bound=events.Event)

_CLUSTER = bytes(range(16))


class End:
    """A channel, and an owner that only keeps what it is told.

    Attributes:
        events: what the channel passed on and nobody has taken with `next`.
        fault: the protocol fault that `Channel.run` raised.
        over: set when `Channel.run` has ended.
    """

    def __init__(self, role: Role, sock: socket.socket, options: Mapping[str, Any]) -> None:
        limits = {**LINK_LIMITS, **options.get("limits", {})}
        self.connection = Connection(role, **{**options, "limits": limits}, handles=HANDLES)
        self.channel = Channel(FdSocket(sock), self.connection, self._on_event)
        self.events: list[Any] = []
        self.fault: RemoteProtocolError | None = None
        self.ready = trio.Event()
        self.over = trio.Event()
        self._happened = trio.Event()

    async def run(self) -> None:
        try:
            await self.channel.run()
        except RemoteProtocolError as exc:
            self.fault = exc
        finally:
            self.over.set()

    def _on_event(self, event: events.Event) -> None:
        if self.ready.is_set():
            self._keep(event)
        elif _introduce(self.connection, event):
            self.ready.set()

    def _keep(self, event: events.Event) -> None:
        if isinstance(event, events.TellReceived | events.CallReceived):
            self.connection.arrived(event.number)
        if isinstance(event, events.CallReceived):
            self.channel.asked(event.channel, event)
        self.events.append(event)
        self._happened.set()
        self._happened = trio.Event()

    async def next(self, kind: type[EventT]) -> EventT:
        """Take the oldest event of this kind; wait for it if there is none."""
        while True:
            for event in self.events:
                if isinstance(event, kind):
                    self.events.remove(event)
                    return event
            await self._happened.wait()

    async def bodies(self, count: int) -> list[Any]:
        """Receive so many messages, giving their room back."""
        bodies = []
        for _ in range(count):
            event = await self.next(events.TellReceived)
            self.channel.release(event.charge)
            bodies.append(event.body)
        return bodies


def _introduce(connection: Connection, event: events.Event) -> bool:
    """Do this side's part of the handshake; True when it is over."""
    if isinstance(event, events.Hello):
        connection.send_welcome(worker=1, cluster=_CLUSTER, name="worker-1", config={})
    elif isinstance(event, events.Welcome):
        connection.send_ready()
    return isinstance(event, events.Welcome | events.Ready)


class Peer:
    """The other end, played by a test: it says and hears only what the test wants it to."""

    def __init__(self, role: Role, sock: socket.socket, options: Mapping[str, Any]) -> None:
        limits = {**LINK_LIMITS, **options.get("limits", {})}
        self.connection = Connection(role, **{**options, "limits": limits}, handles=HANDLES)
        self.sock = sock
        self.events: list[Any] = []
        sock.setblocking(False)

    def say(self) -> None:
        """Write what the connection has to say, which must fit into the socket."""
        while self.connection.wants_to_send():
            for batch in self.connection.data_to_send():
                fds = [handle.fileno() for handle in batch.handles]
                socket.send_fds(self.sock, batch.buffers, fds)
                for handle in batch.handles:
                    handle.close()

    def tell(self, body: Any, handle: Handle | None = None) -> None:
        """Say a message."""
        self.connection.send_tell(self.connection.encode(body, handle))
        self.say()

    def hear(self) -> list[Any]:
        """Take in and return what one read gives; must not be called when nothing is there."""
        data, fds, flags, _ = socket.recv_fds(self.sock, 65536, 253)
        return self.connection.receive(data, fds, bool(flags & socket.MSG_CTRUNC))

    async def next(self, kind: type[EventT]) -> EventT:
        """Take the oldest event of this kind; read on if there is none."""
        while True:
            for event in self.events:
                if isinstance(event, kind):
                    self.events.remove(event)
                    return event
            await trio.lowlevel.wait_readable(self.sock)
            self.events += self.hear()

    def read(self) -> bytes:
        """Read all there is, without taking it in."""
        data = bytearray()
        with contextlib.suppress(BlockingIOError):
            while more := self.sock.recv(1 << 20):
                data += more
        return bytes(data)


@contextlib.asynccontextmanager
async def linked(
    *, primary: Mapping[str, Any] | None = None, worker: Mapping[str, Any] | None = None
) -> AsyncIterator[tuple[End, End]]:
    """Two ends joined by a socket pair, with the handshake done: the primary's and the worker's.

    Args:
        primary: options of that `Connection`.
        worker: options of the other.
    """
    ours, theirs = socket.socketpair()
    one, other = End("primary", ours, primary or {}), End("worker", theirs, worker or {})
    other.connection.send_hello()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.run)
            nursery.start_soon(other.run)
            await one.ready.wait()
            await other.ready.wait()
            await trio.testing.wait_all_tasks_blocked()
            yield one, other
            nursery.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def played(
    *, end: Mapping[str, Any] | None = None, peer: Mapping[str, Any] | None = None
) -> AsyncIterator[tuple[End, Peer]]:
    """A primary's end, and a worker's played by the test, with the handshake done."""
    ours, theirs = socket.socketpair()
    with theirs, trio.fail_after(PATIENCE):
        one, other = End("primary", ours, end or {}), Peer("worker", theirs, peer or {})
        other.connection.send_hello()
        other.say()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.run)
            await other.next(events.Welcome)
            other.connection.send_ready()
            other.say()
            await one.ready.wait()
            await trio.testing.wait_all_tasks_blocked()
            yield one, other
            nursery.cancel_scope.cancel()


class Passes(trio.abc.Instrument):
    """Counts the passes of the scheduler."""

    def __init__(self) -> None:
        self.count = 0

    def before_io_wait(self, timeout: float) -> None:
        self.count += 1
