"""Two protocol cores that talk to each other: a whole connection without any socket."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from actorcluster.wire import events
from actorcluster.wire.connection import Connection
from actorcluster.wire.state import Role
from actorcluster.wire.values import RawHandle

__all__ = ["CLUSTER", "ConnectionPair", "Read", "introduced", "joined"]

CLUSTER = bytes(range(16))

#: What one read of a socket gives: bytes, descriptors, truncated.
Read = tuple[bytes, Sequence[int], bool]


def joined(connection: Connection, limit: int = 262144) -> list[Read]:
    """Everything that ``connection`` has to say, as reads of one batch each."""
    reads: list[Read] = []
    while connection.wants_to_send():
        for batch in connection.data_to_send(limit):
            fds = [handle.fd for handle in batch.handles]
            reads.append((b"".join(batch.buffers), fds, False))
    return reads


def introduced(role: Role, **options: Any) -> Connection:
    """One active connection of this role, whose peer is gone after the handshake."""
    pair = ConnectionPair(**{role: options})
    pair.start()
    return pair.worker if role == "worker" else pair.primary


class ConnectionPair:
    """A worker's and a primary's connection, and the bytes under way between them.

    Args:
        worker: keyword arguments of the worker's `Connection`.
        primary: keyword arguments of the primary's.
    """

    def __init__(
        self, *, worker: dict[str, Any] | None = None, primary: dict[str, Any] | None = None
    ) -> None:
        self.worker = Connection("worker", **(worker or {}))
        self.primary = Connection("primary", **(primary or {}))
        self.to_primary: deque[Read] = deque()
        self.to_worker: deque[Read] = deque()

    def peer(self, connection: Connection) -> Connection:
        """The other one."""
        return self.primary if connection is self.worker else self.worker

    def start(self, **hello: Any) -> list[events.Event]:
        """Shake hands; both are active then. Returns what both reported."""
        self.worker.send_hello(**hello)
        reported = self.run()
        self.primary.send_welcome(worker=1, cluster=CLUSTER, name="web", config={})
        reported += self.run()
        self.worker.send_ready()
        return reported + self.run()

    def collect(self, limit: int = 262144) -> None:
        """Put on the way what both have to say."""
        self.to_primary.extend(joined(self.worker, limit))
        self.to_worker.extend(joined(self.primary, limit))

    def run(
        self, split: Callable[[bytes], list[bytes]] = lambda data: [data], limit: int = 262144
    ) -> list[events.Event]:
        """Carry bytes both ways until nobody has anything to say.

        Args:
            split: cuts what is sent into what is read.
            limit: of each `Connection.data_to_send`.
        """
        reported: list[events.Event] = []
        self.collect(limit)
        while self.to_primary or self.to_worker:
            for queue, receiver in (
                (self.to_primary, self.primary),
                (self.to_worker, self.worker),
            ):
                while queue:
                    reported += receive_split(receiver, queue.popleft(), split)
            self.collect(limit)
        return reported

    def send(self, side: Connection, body: Any = None, **address: Any) -> int:
        """Queue a message; returns its number."""
        return side.send_tell(side.encode(body), **address)

    def ask(self, side: Connection, body: Any = None, **address: Any) -> int:
        """Queue a call; returns its channel."""
        return side.send_call(side.encode(body), **address)


def receive_split(
    receiver: Connection, read: Read, split: Callable[[bytes], list[bytes]]
) -> list[events.Event]:
    """Hand over one read in pieces; the descriptors come with the first, as the kernel does it."""
    data, fds, truncated = read
    reported: list[events.Event] = []
    for piece in split(data):
        reported += receiver.receive(piece, fds, truncated)
        fds, truncated = (), False
    return reported


def raw(fd: int, kind: int = 1, **meta: Any) -> RawHandle:
    """A handle for descriptor number ``fd``, which need not exist."""
    return RawHandle(fd, kind, meta)
