"""Unmodified Node programs as workers: their end of our channel is played here, for each of them.

Runs in: primary

Theory of operation
===================

A Node program with ``NODE_CHANNEL_FD`` and ``NODE_UNIQUE_ID`` in its environment takes itself for a
worker of Node's cluster: ``server.listen()`` asks the primary for the port, and connections come
through the channel. `NodeLink` is for each such process what the runtime of a worker is for one in
Python: it has the worker's end of a real channel with real frames, through memory, and says there
what the program has said in Node's protocol. So all the rest, from the ports to the supervision,
knows of no other protocol, and its checks and limits hold here, too. What means what is decided in
`NodeSession`, without I/O; here it is carried out.

*Reading.* What the program sends is acted upon line by line. A message waits for room in the
primary's mailbox as one of a Python worker does; since a Node program does not wait, the lines
behind it do, and then the kernel's buffer fills, and ``process.send()`` returns false there. When
that lasts, it is logged: connections that the program takes are not heard of meanwhile.

*Writing.* A message gives its credit back once the kernel has it. A handle is closed here when the
program has acknowledged its descriptor. What a descriptor really is, is asked of the kernel before
it leaves: a regular file would abort the Node process.

*The end.* Node closes its channel when it leaves. If it was told to, or has said so, that is a
GOODBYE; else it is the end of the channel without a word. When the process has ended first, what it
left is read as far as the mailbox has room.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final, final

import trio

from .._link.carrier import Carrier
from .._link.channel import Channel
from .._link.fdsocket import FdSocket
from .._link.handles import HANDLES, close_descriptors
from .._link.memory import memory_pair
from .._link.writing import close_all
from ..errors import (
    HandleError,
    LocalProtocolError,
    MessageTooLarge,
    PeerClosed,
    RemoteProtocolError,
)
from ..wire import events
from ..wire._generated import AbortCode, ErrorCode, Reason, State
from ..wire.connection import Connection
from .node_lines import violation
from .node_mail import CAPABILITIES, Refusal, give_back, hand_on
from .node_queries import Vault
from .node_session import NodeSession
from .node_versions import NodeVersions
from .node_writing import NodeWriter

__all__ = ["NodeAdapter", "NodeLink"]

log = logging.getLogger("actorcluster.node")

#: What a line may have beside a message.
_MARGIN: Final = 64 * 1024
#: Bytes that are read at once, and things said that are acted upon: then it is others' turn.
_AT_ONCE: Final = 64 * 1024
_EVENTS_AT_ONCE: Final = 64
#: So long a message may wait for room before that is logged.
_PATIENCE_SECONDS: Final = 5.0
_HANDLE_NAMES: Final = ("tcp-socket", "unix-stream", "tcp-listener", "unix-listener", "udp-socket")


@final
class NodeAdapter:
    """Node's protocol, for one primary; see `Adapter`."""

    def __init__(self) -> None:
        self._vault = Vault()
        self._versions = NodeVersions()

    def environment(self, worker_id: int, fd: int) -> dict[str, str]:
        """See `Adapter.environment`. Node removes these before its program runs."""
        return {
            "NODE_CHANNEL_FD": str(fd),
            "NODE_CHANNEL_SERIALIZATION_MODE": "json",
            "NODE_UNIQUE_ID": str(worker_id),
        }

    def adapt(
        self, sock: socket.socket, *, pid: int, name: str, worker_id: int, limits: Mapping[str, int]
    ) -> NodeLink:
        """See `Adapter.adapt`."""
        return NodeLink(
            sock,
            self._vault,
            self._versions,
            pid=pid,
            name=name,
            worker_id=worker_id,
            limits=limits,
        )


@final
class NodeLink:
    """One Node process; see `Adapted`, and `Adapter.adapt` for the arguments."""

    def __init__(
        self,
        sock: socket.socket,
        vault: Vault,
        versions: NodeVersions,
        *,
        pid: int,
        name: str,
        worker_id: int,
        limits: Mapping[str, int],
    ) -> None:
        self._name = name
        self._pid = pid
        self._versions = versions
        self._online = trio.Event()
        self._socket = FdSocket(sock)
        self._session = NodeSession(limits["max_message"] + _MARGIN, vault)
        self._connection = Connection(
            "worker",
            limits={**limits, "max_fds": 1},
            capabilities=CAPABILITIES,
            handle_names=_HANDLE_NAMES,
            handles=HANDLES,
        )
        near, far = memory_pair()
        self.carrier: Carrier = near
        self._channel = Channel(far, self._connection, self._on_event)
        self._channel.pass_mail_to(self._on_mail, _never)
        self._connection.send_hello(worker=worker_id, pid=pid, implementation={"lang": "node"})
        self._welcomed = trio.Event()
        #: our channel of each listener by the session's, and the other way round.
        self._ours: dict[int, int] = {}
        self._theirs: dict[int, int] = {}
        self._todo: deque[events.Event] = deque()
        self._reading = trio.CancelScope()
        self._writer = NodeWriter(
            self._socket,
            self._session.outbox,
            f"worker {name}",
            self._channel.release,
            self._reading.cancel,
        )
        self._unknown = 0

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """See `Adapted.run`."""
        fault: RemoteProtocolError | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._serve, nursery)
                nursery.start_soon(self._writer.run)
                nursery.start_soon(self._look)
                try:
                    await self._welcomed.wait()
                    with self._reading:
                        await self._read()
                    if self._reading.cancelled_caught:
                        self._drain()
                    await self._hang_up()
                except RemoteProtocolError as exc:
                    fault = exc
                nursery.cancel_scope.cancel()
        finally:
            self._close()
        if fault is not None:
            raise fault

    def finish(self) -> None:
        """See `Adapted.finish`."""
        self._welcomed.set()
        self._reading.cancel()

    async def _look(self) -> None:
        await self._online.wait()
        await self._versions.look(self._pid)

    async def _serve(self, nursery: trio.Nursery) -> None:
        await self._channel.run()
        nursery.cancel_scope.cancel()  # nobody is left to translate for

    async def _hang_up(self) -> None:
        """The program has closed its channel, or is gone."""
        with contextlib.suppress(LocalProtocolError, trio.ClosedResourceError):
            if self._session.is_leaving:
                self._connection.send_goodbye(Reason.NORMAL)
            await self._channel.wait_flushed()
            self._channel.shutdown_write()
        await trio.sleep_forever()  # until the other end has read it all, and closes

    def _close(self) -> None:
        self._writer.close()
        close_all(self._session.close())
        close_descriptors(self._session.take_discarded())
        for event in self._todo:
            if isinstance(event, events.TellReceived):
                close_descriptors(event.handles)

    # ---- what the program says ------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            await self._act_on_all()
            got = self._socket.receive_now(_AT_ONCE)
            if got is None:
                await self._socket.wait_readable()
            elif not self._take(*got):
                return
            else:
                await trio.lowlevel.checkpoint()

    def _take(self, data: memoryview, fds: list[int], truncated: bool) -> bool:
        """Take in one read; False at the end of the stream."""
        if not data and not fds:
            return False
        session = self._session
        try:
            self._todo.extend(session.receive(data, fds, truncated))
        except RemoteProtocolError:
            self._todo.extend(session.take_events())
            self._act_now()
            raise
        finally:
            close_descriptors(session.take_discarded())
            close_all(session.outbox.take_done())
        if session.unknown > self._unknown:
            if not self._unknown:
                log.warning("worker %s said an unknown NODE_ command; it is lost", self._name)
            self._unknown = session.unknown
        self._writer.flush()
        return True

    async def _act_on_all(self) -> None:
        """Act on what was said, in order; where there is no room for a message, wait."""
        todo, since = self._todo, 0
        while todo:
            event = todo[0]
            if isinstance(event, events.TellReceived) and not self._told(event):
                await self._tell(event)
            elif not isinstance(event, events.TellReceived):
                self._relay(event)
            todo.popleft()
            since += 1
            if since == _EVENTS_AT_ONCE:
                since = 0
                self._channel.flush()
                await trio.lowlevel.checkpoint()
        self._channel.flush()

    async def _tell(self, event: events.TellReceived) -> None:
        """Pass on a message as soon as there is room."""
        with trio.move_on_after(_PATIENCE_SECONDS):
            await self._put(event)
            return
        log.warning(
            "worker %s is not heard any more: nobody reads the messages that it sent", self._name
        )
        await self._put(event)

    async def _put(self, event: events.TellReceived) -> None:
        handle, address = _parts(event)
        try:
            with _said_by_program():
                await self._channel.send(event.body, handle, **address)
        except PeerClosed:
            close_descriptors(event.handles)

    def _told(self, event: events.TellReceived) -> bool:
        """Pass on a message if there is room for it now; tells whether."""
        handle, address = _parts(event)
        try:
            with _said_by_program():
                self._channel.send_nowait(event.body, handle, **address)
        except trio.WouldBlock:
            return False
        except PeerClosed:
            close_descriptors(event.handles)
        return True

    def _act_now(self) -> int:
        """Act on what was said without waiting; returns how many messages had no room."""
        lost = 0
        while self._todo:
            event = self._todo[0]
            if not isinstance(event, events.TellReceived):
                self._relay(event)
            elif not self._told(event):
                lost += 1
                close_descriptors(event.handles)
            self._todo.popleft()
        self._channel.flush()
        return lost

    def _drain(self) -> None:
        """Read what is there now, but not what somebody who has the channel goes on writing."""
        lost = self._act_now()
        left = self._socket.pending()
        while left > 0 and (got := self._socket.receive_now()) is not None:
            left -= len(got[0])
            if not self._take(*got):
                break
            lost += self._act_now()
        if lost:
            text = "worker %s has ended; %d of its messages are lost, for nobody read those before"
            log.warning(text, self._name, lost)

    def _relay(self, event: events.Event) -> None:
        """Say in our protocol what was said in Node's."""
        connection = self._connection
        if connection.state in (State.CLOSING, State.CLOSED):
            return
        try:
            match event:
                case events.ListenClosed():
                    self._close_listener(event)
                case events.ConnReply():
                    channel = self._ours[event.channel]
                    connection.send_conn_reply(channel, event.upto, event.rejected)
                case events.Undeliverable():
                    connection.send_undeliverable(event.number, None, event.error)
                case events.Ready():
                    self._online.set()
                    if connection.state is State.STARTING:  # else it was told to stop already
                        connection.send_ready()
                case _ if connection.state is State.ACTIVE:  # later all this is of no use
                    self._relay_active(event)
        except LocalProtocolError as exc:  # no program of Node's comes here
            raise violation("NODE-5", str(exc)) from exc

    def _relay_active(self, event: events.Event) -> None:
        connection = self._connection
        match event:
            case events.Listen():
                channel = connection.send_listen(event.request)
                self._ours[event.channel] = channel
                self._theirs[channel] = event.channel
            case events.ConnCredit():
                connection.send_conn_credit(self._ours[event.channel], event.count)
            case events.Leave():
                connection.send_leave()
            case events.Serving():
                connection.send_serving()

    def _close_listener(self, event: events.ListenClosed) -> None:
        channel = self._ours.pop(event.channel, None)
        if channel is not None:
            self._theirs.pop(channel, None)
            self._connection.send_listen_close(channel)

    # ---- what the primary says ------------------------------------------------------------

    def _on_event(self, event: events.Event) -> None:
        session = self._session
        match event:
            case events.Welcome():
                self._welcomed.set()
            case events.Stop():
                session.stop()
            case events.Listening():
                session.listening(
                    self._theirs.get(event.channel, 0),
                    address=event.address,
                    data=event.data,
                    handle=event.handle,
                )
            case events.ErrorReceived():
                theirs = self._theirs.pop(event.channel, 0)
                self._ours.pop(theirs, None)
                session.refused(theirs, event.error)
            case events.Connections():
                theirs = self._theirs.get(event.channel, 0)
                session.connections(theirs, event.first, event.handles)
            case events.Aborted():
                self._channel.finish()
        close_all(session.outbox.take_done())
        self._writer.flush()

    def _on_mail(self, event: events.TellReceived | events.CallReceived) -> None:
        why: Refusal | None
        if isinstance(event, events.CallReceived):
            why = ErrorCode.NOT_HANDLED, "a Node program answers no asks; send it a message"
        elif event.to is not None:
            why = ErrorCode.NO_SUCH_ACTOR, "a Node program is one actor"
        else:
            why = hand_on(event, self._session.outbox)
        if why is None:
            self._connection.arrived(event.number)
            self._writer.flush()
        else:
            give_back(event, why, self._channel)


def _parts(event: events.TellReceived) -> tuple[int | None, dict[str, Any]]:
    """What `Channel.send` takes beside the body."""
    handle = event.handles[0] if event.handles else None
    return handle, {} if event.to is None else {"to": event.to}


@contextlib.contextmanager
def _said_by_program() -> Iterator[None]:
    """A message that cannot be sent was the program's fault: it is told so by its end."""
    try:
        yield
    except (TypeError, ValueError, RecursionError) as exc:
        raise violation("NODE-2", f"a message that no body can hold: {exc}") from exc
    except MessageTooLarge as exc:
        raise violation("NODE-1", f"a message: {exc}", AbortCode.LIMIT_EXCEEDED) from exc
    except (HandleError, OSError) as exc:
        raise violation("NODE-3", f"a descriptor that cannot be passed on: {exc}") from exc


def _never(event: object) -> None:
    raise AssertionError(f"nobody has asked for runs, such as {event!r}")
