"""Messages, calls and answers on their way out.

Runs in: both
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgpack

from ..errors import HandleError, LocalProtocolError, MessageTooLarge
from ._generated import Capability, Kind, State
from .batches import SMALL
from .credit import MINIMUM_CHARGE
from .fields import heads_size
from .flow import Flow
from .frames import HEADER_SIZE, encode_frame, encode_head
from .session import ENVELOPE_SHARE, NIL
from .values import Encoded

__all__ = ["Sending"]

_TELL: Final = int(Kind.TELL)
_CALL: Final = int(Kind.CALL)
_REPLY: Final = int(Kind.REPLY)
#: What is not longer has the minimum charge.
_LIGHT: Final = MINIMUM_CHARGE - HEADER_SIZE
#: The envelope of a message from main actor to main actor: [nil].
_PLAIN: Final = b"\x91\xc0"
#: A frame with such a message up to its payload: only its length differs from one to the next.
_pack_plain_head: Final = struct.Struct(">HI12s").pack
_pack_head: Final = struct.Struct(">HIBIBI").pack
#: The envelope of a call with a deadline: [nil, nil, nil, {"ttl": float}].
_pack_ttl: Final = struct.Struct(">10sd").pack
_TTL_HEAD: Final = b"\x94\xc0\xc0\xc0\x81\xa3ttl\xcb"
_PLAIN_HEAD: Final = encode_head(_TELL, 0, 0)[6:] + _PLAIN
#: That for each length with the minimum charge.
_LIGHT_HEADS: Final = [
    _pack_plain_head(0x95CE, length, _PLAIN_HEAD) for length in range(_LIGHT + 1)
]


#: The meta of a message with a handle beside it; and of a handle that its giver keeps.
_BESIDE: Final = {"handle": 0}
_SHARED: Final = {"shared": True}
_pack_float: Final = struct.Struct(">d").pack


@functools.cache
def _laden(kind: int, is_shared: bool, is_timed: bool) -> bytes:
    """The envelope of a message with one handle beside it, up to its deadline if it has one."""
    meta = _BESIDE | {"ttl": 0.0} if is_timed else _BESIDE
    envelope: bytes = msgpack.packb([None, None, [[kind, _SHARED if is_shared else {}]], meta])
    return envelope[:-8] if is_timed else envelope


class Sending(Flow):
    """The layer of outgoing mail."""

    def encode(self, body: Any, handle: Any = None) -> Encoded:
        """Encode a body. Has no effect on anything, whatever it raises.

        Raises:
            TypeError: something in it is no body value; the text names the place.
            MessageTooLarge: it exceeds what the peer takes.
            HandleError: the peer takes no such handle, or not so many.
        """
        values = self._values
        if handle is not None and self._takes_handles and isinstance(handle, self._handles.type):
            # What it does else, in fewer steps, for one handle beside a body without any.
            payload = values.pack(body)
            if not values.found and len(payload) <= self._largest_body:
                entry = self._handles.describe(handle)
                if entry[0] in self._peer_handle_kinds and not entry[1].get("head"):
                    return Encoded(payload, (handle,), (entry,))
            values.found.clear()
        encoded = values.encode(body, handle)
        self._check_body(encoded)
        return encoded

    def _check_body(self, encoded: Encoded) -> None:
        if len(encoded.payload) > self._largest_body:
            raise MessageTooLarge(len(encoded.payload), self._largest_body)
        if encoded.handles:
            encoded.entries = self.describe(encoded.handles)
            heads = heads_size(encoded.entries)
            if heads and len(encoded.payload) + heads > self._largest_body:
                raise MessageTooLarge(len(encoded.payload) + heads, self._largest_body)

    def describe(self, handles: Sequence[Any]) -> list[tuple[int, dict[str, Any]]]:
        """Make the entries of an envelope's ``handles``, see `Encoded.entries`.

        Raises:
            HandleError: the peer takes no such handle, or not so many.
        """
        needed = Capability.HANDLE_SEND if self.role == "worker" else Capability.HANDLE
        if needed not in self.capabilities:
            raise HandleError(f"the peer takes no handles: {needed} is not in force")
        return self._handle_entries(handles)

    def envelope(
        self,
        encoded: Encoded,
        *,
        to: int | str | None = None,
        sender: int | None = None,
        meta: Mapping[str, Any] | None = None,
        ttl: float | None = None,
    ) -> bytes:
        """Encode the envelope of a message; its length does not depend on how long ``ttl`` is.

        Raises:
            MessageTooLarge: it exceeds what the peer takes.
        """
        entries = encoded.entries
        if to is None and sender is None and not meta and ttl is None and not entries:
            return _PLAIN
        if len(entries) == 1 and meta == _BESIDE and to is None and sender is None:
            kind, about = entries[0]
            if not about or about == _SHARED:
                is_timed = ttl is not None and ttl != math.inf
                known = _laden(kind, bool(about), is_timed)
                return known + _pack_float(ttl * 1000.0) if is_timed else known  # type: ignore[operator]  # timed: it is a number
        extra = dict(meta) if meta else {}
        if ttl is not None and ttl != math.inf:
            extra["ttl"] = float(ttl) * 1000.0  # always a float: its size is part of the charge
        return self._envelope([to, sender, entries or None, extra or None], heads_size(entries))

    def charge(self, encoded: Encoded, envelope: bytes, bulk: int = 0) -> int:
        """What a message with this envelope will cost, see `has_room`; and with a memory file."""
        return self._window.charge(len(envelope) + (bulk or len(encoded.payload)))

    @property
    def may_call(self) -> bool:
        """Whether the peer takes another call (``max_calls``)."""
        return len(self._calls) < self.peer_limits["max_calls"]

    def tell(self, body: Any) -> int | Encoded:
        """Queue a message the short way: plain, in one frame, and there is room.

        Returns:
            its size in bytes; or, if that is not possible, the encoded body: nothing was done.

        Raises:
            TypeError, MessageTooLarge, HandleError: see `encode`.
        """
        values, window = self._values, self._window
        payload = values.pack(body)
        length = len(payload) + 2  # the envelope's
        if length <= _LIGHT:
            head = _LIGHT_HEADS[length]
            room = window.available - MINIMUM_CHARGE
        else:
            head = _pack_plain_head(0x95CE, length, _PLAIN_HEAD)
            room = window.available - length - HEADER_SIZE
        if (
            room < 0
            or length > self._largest_whole
            or values.found
            or _TELL not in self._machine.sendable
        ):
            return self._long_way(payload)
        window.available = room
        if length > self._largest_plain:
            self._outbox.put_whole(_TELL, head, payload)
        else:
            self._outbox.put(head + payload)
        self._deliveries.sent += 1
        return length

    def _long_way(self, payload: bytes | memoryview[int]) -> Encoded:
        """What cannot go the short way is encoded already, for the other."""
        encoded = Encoded(payload, self._values.take_found())
        self._check_body(encoded)
        return encoded

    def call(self, body: Any, ttl: float) -> int | Encoded:
        """Queue a call the short way, see `tell`.

        Args:
            body: a body value.
            ttl: seconds until the answer is wanted; may be infinite.

        Returns:
            the channel of the answer; or, if that is not possible, the encoded body.

        Raises:
            TypeError, MessageTooLarge, HandleError: see `encode`.
        """
        values, window, calls = self._values, self._window, self._calls
        payload = values.pack(body)
        envelope = _PLAIN if ttl == math.inf else _pack_ttl(_TTL_HEAD, ttl * 1000.0)
        length = len(payload) + len(envelope)
        charge = length + HEADER_SIZE if length > _LIGHT else MINIMUM_CHARGE
        if (
            values.found
            or length > self._largest_plain
            or charge > window.available
            or _CALL not in self._machine.sendable
            or len(calls) >= self.peer_limits["max_calls"]
        ):
            return self._long_way(payload)
        window.available -= charge
        channel = self._new_channel()
        self._outbox.put(
            _pack_head(0x95CE, length, 0xCE, _CALL << 24, 0xCE, channel) + envelope + payload
        )
        deliveries = self._deliveries
        deliveries.sent = calls[channel] = deliveries.sent + 1
        return channel

    def reply(self, channel: int, body: Any) -> Encoded | None:
        """Answer the peer's call on ``channel`` the short way, see `tell`.

        Returns:
            None; or, if that is not possible, the encoded body: nothing was done.

        Raises:
            TypeError, MessageTooLarge, HandleError: see `encode`.
        """
        values = self._values
        payload = values.pack(body)
        length = len(payload) + len(NIL)
        number = self._inbound_calls.get(channel)
        if (
            not number
            or values.found
            or length > self._largest_plain
            or _REPLY not in self._machine.sendable
        ):
            return self._long_way(payload)
        del self._inbound_calls[channel]
        self._calls_answered += 1
        self._arrivals.answer(number)
        self._outbox.put(
            _pack_head(0x95CE, length, 0xCE, _REPLY << 24, 0xCE, channel) + NIL + payload
        )
        return None

    def send_tell(
        self,
        encoded: Encoded,
        *,
        to: int | str | None = None,
        sender: int | None = None,
        meta: Mapping[str, Any] | None = None,
        envelope: bytes | None = None,
        bulk: int = 0,
    ) -> int:
        """Queue a message.

        Args:
            encoded: its body.
            to: see `events.TellReceived`, as for the next two.
            sender: nothing for the main actor of this process.
            meta: beside the body.
            envelope: what `envelope` gave for these arguments, where that was asked before.
            bulk: bytes of its payload that the last of its handles holds, and ``meta`` says so.

        Returns:
            its number, as in `Acknowledged` and `Undeliverable`.

        Raises:
            LocalProtocolError: not now, or no room: see `has_room`.
        """
        if _TELL not in self._machine.sendable:
            self._check_sendable(_TELL)
        payload, handles, outbox = encoded.payload, encoded.handles, self._outbox
        if envelope is None:
            envelope = _PLAIN
            if handles or meta or to is not None or sender is not None:
                envelope = self.envelope(encoded, to=to, sender=sender, meta=meta)
        length = len(envelope) + len(payload)
        if length <= SMALL and not handles:
            if not self._window.spend(length):
                raise self._no_room(length)
            if envelope is _PLAIN:
                outbox.put(_pack_plain_head(0x95CE, length, _PLAIN_HEAD) + payload)
            else:
                outbox.put(encode_frame(_TELL, 0, envelope, payload))
        else:
            channel = self._new_channel() if outbox.is_large(length) else 0
            cost = len(envelope) + bulk if bulk else length
            if not self._window.spend(cost):
                raise self._no_room(cost)
            outbox.put_message(_TELL, channel, envelope, payload, handles)
        deliveries = self._deliveries
        deliveries.sent = number = deliveries.sent + 1
        return number

    def send_call(
        self,
        encoded: Encoded,
        *,
        to: int | str | None = None,
        sender: int | None = None,
        meta: Mapping[str, Any] | None = None,
        ttl: float | None = None,
        envelope: bytes | None = None,
        bulk: int = 0,
    ) -> int:
        """Queue a message that wants an answer within ``ttl`` seconds; see `send_tell`.

        Returns:
            the channel of the answer.

        Raises:
            LocalProtocolError: not now, or no room: see `has_room`.
        """
        if _CALL not in self._machine.sendable:
            self._check_sendable(_CALL)
        if envelope is None:
            envelope = self.envelope(encoded, to=to, sender=sender, meta=meta, ttl=ttl)
        payload = encoded.payload
        length = len(envelope) + len(payload)
        channel = self._new_channel()
        cost = len(envelope) + bulk if bulk else length
        if not self._window.spend(cost):
            raise self._no_room(cost)
        if length <= SMALL and not encoded.handles:
            self._outbox.put(encode_frame(_CALL, channel, envelope, payload))
        else:
            self._outbox.put_message(_CALL, channel, envelope, payload, encoded.handles)
        deliveries = self._deliveries
        deliveries.sent = self._calls[channel] = deliveries.sent + 1
        return channel

    def _no_room(self, length: int) -> LocalProtocolError:
        return LocalProtocolError(
            f"no room: the message costs {self._window.charge(length)}, "
            f"{self._window.available} bytes of credit are left"
        )

    def send_cancel(self, channel: int, reason: Any = None) -> None:
        """Tell the peer that nobody waits for the answer on ``channel`` any more.

        Nothing happens when that call is over, or the connection is.
        """
        if not self._calls.get(channel) or Kind.CANCEL not in self._machine.sendable:
            return
        envelope = NIL if reason is None else self._pack([reason])
        frame = encode_frame(Kind.CANCEL, channel, envelope, NIL)
        if self._outbox.has_mail:  # maybe with that very call: it must not be overtaken
            self._outbox.put(frame)
        else:
            self._outbox.put_urgent(frame)

    def send_reply(
        self, channel: int, encoded: Encoded, *, meta: Mapping[str, Any] | None = None
    ) -> None:
        """Answer the peer's call on ``channel``.

        When the connection is over, the answer and its handles become `take_unsent_handles`.

        Raises:
            LocalProtocolError: there is no such call, or it was answered.
        """
        if self._inbound_calls.get(channel) == 0:
            raise LocalProtocolError(f"channel {channel} waits for a LISTENING, not for a reply")
        number = self._close_inbound(channel)
        if Kind.REPLY not in self._machine.sendable:
            self._unsent.extend(encoded.handles)
            return
        if encoded.handles or meta:
            elements = [encoded.entries or None, dict(meta) if meta else None]
            envelope = self._envelope(elements, heads_size(encoded.entries))
        else:
            envelope = NIL
        self._arrivals.answer(number)
        self._outbox.put_message(Kind.REPLY, channel, envelope, encoded.payload, encoded.handles)

    def send_error(self, channel: int, error: Mapping[str, Any]) -> None:
        """Fail the peer's call or listen on ``channel`` with an error map.

        Nothing is sent when the connection is over. An error map that is too large for one frame
        is cut down to its code and a short text.

        Raises:
            LocalProtocolError: there is no such call, or it was answered.
        """
        frame = self._error_frame(channel, error)
        number = self._close_inbound(channel)
        if Kind.ERROR in self._machine.sendable:
            self._arrivals.answer(number)
            self._outbox.put(frame)

    def _close_inbound(self, channel: int) -> int:
        """Take a call or listen of the peer's off the books; returns its number."""
        self._listeners.pop(channel, None)
        number = self._inbound_calls.pop(channel, None)
        if number is None:
            if self.state in (State.CLOSING, State.CLOSED):
                return 0
            raise LocalProtocolError(f"nobody waits for an answer on channel {channel}")
        self._calls_answered += 1
        return number

    def send_undeliverable(
        self, number: int, to: int | str | None, error: Mapping[str, Any]
    ) -> None:
        """Bounce the peer's message ``number``, which found no mailbox.

        It counts as arrived; its credit is for the shell to `grant`. Nothing is sent when the
        connection is over.
        """
        payload = self._encode_error(error)
        self.arrived(number)
        if Kind.UNDELIVERABLE in self._machine.sendable:
            envelope = self._pack([number, to])
            self._outbox.put_answer(encode_frame(Kind.UNDELIVERABLE, 0, envelope, payload))

    def _envelope(self, elements: list[Any], heads: int = 0) -> bytes:
        """Encode an envelope, of which so many bytes are `head` of handles (AWP-HA-7)."""
        while len(elements) > 1 and elements[-1] is None:
            elements.pop()
        envelope = self._pack(elements)
        limit = min(self.peer_limits["max_meta"], self.peer_limits["max_frame"] // ENVELOPE_SHARE)
        if len(envelope) - heads > limit:
            raise MessageTooLarge(len(envelope) - heads, limit)
        if heads and len(envelope) > self._largest_envelope:  # it has to fit into one frame
            raise MessageTooLarge(len(envelope), self._largest_envelope)
        return envelope
