"""Messages, calls and answers on their way in: whole or in fragments, good or bounced.

Runs in: both
"""

from __future__ import annotations

from typing import Any, Final

import msgpack

from ._generated import FLAG_FRAG, AbortCode, Capability, ErrorCode, Kind
from .bulk import BULK, Bulk
from .events import (
    CallReceived,
    CallsReceived,
    Cancelled,
    ErrorReceived,
    Event,
    RepliesReceived,
    ReplyReceived,
    TellReceived,
    TellsReceived,
    Undeliverable,
)
from .fields import Malformed, handle_entries, heads_size, read_envelope, read_error
from .fragments import Partial
from .frames import encode_frame
from .letters import Fault, Letter, Opened
from .runs import PLAIN, Frame, Run
from .session import error_map

__all__ = ["Receiving"]

_TELL: Final = int(Kind.TELL)
_CALL: Final = int(Kind.CALL)
_REPLY: Final = int(Kind.REPLY)
_BULK_MEMFD: Final = Capability.BULK_MEMFD
_LONGEST_NAME: Final = 1024
#: The envelope of a message from main actor to main actor, and its bytes.
_PLAIN: Final = PLAIN[_TELL]
_ENVELOPE: Final = 2
#: The same with a meta map, up to that.
_PLAIN_WITH_META: Final = [None, None, None]
#: What is wrong with a message whose handles have no room, and with an answer in pieces.
_FULL: Final = (ErrorCode.MAILBOX_FULL, "too many descriptors wait in messages nobody has taken")
_NOT_KEPT: Final = (ErrorCode.HANDLE_LOST, "there was no room for its descriptors")
#: The first two elements of such an envelope.
_NO_ADDRESS: Final = [None, None]


class Receiving(Bulk):
    """The layer of incoming mail."""

    # ---- TELL, CALL, REPLY ----------------------------------------------------------------

    # Runs come first. What is odd about one makes it many frames, which tell what it is.

    def _on_tells(self, run: Run) -> bool:
        """Take a run of plain messages; False, and nothing done, if not all of them can be."""
        longest = max(run.lengths)
        if longest - _ENVELOPE > self.limits["max_message"]:
            return False
        charges = self._inbound_window.take_all(run.lengths, longest)
        if charges is None:
            return False
        arrivals = self._arrivals
        arrivals.received = number = arrivals.received + len(charges)
        self._events.append(TellsReceived(run.bodies, charges, number))
        return True

    def _on_calls(self, run: Run) -> bool:
        """Take a run of plain calls, see `_on_tells`."""
        calls, channels, longest = self._inbound_calls, run.channels, max(run.lengths)
        fresh = set(channels)
        if (
            longest > self._plain_length
            or len(fresh) < len(channels)
            or len(calls) + len(channels) > self.limits["max_calls"]
            or self._next_channel & 1 in {channel & 1 for channel in fresh}  # one of ours
            or not fresh.isdisjoint(calls)
            or not fresh.isdisjoint(self._listeners)
            or len(self._reassembly)
        ):
            return False
        charges = self._inbound_window.take_all(run.lengths, longest)
        if charges is None:
            return False
        arrivals = self._arrivals
        first = arrivals.received + 1
        arrivals.received += len(channels)
        calls.update(zip(channels, range(first, arrivals.received + 1), strict=True))
        self._events.append(CallsReceived(run.bodies, charges, arrivals.received, channels))
        return True

    def _on_replies(self, run: Run) -> bool:
        """Take a run of plain answers, see `_on_tells`."""
        calls, channels = self._calls, run.channels
        numbers = [calls.get(channel, 0) for channel in channels]
        if (
            not all(numbers)
            or max(run.lengths) > self.limits["max_message"]
            or len(set(channels)) < len(channels)
            or len(self._reassembly)
        ):
            return False
        for channel in channels:
            del calls[channel]
        self._deliveries.acknowledge(max(numbers))
        self._events.append(RepliesReceived(channels, run.bodies))
        return True

    # The next three are the short ways for what comes most: one frame, no handles, no address.

    def _on_tell(self, frame: Frame) -> None:
        meta = self._meta_of_plain(frame)
        if meta is None or frame.channel:
            self._on_mail(frame, None)
            return
        charge = self._inbound_window.take(frame.length)
        if charge < 0:
            raise self._overrun(frame.length)
        arrivals = self._arrivals
        arrivals.received = number = arrivals.received + 1
        self._events.append(TellReceived(None, None, frame.payload, (), meta, charge, number))

    def _on_call(self, frame: Frame) -> None:
        meta = self._meta_of_plain(frame)
        calls, channel = self._inbound_calls, frame.channel
        full = len(calls) >= self.limits["max_calls"]
        if meta is None or full or channel in self._reassembly:
            self._on_mail(frame, None)
            return
        self._check_opens(frame)
        charge = self._inbound_window.take(frame.length)
        if charge < 0:
            raise self._overrun(frame.length)
        arrivals = self._arrivals
        arrivals.received = calls[channel] = number = arrivals.received + 1
        self._events.append(
            CallReceived(None, None, frame.payload, (), meta, charge, number, channel)
        )

    def _on_reply(self, frame: Frame) -> None:
        channel = frame.channel
        if (
            frame.envelope is not None
            or frame.error is not None
            or frame.nfds
            or frame.flags & FLAG_FRAG
            or frame.length > self.limits["max_message"]
            or not self._calls.get(channel)
            or channel in self._reassembly
        ):
            self._on_mail(frame, None)
            return
        self._answered(channel)
        self._events.append(ReplyReceived(channel, frame.payload, (), {}))

    def _meta_of_plain(self, frame: Frame) -> dict[str, Any] | None:
        """The meta map of a message from main actor to main actor; None for all that is not."""
        if (
            frame.error is not None
            or frame.nfds
            or frame.flags & FLAG_FRAG
            or frame.length > self._plain_length
        ):
            return None
        envelope = frame.envelope
        if envelope == _PLAIN:
            return {}
        if type(envelope) is list and len(envelope) == 4 and envelope[:3] == _PLAIN_WITH_META:
            meta = envelope[3]
            return meta if type(meta) is dict and BULK not in meta else None
        return None

    def _on_mail(self, frame: Frame, fault: tuple[ErrorCode, str] | None) -> None:
        """Take a TELL, CALL or REPLY in one frame, or the first of its fragments.

        Args:
            fault: what the state machine has against it.
        """
        if frame.nfds and fault is None and self._take_laden(frame):
            return
        if not self._check_channel(frame):
            return
        if frame.flags & FLAG_FRAG:
            self._begin(frame, fault)
            return
        if self._fds is None:
            fault = fault or (ErrorCode.HANDLE_LOST, "its descriptors did not arrive")
        if frame.error is not None:
            fault = fault or (ErrorCode.BAD_PAYLOAD, frame.error)
        envelope, body = frame.envelope, frame.payload
        letter = Letter(frame.kind, frame.channel, frame.length, envelope, body, frame.nfds, fault)
        self._weigh_and_deliver(letter)

    def _take_laden(self, frame: Frame) -> bool:
        """Take a TELL or CALL that is plain but for its handles; False for all else, left as it is.

        It goes the way of `_deliver` in fewer steps.
        """
        envelope, channel, calls = frame.envelope, frame.channel, self._inbound_calls
        if frame.kind == _CALL:
            if len(calls) >= self.limits["max_calls"] or channel in self._reassembly:
                return False
            self._check_opens(frame)
        elif frame.kind != _TELL or channel:
            return False
        if (
            frame.error is not None
            or self._fds is None
            or frame.flags & FLAG_FRAG
            or frame.length > self._plain_length
            or type(envelope) is not list
            or len(envelope) != 4
            or envelope[:2] != _NO_ADDRESS
            or type(envelope[2]) is not list
            or type(envelope[3]) is not dict
            or BULK in envelope[3]
        ):
            return False
        try:
            entries = handle_entries(envelope[2], frame.nfds)
            self._check_kinds(entries)
        except (Malformed, Fault):
            return False
        charge = self._inbound_window.take(frame.length)
        if charge < 0:
            raise self._overrun(frame.length)
        if self._share is not None and not self._share.take(frame.nfds):
            self._refuse_laden(frame, charge)
            return True
        handles = self._own(entries)
        body = self._values.place(frame.payload, handles)
        arrivals = self._arrivals
        arrivals.received = number = arrivals.received + 1
        facts = (None, None, body, handles, envelope[3], charge, number)
        if channel:
            calls[channel] = number
            self._events.append(CallReceived(*facts, channel))
        else:
            self._events.append(TellReceived(*facts))
        return True

    def _refuse_laden(self, frame: Frame, charge: int) -> None:
        """Bounce what `_take_laden` has found good, but for the room of its handles."""
        facts = (frame.kind, frame.channel, frame.length, frame.envelope, None, frame.nfds)
        self._arrivals.received = number = self._arrivals.received + 1
        self._bounce(Letter(*facts, _FULL), charge, number, *_FULL)

    def _check_channel(self, frame: Frame) -> bool:
        """Check a frame's channel; False if it is to be ignored."""
        kind, channel = frame.kind, frame.channel
        if channel in self._reassembly:
            raise self._violation("AWP-LG-7", f"channel {channel} has an unfinished message")
        if kind == _REPLY and channel:
            return bool(self._calls.get(channel))
        if kind != _TELL or frame.flags & FLAG_FRAG:
            self._check_opens(frame)
        elif channel:
            raise self._violation("AWP-CH-2", f"TELL in one frame on channel {channel}")
        return True

    def _begin(self, frame: Frame, fault: tuple[ErrorCode, str] | None) -> None:
        if Capability.FRAG not in self.capabilities:
            raise self._violation("AWP-HS-3", "a fragment, and frag is not in force")
        lost = self._fds is None
        partial = self._reassembly.begin(frame, self._fds or [])
        partial.window = self._inbound_window.size
        fds = self._take_fds()
        if lost:
            fault = fault or (ErrorCode.HANDLE_LOST, "its descriptors did not arrive")
        elif not self._has_room_for(len(fds)):
            self._descriptors.discard(fds)
            partial.fds = []
            fault = fault or (_FULL if frame.kind != _REPLY else _NOT_KEPT)
        if fault is not None:
            self._reassembly.spoil(partial, *fault)
        self._on_fragment(partial, frame)

    def _on_fragment(self, partial: Partial, frame: Frame) -> None:
        """Take the next fragment, the first one included."""
        if not self._reassembly.add(partial, frame):
            return
        self._fds = partial.fds
        self._give_room_back(len(partial.fds))
        body = None
        fault = partial.fault
        if fault is None:
            try:
                body = self._read(partial)
            except ValueError as exc:
                fault = (ErrorCode.BAD_PAYLOAD, str(exc))
        self._reassembly.keep(partial)
        self._weigh_and_deliver(
            Letter(
                partial.kind,
                partial.channel,
                partial.length,
                partial.envelope,
                body,
                partial.nfds,
                fault,
                window=partial.window,
            )
        )

    def _read(self, partial: Partial) -> Any:
        values = self._values
        body = values.read(partial.data)
        if values.indexes:
            highest = max(values.indexes)
            values.indexes.clear()
            if highest >= partial.nfds:
                raise Malformed(f"handle {highest} of {partial.nfds}")
        return body

    def _weigh_and_deliver(self, letter: Letter) -> None:
        if letter.fault is None and _BULK_MEMFD in self.capabilities:
            self._weigh(letter)
        self._deliver(letter)

    def _deliver(self, letter: Letter) -> None:
        """Open a letter and report it, or bounce it."""
        charge = number = 0
        if letter.kind != _REPLY:
            charge = self._charge(letter.length, letter.window)
            self._arrivals.received = number = self._arrivals.received + 1
        try:
            opened = self._open(letter)
        except Fault as exc:
            self._bounce(letter, charge, number, exc.code, exc.text)
            return
        self._events.append(self._event(letter, opened, charge, number))

    def _open(self, letter: Letter) -> Opened:
        """Check everything about a letter, and only then build its handles."""
        try:
            values = read_envelope(letter.kind, letter.envelope)
        except Malformed as exc:
            raise Fault(*(letter.fault or (ErrorCode.BAD_PAYLOAD, str(exc)))) from None
        to, sender, entries, meta = values if letter.kind != _REPLY else (None, None, *values)
        self._check_sender(sender)
        if letter.fault is not None:
            raise Fault(*letter.fault)
        self._check_size(letter, heads_size(entries))
        if letter.kind == _CALL and len(self._inbound_calls) >= self.limits["max_calls"]:
            raise Fault(ErrorCode.REFUSED, f"over max_calls ({self.limits['max_calls']})")
        try:
            entries = handle_entries(entries, letter.nfds)
        except Malformed as exc:
            raise Fault(ErrorCode.BAD_PAYLOAD, str(exc)) from None
        self._check_kinds(entries)
        if letter.bulk:
            letter.body = self._read_file(letter)
            del entries[-1], meta[BULK]
        if letter.kind != _REPLY and not self._has_room_for(len(entries)):
            raise Fault(*_FULL)
        handles = self._own(entries)
        body = self._values.place(letter.body, handles) if handles else letter.body
        return Opened(to, sender, body, handles, meta or {})

    def _check_size(self, letter: Letter, heads: int) -> None:
        """Check a letter whose handles have heads of that size, which count as payload."""
        if letter.length <= self._plain_length:
            return
        max_message, max_meta = self.limits["max_message"], self.limits["max_meta"]
        size = len(msgpack.packb(letter.envelope, default=repr, datetime=True))
        if size - heads > max_meta:
            raise Fault(ErrorCode.TOO_LARGE, f"its envelope is over max_meta ({max_meta})")
        if letter.length - size + heads > max_message:
            with_heads = " with its heads [AWP-HA-7]" if heads else ""
            raise Fault(ErrorCode.TOO_LARGE, f"over max_message ({max_message}){with_heads}")

    def _check_sender(self, sender: int | None) -> None:
        if sender is not None and self.role == "primary" and sender >> 32 != self._worker_id:
            text = f"worker {self._worker_id} sent a message from actor {sender}"
            raise self._violation("AWP-MS-1", text, AbortCode.SPOOFED_SENDER)

    def _check_kinds(self, entries: list[tuple[int, dict[str, Any]]]) -> None:
        for kind, _ in entries:
            if kind not in self._handle_kinds:
                raise Fault(ErrorCode.UNSUPPORTED_HANDLE, f"handles of kind {kind} are not taken")

    def _own(self, entries: list[tuple[int, dict[str, Any]]]) -> tuple[Any, ...]:
        """Turn the descriptors of the frame at hand into handles."""
        build = self._handles.build
        pairs = zip(self._take_fds(), entries, strict=True)
        return tuple([build(fd, kind, meta) for fd, (kind, meta) in pairs])

    # ---- what becomes of them -------------------------------------------------------------

    def _event(self, letter: Letter, mail: Opened, charge: int, number: int) -> Event:
        channel = letter.channel
        if letter.kind == _REPLY:
            self._answered(channel)
            return ReplyReceived(channel, mail.body, mail.handles, mail.meta)
        facts = (mail.to, mail.sender, mail.body, mail.handles, mail.meta, charge, number)
        if letter.kind == _TELL:
            return TellReceived(*facts)
        self._inbound_calls[channel] = number
        return CallReceived(*facts, channel)

    def _bounce(self, letter: Letter, charge: int, number: int, code: ErrorCode, text: str) -> None:
        """Answer a letter that nobody can take."""
        error = error_map(code, text)
        if letter.kind == _REPLY:
            self._fail(letter.channel, error)
            return
        if letter.kind == _CALL:
            self._fail_call(letter.channel, number, error)
        else:
            self._bounce_tell(letter, number, error)
        self.grant(charge)

    def _bounce_tell(self, letter: Letter, number: int, error: dict[str, Any]) -> None:
        self._arrivals.bounce(number)
        try:
            to = read_envelope(_TELL, letter.envelope)[0]
        except Malformed:
            to = None
        if isinstance(to, str) and len(to) > _LONGEST_NAME:
            to = None  # whatever it is, the answer has to fit into a frame of the peer's
        envelope, payload = self._pack([number, to]), self._encode_error(error)
        self._answer(encode_frame(Kind.UNDELIVERABLE, 0, envelope, payload))

    def _fail_call(self, channel: int, number: int, error: dict[str, Any]) -> None:
        """Answer a CALL, or something like it, without having reported it."""
        self._arrivals.answer(number)
        self._answer(self._error_frame(channel, error))

    def _answered(self, channel: int) -> None:
        """Close our call: its answer acknowledges it and all before it (AWP-MS-7)."""
        self._deliveries.acknowledge(self._calls.pop(channel))

    # ---- ERROR, CANCEL, UNDELIVERABLE -----------------------------------------------------

    def _on_error(self, frame: Frame) -> None:
        if frame.channel not in self._calls:
            return
        try:
            error = read_error(frame.payload)
        except Malformed as exc:
            error = error_map(ErrorCode.BAD_PAYLOAD, frame.error or str(exc))
        self._fail(frame.channel, error)

    def _fail(self, channel: int, error: dict[str, Any]) -> None:
        """Report that our call or listen got no answer but this."""
        self._abandon(channel)
        self._listeners.pop(channel, None)
        self._answered(channel)
        self._events.append(ErrorReceived(channel, error))

    def _on_cancel(self, frame: Frame) -> None:
        (reason,) = read_envelope(frame.kind, frame.envelope)
        channel = frame.channel
        partial = self._reassembly.get(channel)
        if partial is not None and partial.kind != _REPLY:
            self._abandon(channel)
            if partial.kind == _CALL:
                error = error_map(ErrorCode.CANCELLED, "abandoned by its sender")
                self._answer(self._error_frame(channel, error))
        elif self._inbound_calls.get(channel):
            self._events.append(Cancelled(channel, reason))

    def _abandon(self, channel: int) -> None:
        """Drop an unfinished message, if there is one."""
        partial = self._reassembly.get(channel)
        if partial is not None:
            self._reassembly.drop(partial)
            self._give_up(partial)

    def _give_up(self, partial: Partial) -> None:
        """Close the descriptors of a message that will never be complete."""
        self._give_room_back(len(partial.fds))
        self._descriptors.discard(partial.fds)

    def _on_undeliverable(self, frame: Frame) -> None:
        try:
            number, to = read_envelope(frame.kind, frame.envelope)
        except Malformed:
            return  # broken beyond knowing which message it speaks of
        if not 0 < number <= self._deliveries.sent:
            raise self._violation("AWP-MS-6", f"message {number} is bounced, it was never sent")
        self._bounces += 1
        if self._bounces > self._deliveries.sent:
            text = f"{self._bounces} messages are bounced, {self._deliveries.sent} were sent"
            raise self._violation("AWP-MS-6", text)
        try:
            error = read_error(frame.payload)
        except Malformed as exc:
            error = error_map(ErrorCode.BAD_PAYLOAD, frame.error or str(exc))
        self._events.append(Undeliverable(number, to, error))
