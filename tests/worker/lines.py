"""Both ends of a channel in one process, introduced to each other, with a mailbox behind each."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import attrs
import trio
import trio.testing

from actorcluster._link.channel import Channel
from actorcluster._link.fdsocket import FdSocket
from actorcluster._link.handles import HANDLES
from actorcluster._link.pipe import LINK_LIMITS
from actorcluster._worker.mailbox import Mailbox, deliver
from actorcluster._worker.message import Message, withdraw
from actorcluster.wire import events
from actorcluster.wire.connection import Connection
from actorcluster.wire.events import Event

Outcome = Any


@attrs.define(eq=False)
class End:
    """One end; what comes here as mail lies in `mailbox`, all else in `events`."""

    connection: Connection
    mailbox: Mailbox
    channel: Channel = attrs.field(init=False)
    events: list[Any] = attrs.Factory(list)

    def on_event(self, event: Event) -> None:
        if isinstance(event, events.TellReceived | events.CallReceived):
            deliver(event, self.channel, self.mailbox, "the other end")
        elif isinstance(event, events.Cancelled):
            withdraw(self.channel, event.channel)
        else:
            self.events.append(event)

    async def receive(self) -> Message:
        with trio.fail_after(60):
            return await self.mailbox.receive()


@attrs.frozen
class Line:
    """The two ends."""

    worker: End
    primary: End


def make_end(role: Any, mailbox: Mailbox, sock: socket.socket, limits: Mapping[str, int]) -> End:
    sock.setblocking(False)
    connection = Connection(role, limits={**LINK_LIMITS, **limits}, handles=HANDLES)
    end = End(connection, mailbox)
    end.channel = Channel(FdSocket(sock), connection, end.on_event)
    return end


def carry(source: Connection, target: Connection) -> None:
    for batch in source.data_to_send():
        for data in batch.buffers:
            target.receive(data)


def introduce(worker: Connection, primary: Connection) -> None:
    """Bring two connections that nobody reads or writes yet from nothing to ACTIVE."""
    worker.send_hello()
    carry(worker, primary)
    primary.send_welcome(worker=1, cluster=bytes(16), name="w", config={})
    carry(primary, worker)
    worker.send_ready()
    carry(worker, primary)


@contextlib.asynccontextmanager
async def line(
    *, mailbox: Mailbox | None = None, limits: Mapping[str, int] | None = None
) -> AsyncIterator[Line]:
    """Open one.

    Args:
        mailbox: the primary's.
        limits: of both ends.
    """
    pair = socket.socketpair()
    worker = make_end("worker", Mailbox(), pair[0], limits or {})
    primary = make_end("primary", Mailbox() if mailbox is None else mailbox, pair[1], limits or {})
    introduce(worker.connection, primary.connection)
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.channel.run)
        await nursery.start(primary.channel.run)
        yield Line(worker, primary)
        nursery.cancel_scope.cancel()


async def settle() -> None:
    """Let everything that is under way arrive."""
    for _ in range(3):
        await trio.testing.wait_all_tasks_blocked()


async def until(condition: Callable[[], object]) -> None:
    """Wait until it is so, for what is told to nobody: timers, other processes."""
    with trio.fail_after(60):
        while not condition():  # noqa: ASYNC110  (nobody tells)
            await trio.sleep(0.005)


async def ask(end: End, body: Any, outcomes: list[Outcome], **options: Any) -> None:
    """Ask, and note the reply or the error (an `Outcome`)."""
    try:
        outcomes.append(await end.channel.ask(body, **options))
    except Exception as exc:  # noqa: BLE001  (the outcome)
        outcomes.append(exc)


async def everybody_has_closed(reader: int) -> None:
    """Wait for the end of file of a pipe, and close our end of it."""
    with open(reader, "rb", buffering=0) as pipe, trio.fail_after(60):
        await trio.lowlevel.wait_readable(pipe)
        assert b"" == pipe.read(1)
