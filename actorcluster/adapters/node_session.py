"""A worker that speaks Node's cluster protocol, in terms of ours; no I/O.

Runs in: primary

Theory of operation
===================

A Node program under a primary of Node's own says a handful of things, see ``protocol/node-ipc.md``.
Each of them has a counterpart in our protocol, and the other way round:

=========================== ===================================
what the worker says        event of `receive`
=========================== ===================================
``online``                  `Ready`
``queryServer``             `Listen`, answered by `listening` or `refused`
``close``                   `ListenClosed`
``accepted``                `ConnReply` and `ConnCredit`
``exitedAfterDisconnect``   `Leave`, answered by `stop`
``process.send()``          `TellReceived`
``process.send("ready")``   that, and `Serving`
=========================== ===================================

So the rest of the primary need not know that there is another protocol. The events are those that
`Connection.receive` would give, their channels numbered as a worker of ours would do.

*Leaving.* Node's worker fails if it is asked twice to leave, or asked while it leaves by itself.
So it is asked once; and if it has said that it leaves after that, this is not answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, final

import attrs

from .._link.nodelines import HANDLE, HANDLE_ACK, HANDLE_NACK, handle_message
from ..errors import RemoteProtocolError
from ..wire._generated import ErrorCode
from ..wire.events import (
    ConnCredit,
    ConnReply,
    Event,
    Leave,
    Listen,
    ListenClosed,
    Ready,
    Serving,
    TellReceived,
    Undeliverable,
)
from ..wire.values import too_deep
from .node_lines import LOST, Lines, encode_line, is_internal, violation
from .node_outbox import NodeOutbox, Outgoing
from .node_queries import Query, Vault, error_number, socket_name

__all__ = ["NodeSession"]

_READY: Final = "ready"
_TO, _BODY = "$to", "$payload"
_CLUSTER: Final = "NODE_CLUSTER"
#: What is said of connections that one server gave away; we keep no such books.
_COUNT, _ALL_CLOSED = "NODE_SOCKET_COUNT", "NODE_SOCKET_ALL_CLOSED"

#: How deep a line for the runtime may be nested. Python's own limit is another in each version.
_DEEPEST: Final = 128


@final
@attrs.define(eq=False, repr=False)
class _Server:
    """What a worker listens on, or has asked for.

    Attributes:
        key: of messages about it; None before the answer.
        token: of its data; None: there is none.
        decided: up to here the worker has said what it does with its connections.
        verdicts: what it said of later ones: whether it takes them.
    """

    query: Query
    token: str | None
    key: str | None = None
    decided: int = 0
    verdicts: dict[int, bool] = attrs.Factory(dict)


@final
class NodeSession:
    """One worker's side of the conversation, as its primary has it.

    Args:
        longest: bytes that a line may have.
        vault: shared by all of one primary.

    Attributes:
        outbox: what is to be written.
        is_leaving: it was told to leave, or said that it does.
        unknown: commands that meant nothing to us, so far.
    """

    def __init__(self, longest: int, vault: Vault) -> None:
        self.outbox = NodeOutbox()
        self.is_leaving = False
        self.unknown = 0
        self._lines = Lines(longest)
        self._vault = vault
        self._events: list[Event] = []
        self._is_online = False
        self._was_told = False
        self._leave_seq: int | None = None
        self._next_channel = 1
        self._seq = 0
        self._servers: dict[int, _Server] = {}
        #: connections that it has, and has not said what it does with them: by our seq.
        self._undecided: dict[int, tuple[int, int]] = {}
        self._discarded: list[int] = []

    # ---- in -------------------------------------------------------------------------------

    def receive(
        self, data: bytes | bytearray | memoryview, fds: Sequence[int] = (), truncated: bool = False
    ) -> list[Event]:
        """Take in one read of the channel; see `Connection.receive`.

        A descriptor leaves in the ``handles`` of a `TellReceived`, as a number, or by
        `take_discarded`.

        Raises:
            RemoteProtocolError: the worker broke the protocol; `take_events` has what was good.
        """
        try:
            for message, fd in self._lines.feed(data, fds, truncated):
                self._on_line(message, fd)
        except RemoteProtocolError:
            self._discarded += self._lines.take_fds()
            raise
        return self.take_events()

    def take_events(self) -> list[Event]:
        """What `receive` had found before it raised."""
        events, self._events = self._events, []
        return events

    def take_discarded(self) -> list[int]:
        """Take the descriptors that nobody owns any more. The caller must close them."""
        fds, self._discarded = self._discarded, []
        return fds

    def _on_line(self, message: Any, fd: int | None) -> None:
        if not is_internal(message):
            self._on_user(message, ())
        elif too_deep(message, _DEEPEST):
            if fd is not None and fd != LOST:
                self._discarded.append(fd)
            raise violation("NODE-1", "a line that is nested too deeply")
        elif message["cmd"] == _CLUSTER:
            self._on_cluster(message)
        elif message["cmd"] == HANDLE:
            self._on_handle(message, fd)
        elif message["cmd"] in (HANDLE_ACK, HANDLE_NACK):
            self._on_receipt(is_lost=message["cmd"] == HANDLE_NACK)
        elif message["cmd"] == "NODE_SOCKET_GET_COUNT":
            self.outbox.provoked({"cmd": _COUNT, "key": _text(message, "key"), "count": 0})
        elif message["cmd"] == "NODE_SOCKET_NOTIFY_CLOSE":
            self.outbox.provoked({"cmd": _ALL_CLOSED, "key": _text(message, "key")})
        else:  # a program may have said it, which would be in vain under Node's primary, too
            self.unknown += 1

    def _on_user(self, message: Any, fds: tuple[int, ...]) -> None:
        self._check_online("a message")
        to, body = None, message
        if type(message) is dict and message.keys() == {_TO, _BODY} and type(message[_TO]) is str:
            to, body = message[_TO], message[_BODY]
        meta = {"handle": 0} if fds else {}
        self._events.append(TellReceived(to, None, body, fds, meta, 0, 0))
        if message == _READY:
            self._events.append(Serving({}))

    def _on_handle(self, message: Mapping[str, Any], fd: int | None) -> None:
        if fd is None or fd == LOST:
            self.outbox.provoked({"cmd": HANDLE_NACK})
            return
        self._discarded.append(fd)  # until all is found to be well
        if type(message.get("type")) is not str or "msg" not in message:
            raise violation("NODE-2", "a NODE_HANDLE without its type or message")
        if is_internal(message["msg"]):
            raise violation("NODE-3", "a descriptor for the runtime, which a worker has none for")
        self.outbox.provoked({"cmd": HANDLE_ACK})
        self._on_user(message["msg"], (fd,))
        self._discarded.remove(fd)

    def _on_receipt(self, *, is_lost: bool) -> None:
        lost = self.outbox.receipt(is_lost=is_lost)
        if lost is not None:
            self._lose(lost)

    def _lose(self, sent: Outgoing) -> None:
        """The worker has no room for the descriptor."""
        if sent.connection is not None:
            seqs = [seq for seq, one in self._undecided.items() if one == sent.connection]
            for seq in seqs:
                del self._undecided[seq]
            self._decide(sent.connection, is_taken=False)
        elif sent.message is not None:
            text = "the worker could not take the descriptor"
            error = {"code": str(ErrorCode.HANDLE_LOST), "message": text}
            self._events.append(Undeliverable(sent.message, None, error))

    # ---- in: the cluster ------------------------------------------------------------------

    def _on_cluster(self, message: Mapping[str, Any]) -> None:
        if type(message.get("seq")) is not int:
            raise violation("NODE-2", "a cluster message without a seq")
        if "ack" in message:
            self._on_answer(message)
            return
        act = message.get("act")
        if act == "online":
            if self._is_online:
                raise violation("NODE-4", "'online' a second time")
            self._is_online = True
            self._events.append(Ready({}))
            return
        self._check_online(f"{str(act)[:40]!r}")
        if act == "queryServer":
            self._on_query(Query.read(message))
        elif act == "close":
            self._on_close(_text(message, "key"))
        elif act == "exitedAfterDisconnect":
            self._on_leaving(message["seq"])
        elif act != "listening":  # which says what we know since we answered
            raise violation("NODE-4", f"an unknown act {str(act)[:40]!r}")

    def _check_online(self, what: str) -> None:
        if not self._is_online:
            raise violation("NODE-4", f"{what} before 'online'")

    def _on_query(self, query: Query) -> None:
        if self.is_leaving:
            return  # as under Node's primary: an error would end a program that is leaving well
        self.outbox.expect()
        channel, self._next_channel = self._next_channel, self._next_channel + 2
        request = query.request()
        token = None
        if query.data is not None:
            request["data"] = token = self._vault.put(query.data)
        self._servers[channel] = _Server(query, token)
        self._events.append(Listen(channel, request))

    def _on_close(self, key: str) -> None:
        channel = next((it for it, one in self._servers.items() if one.key == key), None)
        if channel is None:
            number = key.rpartition(":")[2]
            if not (number.isdecimal() and int(number[:9]) in range(1, self._next_channel, 2)):
                raise violation("NODE-6", "'close' with a key that was never given")
            return  # a handle of Node's may be closed twice
        del self._servers[channel]
        self._events.append(ListenClosed(channel))
        unsent = self.outbox.drop(lambda one: one.is_connection_of(channel))  # for others
        dropped = {one.connection for one in unsent}
        left = self._undecided.items()
        self._undecided = {seq: one for seq, one in left if one not in dropped}

    def _on_leaving(self, seq: int) -> None:
        if self._was_told:
            return
        self._leave_seq = seq
        if not self.is_leaving:
            self.is_leaving = True
            self._events.append(Leave(0))

    def _on_answer(self, message: Mapping[str, Any]) -> None:
        ack, is_taken = message["ack"], message.get("accepted")
        connection = self._undecided.pop(ack, None) if type(ack) is int else None
        if connection is None:
            raise violation("NODE-5", "an ack of what was not sent, or is answered")
        if type(is_taken) is not bool:
            raise violation("NODE-2", "an answer to 'newconn' without 'accepted'")
        if self.outbox.is_under_way(connection):
            raise violation("NODE-5", "a connection accepted before its descriptor was")
        self._decide(connection, is_taken=is_taken)

    def _decide(self, connection: tuple[int, int], *, is_taken: bool) -> None:
        """Report it when all before it are decided, for a CONN_REPLY speaks of all up to one."""
        channel, number = connection
        server = self._servers.get(channel)
        if server is None:
            return  # others have it
        server.verdicts[number] = is_taken
        while (following := server.decided + 1) in server.verdicts:
            rejected = () if server.verdicts.pop(following) else (following,)
            server.decided = following
            self._events.append(ConnReply(channel, following, rejected))
            self._events.append(ConnCredit(channel, 1))

    # ---- out ------------------------------------------------------------------------------

    def listening(
        self, channel: int, *, address: Any, data: Any = None, handle: Any = None
    ) -> None:
        """Answer a `Listen`: the port is bound.

        Args:
            channel: of the `Listen`.
            address: (host, port) or a path.
            data: the token of whoever came first.
            handle: the socket, if the worker is to accept for itself.
        """
        server = self._servers.get(channel)
        if server is None:
            self.outbox.done(handle)
            return
        query = server.query
        server.key = query.key(channel)
        answer = {
            "errno": None if handle is None else 0,
            "key": server.key,
            "ack": query.seq,
            "data": self._vault.get(data, query.data),
        }
        if server.token not in (None, data) and self._vault.get(data, None) is not None:
            self._vault.drop(server.token)  # another's counts
        if handle is not None:
            self._say(answer, handle, "dgram.Native" if query.is_udp else "net.Native")
            return
        if (name := socket_name(address)) is not None:
            answer["sockname"] = name
        self._say(answer)

    def refused(self, channel: int, error: Mapping[str, Any]) -> None:
        """Answer a `Listen`: it could not be bound."""
        server = self._servers.pop(channel, None)
        number = error_number(error)
        if server is None or number is None:
            return
        if server.token is not None:
            self._vault.drop(server.token)
        self._say({"errno": number, "key": server.query.key(channel), "ack": server.query.seq})

    def connections(self, channel: int, first: int, handles: Sequence[Any]) -> None:
        """Hand over connections on a listener, numbered from ``first`` upward."""
        server = self._servers.get(channel)
        for number, handle in enumerate(handles, first):
            if server is None or server.key is None:
                self.outbox.done(handle)
                continue
            connection = channel, number
            self._undecided[self._seq] = connection
            message = {"act": "newconn", "key": server.key}
            self._say(message, handle, "net.Native", connection=connection)

    def stop(self) -> None:
        """Tell it to leave, or answer that it wants to. Nothing happens the second time."""
        self.is_leaving = True
        if self._was_told:
            return
        self._was_told = True
        if self._leave_seq is None:
            self._say({"act": "disconnect"})
        else:
            self._say({"ack": self._leave_seq})

    def _say(
        self,
        message: dict[str, Any],
        handle: Any = None,
        kind: str = "",
        *,
        connection: tuple[int, int] | None = None,
    ) -> None:
        message = {"cmd": _CLUSTER, **message, "seq": self._seq}
        self._seq += 1
        if handle is not None:
            message = handle_message(message, {"type": kind})
        self.outbox.put(Outgoing(encode_line(message), handle, connection=connection))

    def close(self) -> list[Any]:
        """Give up all that was not sent; returns its handles, for the caller to close."""
        self._servers.clear()
        self._undecided.clear()
        self._discarded += self._lines.take_fds()
        return self.outbox.close()


def _text(message: Mapping[str, Any], name: str) -> str:
    value = message.get(name)
    if type(value) is not str:
        act = str(message.get("act", message["cmd"]))[:40]
        raise violation("NODE-2", f"{act!r} without its {name}")
    return value
