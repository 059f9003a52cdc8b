"""A worker life whose process is a small program, and whose worker's words are the test's."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import attrs
import msgpack
import trio
import trio.testing

from actorcluster import ExitStatus, RemoteProtocolError
from actorcluster._worker.life import Life
from actorcluster._worker.mailbox import Mailbox, MergedMailbox
from actorcluster._worker.moments import LifeOptions
from actorcluster._worker.process import Process, spawn
from actorcluster.wire import events
from actorcluster.wire._generated import Kind, Reason
from actorcluster.wire.frames import encode_frame
from actorcluster.wire.values import RefAdapter
from tests.worker.lines import End, make_end, settle

#: Ends by itself, with exit code 3, at the end of its standard input.
OBEDIENT = ("sh", "-c", "cat >/dev/null; exit 3")
#: The same with exit code 0.
FINE = ("cat",)
#: Cannot be ended by SIGTERM.
DEAF = ("sh", "-c", 'trap "" TERM; exec cat')

Start = Callable[[], Awaitable[Process]]


class Moments:
    """Notes what a life tells."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.errors: list[Exception] = []
        self.mails: list[Any] = []
        self.ports: list[Any] = []
        self.status: ExitStatus | None = None
        #: called at every moment, to look at the life just then.
        self.look: Callable[[str], object] = str

    def _note(self, name: str) -> None:
        self.names.append(name)
        self.look(name)

    def now(self) -> float:
        return trio.current_time()

    def address(self) -> Any:
        return None

    def online(self) -> None:
        self._note("online")

    def ready(self) -> None:
        """Life.settled tells that too."""

    def reported(self, status: ExitStatus) -> ExitStatus:
        """Nothing is known beyond what the life knows."""
        return status

    is_paused = False
    weight = 1.0

    def pause(self, *, is_paused: bool) -> None:
        self.is_paused = is_paused

    def leaving(self) -> None:
        self._note("leaving")

    def draining(self) -> None:
        self._note("draining")

    def disconnected(self) -> None:
        self._note("disconnected")

    def exited(self, status: ExitStatus) -> None:
        self._note("exited")
        self.status = status

    def failed(self, error: Exception) -> None:
        self.errors.append(error)

    def port(self, event: events.Event) -> None:
        self.ports.append(event)

    def listening(self, address: tuple[str, int] | str) -> None:
        self.ports.append(address)

    def mail(self, event: Any) -> None:
        self.mails.append(event)

    def monitor(self, event: events.Monitored | events.Demonitored) -> None:
        raise AssertionError("nobody asks for it")

    def heartbeat_changed(self) -> None:
        self._note("heartbeat_changed")

    def bounced(self, event: events.Undeliverable) -> bool:
        return event.number > 1000


@attrs.define(eq=False)
class Rig:
    """The life, and both of its worker's sides: the process and the channel."""

    life: Life
    moments: Moments
    worker: End
    nursery: trio.Nursery
    running: trio.CancelScope
    _stdin: int
    over: trio.Event = attrs.Factory(trio.Event)

    def says(self, kind: Kind, payload: Any = None, envelope: Any = None, channel: int = 0) -> None:
        """Send any frame, allowed or not."""
        body = msgpack.packb(envelope), msgpack.packb(payload)
        self.worker.connection._outbox.put(encode_frame(kind, channel, *body))
        self.worker.channel.flush()

    async def comes_online(self) -> None:
        self.worker.connection.send_hello()
        self.worker.channel.flush()
        await self.hears(events.Welcome)
        self.worker.connection.send_ready()
        self.worker.channel.flush()
        with trio.fail_after(60):
            await self.life.sendable.wait()

    async def hears(self, kind: type[Any]) -> Any:
        """Wait until the primary has said it."""
        with trio.fail_after(60):
            while True:
                for event in self.worker.events:
                    if isinstance(event, kind):
                        self.worker.events.remove(event)
                        return event
                await trio.testing.wait_all_tasks_blocked()
                await trio.sleep(0.01)

    def deaf_end(self) -> socket.socket:
        """A copy of the worker's end, so that its channel can end and nobody notices."""
        carrier: Any = self.worker.channel._socket
        return socket.socket(fileno=os.dup(carrier._sock.fileno()))

    def process_ends(self) -> None:
        if self._stdin >= 0:
            os.close(self._stdin)
        self._stdin = -1

    def channel_ends(self) -> None:
        self.worker.channel.finish()

    async def ends(self) -> ExitStatus:
        with trio.fail_after(60):
            await self.over.wait()
        assert self.moments.status is not None
        assert self.moments.status is self.life.status
        return self.moments.status


@contextlib.asynccontextmanager
async def rig(
    program: Sequence[str] = FINE,
    *,
    merged: MergedMailbox | None = None,
    start: Callable[[Start], Awaitable[Process]] | None = None,
    limits: Mapping[str, int] | None = None,
    refs: RefAdapter | None = None,
    **options: Any,
) -> AsyncIterator[Rig]:
    """Run one.

    Args:
        program: of the process.
        merged: the primary's mailbox.
        start: makes the process, given what would make it.
        limits: of the worker.
        refs: of the primary.
        options: of the life.
    """
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    read_end, write_end = os.pipe()

    async def start_it() -> Process:
        pid = spawn(program, env=dict(os.environ), stdio=(read_end, None, None))
        return Process(pid, "exec", ours)

    moments = Moments()
    options = {"worker_id": 1, "name": "w", "config": {}, **options}
    starter = start_it if start is None else lambda: start(start_it)
    life = Life(LifeOptions(**options), starter, moments, merged, refs)
    worker = make_end("worker", Mailbox(), theirs, limits or {})
    async with trio.open_nursery() as nursery:
        made = Rig(life, moments, worker, nursery, trio.CancelScope(), write_end)
        nursery.start_soon(_live, made)
        nursery.start_soon(_listen, worker)
        try:
            yield made
        finally:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await made.over.wait()
            made.process_ends()
            os.close(read_end)
            for sock in (ours, theirs):
                sock.close()


async def _live(made: Rig) -> None:
    try:
        with made.running:
            await made.life.run()
    finally:
        made.over.set()


async def _listen(worker: End) -> None:
    with contextlib.suppress(RemoteProtocolError):
        await worker.channel.run()


__all__ = ["DEAF", "FINE", "OBEDIENT", "Moments", "Rig", "rig", "settle"]


def shape(status: ExitStatus) -> tuple[int | None, str | None, str, bool]:
    return status.code, status.signal, status.reason, status.voluntary


async def leaves(one: Rig) -> ExitStatus:
    """The worker says good-bye, and its process ends."""
    one.worker.connection.send_goodbye(Reason.NORMAL)
    one.worker.channel.flush()
    await one.worker.channel.wait_flushed()
    one.process_ends()
    return await one.ends()
