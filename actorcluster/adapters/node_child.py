"""A worker of ours under a primary of Node's, in terms of our protocol; no I/O.

Runs in: worker

Theory of operation
===================

The mirror of `NodeSession`: what Node's primary says is reported as a primary of ours would have
said it, and what our worker says is put into Node's words.

=========================== ===============================================
what Node's primary says    event of `receive`
=========================== ===============================================
answer to ``queryServer``   `Listening` or `ErrorReceived`
``newconn``                 `Connections`, one at a time
``disconnect``              `Stop`
answer to a wish to leave   `Stop`
a message                   `TellReceived`
=========================== ===============================================

Node hands over a connection and waits until it is taken or declined. One that comes when the worker
has given no credit is declined at once: others get it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final, final

import attrs

from .._link.nodelines import HANDLE, HANDLE_ACK, HANDLE_NACK
from ..errors import RemoteProtocolError
from ..wire._generated import ErrorCode
from ..wire.events import (
    Connections,
    ConnReply,
    ErrorReceived,
    Event,
    Listening,
    Stop,
    TellReceived,
    Undeliverable,
)
from .node_lines import LOST, Lines, encode_line, is_internal, violation
from .node_outbox import NodeOutbox, Outgoing

__all__ = ["NodeChild"]

_CLUSTER: Final = "NODE_CLUSTER"
_IPV6_ONLY: Final = 1


@final
@attrs.define(eq=False, repr=False)
class _Server:
    """What the worker listens on, or has asked for.

    Attributes:
        query: as it was sent.
        key: of messages about it; None before the answer.
        credit: connections that the worker takes.
        handed: number of the latest one.
        waiting: what has to be answered, by the connection's number.
    """

    query: dict[str, Any]
    credit: int
    key: str | None = None
    handed: int = 0
    waiting: dict[int, int] = attrs.Factory(dict)


@final
class NodeChild:
    """The worker's side of the conversation.

    Args:
        longest: bytes that a line may have.

    Attributes:
        outbox: what is to be written.
        is_leaving: the worker was told to leave, or has said that it does.
    """

    def __init__(self, longest: int) -> None:
        self.outbox = NodeOutbox()
        self.is_leaving = False
        self._lines = Lines(longest)
        self._events: list[Event] = []
        self._seq = 0
        self._servers: dict[int, _Server] = {}
        self._asked: dict[int, int] = {}
        self._leave_seq: int | None = None
        self._discarded: list[int] = []

    # ---- in -------------------------------------------------------------------------------

    def receive(
        self, data: bytes | bytearray | memoryview, fds: Sequence[int] = (), truncated: bool = False
    ) -> list[Event]:
        """Take in one read of the channel; descriptors are numbers in the events' handles.

        Raises:
            RemoteProtocolError: this is not what Node's primary says.
        """
        try:
            for message, fd in self._lines.feed(data, fds, truncated):
                self._take_line(message, fd)
        except RemoteProtocolError:
            self._discard_all()
            raise
        events, self._events = self._events, []
        return events

    def _take_line(self, message: Any, fd: int | None) -> None:
        try:
            self._on_line(message, fd)
        except RemoteProtocolError:
            if fd is not None and fd != LOST:
                self._discarded.append(fd)
            raise

    def _discard_all(self) -> None:
        """The descriptors that nobody has heard of, and will not."""
        for event in self._events:
            if isinstance(event, TellReceived | Connections):
                self._discarded += event.handles
            elif isinstance(event, Listening) and event.handle is not None:
                self._discarded.append(event.handle)
        self._events.clear()
        self._discarded += self._lines.take_fds()

    def take_discarded(self) -> list[int]:
        """Take the descriptors that nobody owns. The caller must close them."""
        fds, self._discarded = self._discarded, []
        return fds

    def _on_line(self, message: Any, fd: int | None) -> None:
        if not is_internal(message):
            self._events.append(TellReceived(None, None, message, (), {}, 0, 0))
            return
        command = message["cmd"]
        if command == _CLUSTER:
            self._on_cluster(message, None)
        elif command == HANDLE:
            self._on_handle(message, fd)
        elif command in (HANDLE_ACK, HANDLE_NACK):
            lost = self.outbox.receipt(is_lost=command == HANDLE_NACK)
            if lost is not None and lost.message is not None:
                error = {"code": str(ErrorCode.HANDLE_LOST), "message": "it had no room for it"}
                self._events.append(Undeliverable(lost.message, None, error))

    def _on_handle(self, message: Mapping[str, Any], fd: int | None) -> None:
        if fd is None or fd == LOST:
            self.outbox.provoked({"cmd": HANDLE_NACK})
            return
        self.outbox.provoked({"cmd": HANDLE_ACK})
        inner = message.get("msg")
        if is_internal(inner):
            self._on_cluster(inner, fd)
        else:
            self._events.append(TellReceived(None, None, inner, (fd,), {"handle": 0}, 0, 0))

    def _on_cluster(self, message: Any, fd: int | None) -> None:
        ack, act = message.get("ack"), message.get("act")
        if type(ack) is int and ack in self._asked:
            self._on_answer(self._asked.pop(ack), message, fd)
            return
        if type(ack) is int and ack == self._leave_seq:
            self._stop()
        elif act == "newconn" and fd is not None:
            self._on_connection(message, fd)
            return
        elif act == "disconnect":
            self._stop()
        if fd is not None:
            self._discarded.append(fd)

    def _stop(self) -> None:
        self.is_leaving = True
        self._events.append(Stop(None, 0))

    def _on_answer(self, channel: int, message: Mapping[str, Any], fd: int | None) -> None:
        number, key = message.get("errno"), message.get("key")
        server = self._servers.get(channel)
        if server is None or number:
            if fd is not None:
                self._discarded.append(fd)
            if server is None:
                if type(key) is str and not number:
                    self._say({"act": "close", "key": key})  # it does not want it any more
                return
            del self._servers[channel]
            self._events.append(ErrorReceived(channel, _error(number)))
            return
        if type(key) is not str:
            raise violation("NODE-2", "an answer to 'queryServer' without its key")
        name = message.get("sockname") or {}
        if type(name) is not dict:
            raise violation("NODE-2", "an answer to 'queryServer' with a wrong 'sockname'")
        server.key = key
        address: Any = server.query["address"]
        if server.query["addressType"] != -1:
            address = [name.get("address") or address or "::", name.get("port")]
        mode = "handoff" if fd is None else "shared"
        self._events.append(Listening(channel, mode, address, None, fd))

    def listens(self, channel: int, address: Any) -> None:
        """Say where a server listens, which of a shared socket `receive` cannot know."""
        server = self._servers[channel]
        port = address[1] if isinstance(address, list | tuple) else server.query["port"]
        self._say({**server.query, "act": "listening", "port": port})

    def _on_connection(self, message: Mapping[str, Any], fd: int) -> None:
        key, seq = message.get("key"), message.get("seq")
        if type(seq) is not int:
            raise violation("NODE-2", "'newconn' without a seq")
        for channel, server in self._servers.items():
            if server.key == key and server.credit > 0 and not self.is_leaving:
                server.credit -= 1
                server.handed += 1
                server.waiting[server.handed] = seq
                self._events.append(Connections(channel, server.handed, (fd,), {}))
                return
        self._discarded.append(fd)
        self._say({"ack": seq, "accepted": False})

    # ---- out ------------------------------------------------------------------------------

    def online(self) -> None:
        """The runtime is up."""
        self._say({"act": "online"})

    def listen(self, channel: int, request: Mapping[str, Any]) -> None:
        """Ask for a port."""
        query: dict[str, Any] = {"index": 0, "data": None, "flags": 0}
        query["backlog"] = request.get("backlog") or 0
        if request.get("v6only"):
            query["flags"] = _IPV6_ONLY
        if str(request.get("key") or "").isdecimal():
            query["index"] = int(request["key"]) - 1
        transport = request.get("transport")
        if transport == "unix":
            mode = request.get("mode") or 0
            query |= {"address": os.path.abspath(request["path"]), "port": -1, "addressType": -1}
            query |= {"readableAll": bool(mode & 0o004), "writableAll": bool(mode & 0o002)}
        elif transport == "fd":
            query |= {"address": None, "port": None, "addressType": None, "fd": request["name"]}
        else:
            host = request.get("host")
            family = 6 if host is not None and ":" in host else 4
            kind = f"udp{family}" if transport == "udp" else family
            query |= {"address": host, "port": request.get("port", 0), "addressType": kind}
        self._servers[channel] = _Server(query, request.get("credit", 1))
        self._asked[self._seq] = channel
        self._say({"act": "queryServer", **query})

    def decided(self, event: ConnReply) -> None:
        """The worker takes connections, or declines them."""
        server = self._servers.get(event.channel)
        for number in sorted(() if server is None else server.waiting):
            if server is not None and number <= event.upto:
                ack = server.waiting.pop(number)
                self._say({"ack": ack, "accepted": number not in event.rejected})

    def credit(self, channel: int, count: int) -> None:
        """The worker takes more."""
        if channel in self._servers:
            self._servers[channel].credit += count

    def close(self, channel: int) -> None:
        """The worker does not listen there any more."""
        server = self._servers.pop(channel, None)
        if server is None or server.key is None:
            return
        self._say({"act": "close", "key": server.key})
        for ack in server.waiting.values():
            self._say({"ack": ack, "accepted": False})

    def leave(self) -> None:
        """The worker wants to leave."""
        if not self.is_leaving:
            self.is_leaving = True
            self._leave_seq = self._seq
            self._say({"act": "exitedAfterDisconnect"})

    def _say(self, message: dict[str, Any]) -> None:
        message = {"cmd": _CLUSTER, **message, "seq": self._seq}
        self._seq += 1
        self.outbox.put(Outgoing(encode_line(message)))


def _error(number: Any) -> dict[str, Any]:
    name = errno.errorcode.get(-number) if type(number) is int else None
    text = os.strerror(-number) if name else f"error {number!r} of the primary"
    return {"code": f"os.{name or 'EINVAL'}", "message": text}
