"""The ports of a primary and its workers in one process: real sockets and channels, no processes.

`Cluster.worker` gives both ends of a worker whose listeners are the real ones. `Cluster.puppet`
gives one that the test moves by hand: it reads and says nothing by itself.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any

import trio

from actorcluster import SCHED_RR
from actorcluster._cluster.balance import warmth
from actorcluster._cluster.ports import Ports, PortStatistics
from actorcluster._link.channel import Channel
from actorcluster._link.fdsocket import FdSocket
from actorcluster._link.handles import HANDLES, close_descriptors
from actorcluster._link.pipe import LINK_LIMITS
from actorcluster._worker.accepting import HandoffListener
from actorcluster._worker.listeners import Listeners
from actorcluster._worker.listening import listen_tcp
from actorcluster.errors import RemoteProtocolError
from actorcluster.wire import events
from actorcluster.wire._generated import BUILT_CAPABILITIES, State
from actorcluster.wire.connection import Connection
from actorcluster.wire.frames import encode_frame

PATIENCE = 60
"""Seconds for what takes milliseconds."""

TCP = {"transport": "tcp", "host": "127.0.0.1", "port": 0}


async def until(condition: Callable[[], object]) -> None:
    """Let everything run until it is so."""
    with trio.fail_after(PATIENCE):
        while not condition():
            await trio.lowlevel.checkpoint()


@contextlib.contextmanager
def no_more_descriptors() -> Iterator[None]:
    """Be at the limit of open files inside the block."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Client:
    """The primary's end of one worker: what `Ports` knows of it."""

    def __init__(self, number: int, end: socket.socket, ports: Ports, **options: Any) -> None:
        self.id = number
        self.name = f"w{number}"
        self.is_paused = False
        self.weight = 1.0
        self.ready_at: float | None = 0.0
        self.warm_up = 0.0
        self.listen_fds: Mapping[str, int] | tuple[int, ...] = options.pop("listen_fds", {})
        limits = {**LINK_LIMITS, **options.pop("limits", {})}
        self.connection = Connection("primary", limits=limits, handles=HANDLES, **options)
        self.channel = Channel(FdSocket(end), self.connection, self._on_event)
        self.addresses: list[Any] = []
        self.fault: RemoteProtocolError | None = None
        self.ready = trio.Event()
        self.gone = trio.Event()
        self.ports = ports

    def warmth(self, now: float) -> float:
        return warmth(self.ready_at, self.warm_up, now)

    def flush(self) -> None:
        self.channel.flush()

    def listening(self, address: Any) -> None:
        self.addresses.append(address)

    async def run(self) -> None:
        """What `Life` does for a worker, as far as ports are concerned."""
        try:
            await self.channel.run()
        except RemoteProtocolError as exc:
            self.fault = exc
        finally:
            self.ports.forget(self)
            self.gone.set()

    def stop(self) -> None:
        """Tell the worker to stop."""
        self.ports.retire(self)
        self.connection.send_stop(None)
        self.flush()

    def _on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Hello):
            self.connection.send_welcome(worker=self.id, cluster=bytes(16), name="w", config={})
        elif isinstance(event, events.Ready):
            self.ready.set()
        elif isinstance(event, events.Goodbye):
            self.connection.send_goodbye()
            self.flush()
        else:
            self.ports.on_event(self, event)


class Worker:
    """Both ends of a worker; its own end does what a worker process does."""

    def __init__(self, client: Client, end: socket.socket) -> None:
        self.client = client
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.connection = Connection("worker", limits=LINK_LIMITS, handles=HANDLES)
        self.link = Channel(FdSocket(end), self.connection, self._on_event)
        self.listeners = Listeners(self.link)
        self.welcomed = trio.Event()

    async def run(self) -> None:
        self.connection.send_hello()
        try:
            with self.scope:
                await self.link.run()
        finally:
            self.listeners.stop()
            self.listeners.fail()
            for listener in list(self.listeners._listeners.values()):
                listener.close()
            self.ended.set()

    def _on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Welcome):
            self.connection.send_ready()
            self.welcomed.set()
        elif isinstance(event, events.Stop):
            self.listeners.stop()
        else:
            self.listeners.on_event(event)

    async def listen(self, port: Any = 0, **options: Any) -> HandoffListener:
        """Listen on a shared port of 127.0.0.1."""
        (listener,) = await listen_tcp(self.listeners, port, host="127.0.0.1", **options)
        assert isinstance(listener, HandoffListener)
        return listener

    async def die(self) -> None:
        """End as by SIGKILL: what was written is written, all descriptors are closed."""
        self.scope.cancel()
        await self.ended.wait()
        await self.client.gone.wait()


class Puppet:
    """A worker's end that does nothing by itself."""

    def __init__(self, client: Client, end: socket.socket, **options: Any) -> None:
        self.client = client
        options = {"limits": LINK_LIMITS, **options}
        self.connection = Connection("worker", handles=HANDLES, **options)
        self._socket = FdSocket(end)
        self.heard: list[events.Event] = []

    def say(self, *frames: bytes) -> None:
        """Send what is queued, and then raw frames, all in one go."""
        buffers: list[Any] = []
        while self.connection.wants_to_send():
            for batch in self.connection.data_to_send():
                assert not batch.handles
                buffers += batch.buffers
        assert self._socket.send_now([*buffers, *frames])

    async def hear(self, kind: type[events.Event]) -> Any:
        """Read until there is an event of this kind."""
        with trio.fail_after(PATIENCE):
            while True:
                for place, event in enumerate(self.heard):
                    if isinstance(event, kind):
                        return self.heard.pop(place)
                await self._socket.wait_readable()
                self.read()

    def read(self) -> bool:
        """Read what is there; False at the end."""
        while (got := self._socket.receive_now()) is not None:
            data, fds, truncated = got
            if not data and not fds:
                return False
            self.heard += self.connection.receive(data, fds, truncated)
            close_descriptors(self.connection.take_discarded())
        return True

    async def listen(self, **request: Any) -> int:
        """Listen on a shared port of 127.0.0.1; returns the channel."""
        key = {} if request.get("port") else {"key": "1"}
        channel = self.connection.send_listen({**TCP, **key, **request})
        self.say()
        await self.hear(events.Listening)
        return channel

    def credit(self, channel: int, count: int) -> None:
        """Take more connections."""
        self.connection.send_conn_credit(channel, count)
        self.say()

    async def connected(self) -> events.Connections:
        """The next connections handed over."""
        event: events.Connections = await self.hear(events.Connections)
        return event

    async def die(self) -> None:
        """Close this end."""
        self.close()
        await self.client.gone.wait()

    def close(self) -> None:
        for event in self.heard:
            for handle in getattr(event, "handles", ()):
                handle.close()
        self.heard.clear()
        self._socket.close()


class Cluster:
    """Ports, workers and clients of one test."""

    def __init__(self, nursery: trio.Nursery, policy: str, policies: Mapping[str, Any]) -> None:
        self.ports = Ports(nursery, policy=policy, policies=policies)
        self._nursery = nursery
        self._workers: list[Worker | Puppet] = []
        self._clients: list[socket.socket] = []

    def _client(self, **options: Any) -> tuple[Client, socket.socket]:
        ours, theirs = socket.socketpair()
        client = Client(len(self._workers) + 1, ours, self.ports, **options)
        self._nursery.start_soon(client.run)
        return client, theirs

    async def worker(self, **options: Any) -> Worker:
        """Add a worker."""
        client, end = self._client(**options)
        worker = Worker(client, end)
        self._workers.append(worker)
        self._nursery.start_soon(worker.run)
        await client.ready.wait()
        return worker

    async def puppet(
        self, *, capabilities: Iterable[str] = BUILT_CAPABILITIES - {"bulk.memfd"}, **options: Any
    ) -> Puppet:
        """Add a worker to be moved by hand, past the handshake."""
        client, end = self._client()
        puppet = Puppet(client, end, capabilities=capabilities, **options)
        self._workers.append(puppet)
        puppet.connection.send_hello()
        puppet.say()
        await puppet.hear(events.Welcome)
        puppet.connection.send_ready()
        puppet.say()
        await client.ready.wait()
        return puppet

    @property
    def port(self) -> PortStatistics:
        """The only shared port."""
        (port,) = self.ports.statistics()
        return port

    def connect(self, count: int = 1) -> list[socket.socket]:
        """Connect clients to the only port; they are in its backlog when this returns."""
        clients = [connect(self.port.address) for _ in range(count)]
        self._clients += clients
        return clients

    def keep(self, client: socket.socket) -> None:
        """Have a client closed at the end."""
        self._clients.append(client)

    async def close(self) -> None:
        """End everything as the primary does: the workers first."""
        for client in self._clients:
            client.close()
        for worker in self._workers:
            if worker.client.connection.state is not State.CLOSED:
                await worker.die()
            if isinstance(worker, Puppet):
                worker.close()
        self.ports.close()


@contextlib.asynccontextmanager
async def open_cluster(
    policy: str = SCHED_RR, policies: Mapping[str, Any] | None = None
) -> AsyncIterator[Cluster]:
    """Run a cluster while the block runs."""
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            cluster = Cluster(nursery, policy, policies or {})
            try:
                yield cluster
            finally:
                with trio.CancelScope(shield=True):
                    await cluster.close()
            nursery.cancel_scope.cancel()


def connect(address: Any, own: Any = None) -> socket.socket:
    """Connect a client to an address as a listener names it, maybe from one of its own."""
    client = socket.create_connection(address, source_address=own)
    client.settimeout(PATIENCE)
    return client


def served_by(stream: trio.SocketStream, client: socket.socket) -> bool:
    """Whether these are two ends of one connection."""
    return bool(stream.socket.getpeername() == client.getsockname())


def frame(kind: int, channel: int, envelope: bytes = b"\xc0", payload: bytes = b"\xc0") -> bytes:
    """A raw frame, of encoded parts."""
    return encode_frame(kind, channel, envelope, payload)
