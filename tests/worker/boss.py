"""A worker's listeners, real, against a primary that the test moves by hand."""

from __future__ import annotations

import contextlib
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import trio

from actorcluster._link.channel import Channel
from actorcluster._link.fdsocket import FdSocket
from actorcluster._link.handles import HANDLES, Handle, close_descriptors
from actorcluster._link.pipe import LINK_LIMITS
from actorcluster._worker.accepting import HandoffListener, SharedListener
from actorcluster._worker.listeners import Listeners
from actorcluster._worker.listening import listen_tcp
from actorcluster.wire import events
from actorcluster.wire.connection import Connection

PATIENCE = 60
"""Seconds for what takes milliseconds."""


class Boss:
    """The primary's end, which reads and says nothing by itself, and the worker's, which does."""

    def __init__(self, **limits: int) -> None:
        ours, theirs = socket.socketpair()
        self.connection = Connection("primary", limits={**LINK_LIMITS, **limits}, handles=HANDLES)
        self._socket = FdSocket(ours)
        self.heard: list[Any] = []
        self.link = Channel(
            FdSocket(theirs), Connection("worker", limits=LINK_LIMITS, handles=HANDLES), self._act
        )
        self.listeners = Listeners(self.link)
        self._lent: list[tuple[int, tuple[Handle, ...]]] = []

    def _act(self, event: events.Event) -> None:
        if isinstance(event, events.Welcome):
            self.link.connection.send_ready()
        elif isinstance(event, events.Stop):
            self.listeners.stop()
        else:
            self.listeners.on_event(event)

    async def start(self) -> None:
        """Shake hands."""
        self.link.connection.send_hello()
        self.link.flush()
        await self.hear(events.Hello)
        self.connection.send_welcome(worker=1, cluster=bytes(16), name="w", config={})
        self.say()
        await self.hear(events.Ready)

    # ---- what the primary does ----------------------------------------------------------------

    def say(self) -> None:
        """Send what is queued, in one go."""
        while self.connection.wants_to_send():
            for batch in self.connection.data_to_send():
                assert self._socket.send_now(batch.buffers, [h.fileno() for h in batch.handles])
                self._lent.append((batch.number, batch.handles))

    def read(self) -> None:
        """Read what is there."""
        while (got := self._socket.receive_now()) is not None and (got[0] or got[1]):
            self._take(*got)

    def read_some(self) -> None:
        """Read what one system call gives."""
        if (got := self._socket.receive_now()) is not None:
            self._take(*got)

    def _take(self, data: memoryview, fds: list[int], truncated: bool) -> None:
        for event in self.connection.receive(data, fds, truncated):
            if isinstance(event, events.HandlesAcknowledged):
                self._release(event.upto)
            else:
                self.heard.append(event)
        close_descriptors(self.connection.take_discarded())

    def _release(self, upto: float) -> None:
        while self._lent and self._lent[0][0] <= upto:
            for handle in self._lent.pop(0)[1]:
                handle.close()

    async def hear(self, *kinds: type[Any]) -> Any:
        """The next event of one of these kinds; others stay to be heard."""
        with trio.fail_after(PATIENCE):
            while True:
                for place, event in enumerate(self.heard):
                    if isinstance(event, kinds):
                        return self.heard.pop(place)
                await self._socket.wait_readable()
                self.read()

    def grant(self, channel: int, *, address: Any = ("127.0.0.1", 1), **options: Any) -> None:
        """Say LISTENING."""
        address = list(address) if isinstance(address, tuple) else address
        options = {"mode": "handoff", **options}
        self.connection.send_listening(channel, address=address, **options)
        self.say()

    def hand(self, channel: int, first: int, count: int = 1) -> list[socket.socket]:
        """Hand over new connections in one frame; returns their other ends."""
        pairs = [tcp_pair() for _ in range(count)]
        handles = [Handle.of(server) for server, _ in pairs]
        self.connection.send_connections(channel, first, handles)
        self.say()
        return [client for _, client in pairs]

    def stop(self) -> None:
        """Say STOP."""
        self.connection.send_stop(None)
        self.say()

    def close(self) -> None:
        """End as a primary that is killed."""
        self._socket.close()
        self._release(math.inf)
        for event in self.heard:
            for handle in getattr(event, "handles", ()):
                handle.close()

    # ---- what the worker does -----------------------------------------------------------------

    async def listen(self, **options: Any) -> HandoffListener:
        """Listen, and say LISTENING."""
        result: list[HandoffListener] = []

        async def listen() -> None:
            (listener,) = await listen_tcp(self.listeners, 0, host="127.0.0.1", **options)
            assert isinstance(listener, HandoffListener)
            result.append(listener)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            request = await self.hear(events.Listen)
            self.grant(request.channel)
        return result[0]

    async def fill(self) -> None:
        """Fill the kernel's part of that side: nobody knows yet that nothing more goes in."""
        await trio.testing.wait_all_tasks_blocked()
        connection, sock = self.link.connection, self.link._socket
        assert isinstance(sock, FdSocket)
        with contextlib.suppress(BlockingIOError):
            while True:  # each goes in as a whole, or not at all
                connection.send_log(10, 0.0, "filler", "x" * 500)
                (batch,) = connection.data_to_send()
                sock._sock.sendmsg(batch.buffers)
        assert self.link.is_clear

    async def block(self) -> None:
        """Fill the worker's side of the channel, so that nothing it says is written."""
        await trio.testing.wait_all_tasks_blocked()  # until HANDLE_ACK has left
        while self.link.is_flushed:
            self.link.connection.send_log(10, 0.0, "filler", "x" * 50_000)
            self.link.flush()
            await trio.testing.wait_all_tasks_blocked()


@contextlib.asynccontextmanager
async def open_boss(**limits: int) -> AsyncIterator[Boss]:
    """Run a worker and its primary's end while the block runs."""
    boss = Boss(**limits)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_serve, boss)
            try:
                await boss.start()
                yield boss
            finally:
                nursery.cancel_scope.cancel()
    boss.listeners.stop()
    boss.listeners.fail()
    for listener in list(boss.listeners._listeners.values()):
        listener.close()
    boss.close()


async def _serve(boss: Boss) -> None:
    await boss.link.run()
    boss.listeners.stop()
    boss.listeners.fail()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection: the server's and the client's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        client.settimeout(PATIENCE)
        return server.accept()[0], client


async def until(condition: Callable[[], object]) -> None:
    """Let everything run until it is so."""
    with trio.fail_after(PATIENCE):
        while not condition():
            await trio.lowlevel.checkpoint()


class Background:
    """A call that runs in the background; its outcome can be looked at."""

    def __init__(self, nursery: trio.Nursery, call: Callable[..., Awaitable[Any]], *args: Any):
        self.scope = trio.CancelScope()
        self.done = trio.Event()
        self.result: Any = None
        self.error: BaseException | None = None
        nursery.start_soon(self._run, call, args)

    async def _run(self, call: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
        with self.scope:
            try:
                self.result = await call(*args)
            except Exception as exc:  # noqa: BLE001  (raised again by `wait`)
                self.error = exc
        self.done.set()

    async def wait(self) -> Any:
        """Its result."""
        with trio.fail_after(PATIENCE):
            await self.done.wait()
        if self.error is not None:
            raise self.error
        return self.result

    async def cancel(self) -> None:
        """Cancel it; it must take that."""
        self.scope.cancel()
        with trio.fail_after(PATIENCE):
            await self.done.wait()
        assert self.scope.cancelled_caught


async def own(boss: Boss, **options: Any) -> SharedListener:
    """A listener on a socket of the worker's own, which accepts as those on shared ones do."""
    (listener,) = await listen_tcp(boss.listeners, 0, host="127.0.0.1", exclusive=True, **options)
    assert isinstance(listener, SharedListener)
    return listener


def connect(listener: SharedListener) -> socket.socket:
    assert isinstance(listener.address, tuple)
    return socket.create_connection(listener.address)


def close(*sockets: socket.socket) -> None:
    for one in sockets:
        one.close()
