"""Listeners: asking for a shared port, handing connections over, taking them.

Runs in: both
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from ..errors import LocalProtocolError
from ._generated import AbortCode, Capability, ErrorCode, Kind
from .events import (
    ConnCredit,
    Connections,
    ConnReply,
    ErrorReceived,
    Listen,
    ListenClosed,
    Listening,
)
from .fields import handle_entries, read_envelope, read_map
from .frames import Frame, encode_frame
from .listener import Listener
from .receiving import Receiving
from .session import NIL, error_map

__all__ = ["Ports"]

_CONN_REPLY: Final = int(Kind.CONN_REPLY)
_ARRAY_OF_ONE: Final = b"\x91"
#: of a connection: what a frame can say.
_LAST_NUMBER: Final = 2**64 - 1


class Ports(Receiving):
    """The layer of listener channels."""

    # ---- out: the worker ------------------------------------------------------------------

    def send_listen(self, request: Mapping[str, Any]) -> int:
        """Ask for a shared port; returns the channel of the answer and of the listener."""
        channel = self._new_channel()
        self._outbox.put(self._map_frame(Kind.LISTEN, request, channel))
        self._calls[channel] = 0
        self._listeners[channel] = Listener(_credit(request))
        return channel

    def send_conn_reply(self, channel: int, upto: int, rejected: Collection[int] = ()) -> None:
        """Say that connections up to ``upto`` are taken, except those ``rejected``.

        Connections that were lost or refused on the way are added by the connection itself. To
        give the latest ones back is possible at any time; when the listener is closed meanwhile,
        or the connection, they have been given back already, and nothing happens.

        Raises:
            LocalProtocolError: the listener is closed, so the connections are no longer ours to
                take; or no such connection was handed over.
        """
        listener = self._listeners.get(channel)
        if listener is None or Kind.CONN_REPLY not in self._machine.sendable:
            if upto in rejected:
                return
            self._check_sendable(Kind.CONN_REPLY)
            listener = self._listener(channel)
        if not listener.decided < upto <= listener.handed:
            raise LocalProtocolError(f"connection {upto} is not to be decided about")
        self._reply_to_connections(channel, *listener.decide(upto, rejected))

    def take_connection(self, channel: int, upto: int) -> bytes:
        """Say the same where none is rejected, and take it with all urgent frames that wait.

        Returns:
            what to write now, before everything else.

        Raises:
            LocalProtocolError: as in `send_conn_reply`.
        """
        listener = self._listeners.get(channel)
        if (
            listener is None
            or _CONN_REPLY not in self._machine.sendable
            or self._outbox.has_urgent
            or not listener.take_next(upto)
        ):
            self.send_conn_reply(channel, upto)
            return self._outbox.take_urgent()
        return encode_frame(_CONN_REPLY, channel, _ARRAY_OF_ONE + self._pack(upto), NIL)

    def send_conn_credit(
        self, channel: int, count: int, closed: int | None = None, dropped: int = 0
    ) -> None:
        """Take ``count`` more connections on this listener.

        Args:
            channel: of the listener.
            count: how many; may be 0.
            closed: how many of those taken there are not open any more; None: not told.
            dropped: how many of these the application never saw.
        """
        self._check_sendable(Kind.CONN_CREDIT)
        self._listener(channel).credit += count
        envelope = [count] if closed is None else [count, closed]
        if dropped and closed is not None:
            envelope.append(dropped)
        frame = encode_frame(Kind.CONN_CREDIT, channel, self._pack(envelope), NIL)
        if self._outbox.has_mail:  # maybe with the LISTEN, which must not be overtaken
            self._outbox.put(frame)
        else:
            self._outbox.put_urgent(frame)

    def _reply_to_connections(self, channel: int, upto: int, rejected: list[int]) -> None:
        envelope = self._pack([upto, rejected] if rejected else [upto])
        self._outbox.put_urgent(encode_frame(Kind.CONN_REPLY, channel, envelope, NIL))

    # ---- out: the primary -----------------------------------------------------------------

    def send_listening(
        self,
        channel: int,
        *,
        mode: str,
        address: Any,
        data: Any = None,
        policy: str | None = None,
        handle: Any = None,
    ) -> None:
        """Answer a `Listen`: the port is bound. The opposite is `refuse_listen`.

        Raises:
            LocalProtocolError: no LISTEN waits for an answer there.
            HandleError: the worker takes no such handle.
        """
        self._check_sendable(Kind.LISTENING)
        self._check_waits(channel)
        if handle is not None and Capability.LISTEN_SHARED not in self.capabilities:
            raise LocalProtocolError("a shared socket needs the capability listen.shared")
        handles = () if handle is None else (handle,)
        entries = self._handle_entries(handles)
        answer = {"mode": mode, "address": address}
        if data is not None:
            answer["data"] = data
        if policy is not None:
            answer["policy"] = policy
        payload = self._encode_map(answer)
        envelope = self._pack([entries]) if entries else NIL
        self._whole_frame(Kind.LISTENING, channel, envelope, payload)
        del self._inbound_calls[channel]
        self._outbox.put_message(Kind.LISTENING, channel, envelope, payload, handles)

    def refuse_listen(self, channel: int, error: Mapping[str, Any]) -> None:
        """Answer a `Listen` with an error map: there is no port.

        Raises:
            LocalProtocolError: no LISTEN waits for an answer there. The worker may have closed it,
                and wait for the answer to a call on that channel.
        """
        self._check_waits(channel)
        self.send_error(channel, error)

    def _check_waits(self, channel: int) -> None:
        if self._inbound_calls.get(channel) != 0:
            raise LocalProtocolError(f"no LISTEN waits for an answer on channel {channel}")

    def send_connections(
        self,
        channel: int,
        first: int,
        handles: Sequence[Any],
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """Hand accepted connections over, numbered from ``first`` upward.

        Raises:
            LocalProtocolError: not on this channel, not with this number, or over its credit.
            HandleError: the worker takes no such handles, or not so many in one frame.
        """
        self._check_sendable(Kind.CONN)
        listener = self._listener(channel)
        if channel in self._inbound_calls or not handles:
            raise LocalProtocolError(f"no connections can be sent on channel {channel} yet")
        entries = self._handle_entries(handles)
        envelope = self._envelope([first, entries, dict(meta) if meta else None])
        problem = listener.hand_over(first, len(handles))
        if problem is not None:
            raise LocalProtocolError(problem)
        self._outbox.put_message(Kind.CONN, channel, envelope, NIL, tuple(handles))

    # ---- out: both ------------------------------------------------------------------------

    def send_listen_close(self, channel: int) -> None:
        """Close a listener. Nothing happens when it, or the connection, is closed already."""
        if self._close_listener(channel) and Kind.LISTEN_CLOSE in self._machine.sendable:
            self._outbox.put(encode_frame(Kind.LISTEN_CLOSE, channel, NIL, NIL))

    def _listener(self, channel: int) -> Listener:
        listener = self._listeners.get(channel)
        if listener is None:
            raise LocalProtocolError(f"no listener is open on channel {channel}")
        return listener

    def _close_listener(self, channel: int) -> bool:
        if self._listeners.pop(channel, None) is None:
            return False
        calls = self._calls if self.role == "worker" else self._inbound_calls
        calls.pop(channel, None)  # there if LISTEN was not answered yet
        return True

    # ---- in: the primary ------------------------------------------------------------------

    def _on_listen(self, frame: Frame) -> None:
        self._check_opens(frame)
        request = read_map(frame.kind, frame.payload)
        if len(self._listeners) >= self.limits["max_listeners"]:
            self._refuse_listen(frame, f"over max_listeners ({self.limits['max_listeners']})")
            return
        self._inbound_calls[frame.channel] = 0
        self._listeners[frame.channel] = Listener(_credit(request))
        self._events.append(Listen(frame.channel, request))

    def _refuse_listen(self, frame: Frame, text: str) -> None:
        self._check_opens(frame)
        error = error_map(ErrorCode.REFUSED, text)
        self._answer(self._error_frame(frame.channel, error))

    def _on_plain_conn_reply(self, frame: Frame) -> bool:
        """Take one that rejects none, and is all well; False for all else, left as it is."""
        envelope, listener = frame.envelope, self._listeners.get(frame.channel)
        if (
            listener is None
            or frame.error is not None
            or type(envelope) is not list
            or list(map(type, envelope)) != [int]
            or not listener.decided < envelope[0] <= listener.handed
        ):
            return False
        upto = listener.decided = envelope[0]
        last = self._events[-1] if self._events else None
        if type(last) is ConnReply and last.channel == frame.channel and not last.rejected:
            last.upto = upto  # a worker says it of each connection, and many are read at once
        else:
            self._events.append(ConnReply(frame.channel, upto, ()))
        return True

    def _on_conn_reply(self, frame: Frame) -> None:
        upto, numbers = read_envelope(frame.kind, frame.envelope)
        rejected = tuple(numbers or ())
        listener = self._listeners.get(frame.channel)
        if listener is None:
            return
        if not listener.decided < upto <= listener.handed or (
            rejected and not listener.decided < min(rejected) <= max(rejected) <= upto
        ):
            text = f"connections {listener.decided + 1} to {listener.handed} are undecided"
            raise self._violation("AWP-LI-9", f"{text}, not up to {upto} without {rejected}")
        listener.decided = upto
        self._events.append(ConnReply(frame.channel, upto, rejected))

    def _on_conn_credit(self, frame: Frame) -> None:
        count, closed, dropped = read_envelope(frame.kind, frame.envelope)
        listener = self._listeners.get(frame.channel)
        if listener is not None:
            listener.credit += count
            self._events.append(ConnCredit(frame.channel, count, closed, dropped))

    # ---- in: the worker -------------------------------------------------------------------

    def _on_listening(self, frame: Frame) -> None:
        (entries,) = read_envelope(frame.kind, frame.envelope)
        checked = handle_entries(entries, frame.nfds)
        payload = read_map(frame.kind, frame.payload)
        channel = frame.channel
        if self._calls.get(channel) != 0:
            return
        if self._fds is None or any(kind not in self._handle_kinds for kind, _ in checked):
            lost = self._fds is None
            code = ErrorCode.HANDLE_LOST if lost else ErrorCode.UNSUPPORTED_HANDLE
            self.send_listen_close(channel)
            error = error_map(code, "the listening socket cannot be used")
            self._events.append(ErrorReceived(channel, error))
            return
        if len(checked) > 1:
            raise self._violation("AWP-FR-6", f"LISTENING with {len(checked)} handles")
        del self._calls[channel]
        handles = self._own(checked)
        self._events.append(
            Listening(
                channel,
                payload["mode"],
                payload.get("address"),
                payload.get("data"),
                handles[0] if handles else None,
                payload.get("policy"),
            )
        )

    def _read_conn(self, frame: Frame) -> tuple[int, list[tuple[int, dict[str, Any]]], Any]:
        first, entries, meta = read_envelope(frame.kind, frame.envelope)
        checked = handle_entries(entries, frame.nfds)
        if not checked:
            raise self._violation("AWP-FR-6", "CONN without connections")
        if not 1 <= first <= _LAST_NUMBER - len(checked) + 1:
            # On a listener that is gone nobody knows which number comes next, and any is rejected.
            raise self._violation("AWP-LI-6", f"{len(checked)} connections beginning with {first}")
        return first, checked, meta

    def _on_conn(self, frame: Frame) -> None:
        first, checked, meta = self._read_conn(frame)
        listener = self._listeners.get(frame.channel)
        if listener is None or frame.channel in self._calls:
            self._reject(frame.channel, first, len(checked))
            return
        self._book(listener, first, len(checked))
        if self._fds is None or not {kind for kind, _ in checked} <= self._handle_kinds:
            self._give_back(frame.channel, listener, first, len(checked))
            self.send_conn_credit(frame.channel, len(checked))  # the application never saw them
            return
        handles = self._own(checked)
        self._events.append(Connections(frame.channel, first, handles, meta or {}))

    def _refuse_connections(self, frame: Frame) -> None:
        """Reject what was handed over before the primary's STOP; it takes no more."""
        first, checked, _ = self._read_conn(frame)
        count = len(checked)
        listener = self._listeners.get(frame.channel)
        if listener is None:
            self._reject(frame.channel, first, count)
            return
        self._book(listener, first, count)
        self._give_back(frame.channel, listener, first, count)

    def _book(self, listener: Listener, first: int, count: int) -> None:
        allowed = count <= listener.credit
        problem = listener.hand_over(first, count)
        if problem is not None:
            code = AbortCode.PROTOCOL_ERROR if allowed else AbortCode.FLOW_VIOLATION
            raise self._violation("AWP-LI-6" if allowed else "AWP-LI-1", problem, code)

    def _give_back(self, channel: int, listener: Listener, first: int, count: int) -> None:
        reply = listener.lose(first, count)
        if reply is not None:
            self._reply_to_connections(channel, *reply)

    def _reject(self, channel: int, first: int, count: int) -> None:
        """Reject connections on a listener that this side does not have (any more)."""
        upto = first + count - 1
        self._reply_to_connections(channel, upto, list(range(first, upto + 1)))

    def _on_listen_close(self, frame: Frame) -> None:
        if self._close_listener(frame.channel):
            self._events.append(ListenClosed(frame.channel))


def _credit(request: Mapping[str, Any]) -> int:
    """The connections that may be handed over before the first CONN_CREDIT."""
    credit = request.get("credit")
    return 1 if credit is None else int(credit)
