"""A worker of ours under an unmodified primary of Node's.

Runs in: worker

In the program of Node's primary::

    process.execPath = '/path/to/python';
    cluster.setupPrimary({
      execArgv: ['-m', 'actorcluster.adapters.node_worker'],
      exec: 'package.module:function',
      args: ['8000'],
    });
    cluster.fork();

The function is run as under a primary of ours: with an `Actor`, and each argument that is JSON as
what it means there, others as text. Between the two the primary's end of a real channel is played
here, in the same event loop: see `NodeChild` for what means what.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Sequence
from typing import Any, Final, final

import trio

from .._link import kinds
from .._link.channel import Channel
from .._link.fdsocket import FdSocket
from .._link.handles import HANDLES, Handle, close_descriptors, own
from .._link.pipe import LINK_LIMITS
from .._link.writing import close_all
from .._worker import bootstrap
from .._worker.arguments import encode_arguments
from .._worker.inet import BACKLOG
from .._worker.runtime import Runtime
from .._worker.settings import Settings
from .._worker.targetchecks import check_target
from ..errors import HandleError, LocalProtocolError, PeerClosed, RemoteProtocolError
from ..wire import events
from ..wire._generated import ErrorCode, HandleKind, Reason, State
from ..wire.connection import Connection
from .node_child import NodeChild
from .node_mail import CAPABILITIES, Refusal, give_back, hand_on
from .node_writing import NodeWriter

__all__ = ["main"]

_LONGEST: Final = 64 * 1024 * 1024
_USAGE: Final = (
    "usage: python -m actorcluster.adapters.node_worker package.module:function [ARGUMENT ...]\n"
    "It is for a primary of Node's to start, see docs/howto/node-programs.md.\n"
)


@final
class NodePrimaryLink:
    """The primary's end of our worker's channel, and the worker's end of Node's.

    Args:
        sock: the channel to Node's primary.
        end: our worker's channel, its primary's end.
        worker_id: as Node counts.
        config: what to run.
    """

    def __init__(
        self, sock: socket.socket, end: socket.socket, worker_id: int, config: dict[str, Any]
    ) -> None:
        self._worker_id = worker_id
        self._config = config
        self._socket = FdSocket(sock)
        self._child = NodeChild(_LONGEST)
        self._connection = Connection(
            "primary", limits=LINK_LIMITS, capabilities=CAPABILITIES, handles=HANDLES
        )
        self._channel = Channel(FdSocket(end), self._connection, self._on_event)
        self._channel.pass_mail_to(self._on_mail, lambda _: None)
        self._ready = trio.Event()
        self._reading = trio.CancelScope()
        self._writer = NodeWriter(
            self._socket,
            self._child.outbox,
            "the primary",
            self._channel.release,
            self._reading.cancel,
        )

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Translate until either side ends."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._serve, nursery)
                nursery.start_soon(self._writer.run)
                await self._ready.wait()
                with self._reading:
                    await self._read()
                nursery.cancel_scope.cancel()  # the primary is gone
        finally:
            self._writer.close()
            close_all(self._child.outbox.close())
            close_descriptors(self._child.take_discarded())

    async def _serve(self, nursery: trio.Nursery) -> None:
        """Serve our worker's channel; its last words still go out."""
        await self._channel.run()
        while self._socket.unsent:
            await self._socket.wait_writable()
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()

    # ---- what Node's primary says ---------------------------------------------------------

    async def _read(self) -> None:
        child = self._child
        while True:
            got = self._socket.receive_now()
            if got is None:
                await self._socket.wait_readable()
                continue
            data, fds, truncated = got
            if not data and not fds:
                return
            for event in child.receive(data, fds, truncated):
                await self._relay(event)
            close_descriptors(child.take_discarded())
            close_all(child.outbox.take_done())
            self._channel.flush()
            self._writer.flush()

    async def _relay(self, event: events.Event) -> None:
        connection = self._connection
        match event:
            case events.TellReceived():
                handle = event.handles[0] if event.handles else None
                try:
                    await self._channel.send(event.body, handle)
                except (PeerClosed, HandleError):
                    close_descriptors(event.handles)
            case events.Stop():
                if connection.state in (State.STARTING, State.ACTIVE):
                    connection.send_stop(None, Reason.SHUTDOWN)
            case events.Undeliverable():
                connection.send_undeliverable(event.number, None, event.error)
            case events.Listening():
                self._listening(event)
            case events.ErrorReceived():
                connection.send_error(event.channel, event.error)
            case events.Connections():
                handles = [_handle(fd) for fd in event.handles]
                connection.send_connections(event.channel, event.first, handles)

    def _listening(self, event: events.Listening) -> None:
        """Pass on that a port is bound; a shared stream socket listens from now on."""
        address, handle = event.address, None
        if event.handle is not None:
            handle = _handle(event.handle)
            fd = handle.fileno()
            if not isinstance(address, str):
                address = list(kinds.ask_socket(fd, socket.socket.getsockname)[:2])
            if kinds.real_kind(fd) is not HandleKind.UDP_SOCKET:
                kinds.ask_socket(fd, lambda sock: sock.listen(BACKLOG))
                handle = _handle(handle.detach())
        self._connection.send_listening(
            event.channel, mode=event.mode, address=address, handle=handle
        )
        self._child.listens(event.channel, address)

    # ---- what our worker says -------------------------------------------------------------

    def _on_event(self, event: events.Event) -> None:
        child, connection = self._child, self._connection
        match event:
            case events.Hello():
                connection.send_welcome(
                    worker=self._worker_id,
                    cluster=os.urandom(16),
                    name=f"worker-{self._worker_id}",
                    config=self._config,
                    heartbeat=0,
                )
            case events.Ready():
                child.online()
                self._ready.set()
            case events.Listen():
                child.listen(event.channel, event.request)
            case events.ConnReply():
                child.decided(event)
            case events.ConnCredit():
                child.credit(event.channel, event.count)
            case events.ListenClosed():
                child.close(event.channel)
            case events.Leave():
                child.leave()
            case events.Goodbye():
                self._ready.set()
                with contextlib.suppress(LocalProtocolError):
                    connection.send_goodbye(Reason.NORMAL)
        self._channel.flush()
        self._writer.flush()

    def _on_mail(self, event: events.TellReceived | events.CallReceived) -> None:
        why: Refusal | None
        if event.to is not None:
            why = ErrorCode.NO_SUCH_ACTOR, "a primary of Node's knows nobody by name"
        elif isinstance(event, events.CallReceived):
            why = ErrorCode.NOT_HANDLED, "a primary of Node's answers no asks"
        else:
            why = hand_on(event, self._child.outbox)
        if why is None:
            self._connection.arrived(event.number)
            self._writer.flush()
        else:
            give_back(event, why, self._channel)


def _handle(fd: int) -> Handle:
    os.set_blocking(fd, False)
    return own(fd, kinds.real_kind(fd))


def _argument(text: str) -> Any:
    """What is JSON means what it says there."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def main(argv: Sequence[str]) -> int:
    """Run a worker; returns its exit code.

    Args:
        argv: the target's name and its arguments.

    Raises:
        BaseException: what the target raised.
    """
    names = ("NODE_CHANNEL_FD", "NODE_UNIQUE_ID", "NODE_CHANNEL_SERIALIZATION_MODE")
    number, worker, mode = (os.environ.pop(name, "") for name in names)
    if not argv or not number.isdecimal() or not worker.isdecimal() or mode not in ("", "json"):
        sys.stderr.write(_USAGE)
        return 2
    bootstrap.prepare_signals()
    bootstrap.prepare_sigterm()
    args = [_argument(text) for text in argv[1:]]
    target = check_target(argv[0], args, Settings())
    sys.argv[1:] = argv[1:]
    config = {"target": target.to_config(), "args": encode_arguments(target, args, None)}
    sock = socket.socket(fileno=int(number))
    sock.set_inheritable(False)
    ours, theirs = socket.socketpair()
    bootstrap.set_identity(bootstrap.Identity(theirs.fileno(), int(worker)), None)
    bootstrap.take_identity()
    lifeline = bootstrap.Lifeline(sock.fileno())
    runtime = Runtime(theirs, {})
    runtime.begin(int(worker), None, is_watched=False)
    link = NodePrimaryLink(sock, ours, int(worker), config)
    error = trio.run(_live, runtime, link)
    lifeline.disarm()
    if error is not None:
        raise error
    return 0


async def _live(runtime: Runtime, link: NodePrimaryLink) -> BaseException | None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_translate, link)
        return await runtime.run()


async def _translate(link: NodePrimaryLink) -> None:
    try:
        await link.run()
    except RemoteProtocolError as exc:
        sys.stderr.write(f"actorcluster: the primary of Node's: {exc}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
