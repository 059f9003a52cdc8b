"""The protocol without a socket: bytes and descriptors in, events out, and the other way.

`receive` takes what one recvmsg brought and gives what it means. What the protocol itself demands
is answered here: PONG, SETTINGS_ACK, refusals, HANDLE_ACK, credit. `outbox.next` gives what is to
be written. Nothing here blocks, waits or knows the time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .arrivals import Arrivals
from .awp_v1 import (
    EOF,
    FLAG_FRAG,
    FLAG_MORE,
    FLAG_OPTIONAL,
    KINDS,
    MAJOR,
    RECEIVE,
    UNKNOWN_KIND,
    Abort,
    Action,
    Code,
    Kind,
    State,
)
from .events import (
    Aborted,
    Cancelled,
    Ended,
    Event,
    Goodbye,
    ListenClosed,
    Pong,
    SettingsChanged,
    Stop,
    Undeliverable,
    Unimplemented,
    Violated,
    Welcome,
)
from .framing import Frame, Violation, close_fds
from .handles import Handle, is_what_it_says
from .listening import ListenerChannel
from .speaking import Hello, IncomingCall, Open, OutgoingCall, error_map
from .values import NIL, pack

UNREAD_ANSWERS = 4 * 1024 * 1024
"""Bytes of answers that are kept for a primary that asks and does not read (AWP-LM-2)."""

_MESSAGES = (Kind.TELL, Kind.CALL, Kind.REPLY)
_Said = Mapping[str, object]


class Connection(Arrivals):
    """A worker's side of the protocol."""

    def __init__(self, hello: Hello, verify: Callable[[Handle], bool] = is_what_it_says) -> None:
        super().__init__(hello, verify)
        self._handlers: dict[Kind, Callable[[Frame, list[object], _Said], None]] = {
            Kind.WELCOME: self._welcome,
            Kind.STOP: self._stop,
            Kind.GOODBYE: self._goodbye_came,
            Kind.ABORT: self._abort_came,
            Kind.SETTINGS: self._settings_came,
            Kind.SETTINGS_ACK: self._settings_ack,
            Kind.CREDIT: self._credit,
            Kind.ACK: self._ack,
            Kind.UNIMPLEMENTED: self._unimplemented,
            Kind.LISTEN_CLOSE: self._listen_close,
            Kind.HANDLE_ACK: self._handle_ack,
            Kind.ERROR: self._error_came,
            Kind.CANCEL: self._cancel_came,
            Kind.UNDELIVERABLE: self._undeliverable,
            Kind.DOWN: self._down,
        }

    # ------------------------------------------------------------------------------- receiving

    def receive(self, data: bytes, fds: list[int], truncated: bool = False) -> list[Event]:
        """What one recvmsg brought, descriptors and MSG_CTRUNC included; give what it means."""
        self._reader.feed(data, fds, truncated)
        try:
            if fds and not self._takes_handles():
                raise Violation(Abort.FD_VIOLATION, "descriptors where there may be none")
            for frame in self._reader.frames():
                self._frame(frame)
            self._reader.check_unclaimed()
            if self.outbox.provoked > UNREAD_ANSWERS:
                raise Violation(Abort.LIMIT_EXCEEDED, "answers that nobody reads")
        except Violation as violation:
            self._violated(violation)
        return self._take_events()

    def receive_eof(self) -> list[Event]:
        """The stream has ended; give what that means."""
        action, self.state = RECEIVE[EOF][self.state]
        if action is not Action.IGNORE:
            self._events.append(Ended(action is Action.DELIVER))
        return self._take_events()

    def _take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _takes_handles(self) -> bool:
        early = self.state in (State.HANDSHAKE, State.STARTING)
        return not early and "handle" in self.capabilities

    def _violated(self, violation: Violation) -> None:
        if self.state is not State.CLOSED:
            self.abort(violation.code, str(violation), violation.header)
        self._events.append(Violated(violation.code, str(violation)))

    def _frame(self, frame: Frame) -> None:
        known = frame.kind in KINDS
        action, after = RECEIVE[frame.kind if known else UNKNOWN_KIND][self.state]
        try:
            if frame.nfds:
                self._count_handles(frame)
            if action is Action.ABORT:
                text = f"kind {frame.kind:#04x} in state {self.state.value}"
                raise Violation(Abort.STATE_VIOLATION, text, frame.header)
            if action is Action.IGNORE:
                close_fds(frame.fds)
            elif not known:
                self._unknown(frame)
            else:
                self._known(frame, action)
                self.state = after if self.state is not State.CLOSED else self.state
        except Violation as violation:
            close_fds(frame.fds)
            violation.header = violation.header or frame.header
            raise

    def _count_handles(self, frame: Frame) -> None:
        if not self._takes_handles():
            raise Violation(Abort.FD_VIOLATION, "descriptors where there may be none")
        self._fd_frames += 1
        if frame.lost:
            self._fds_lost.append(self._fd_frames)

    def _unknown(self, frame: Frame) -> None:
        close_fds(frame.fds)
        if not frame.flags & FLAG_OPTIONAL:
            self._answer(Kind.UNIMPLEMENTED, frame.channel, pack([frame.kind]) + NIL)

    def _known(self, frame: Frame, action: Action) -> None:
        info = KINDS[frame.kind]
        in_pieces = bool(frame.flags & FLAG_FRAG)
        if info.capability is not None and info.capability not in self.capabilities:
            raise Violation(Abort.PROTOCOL_ERROR, f"{info.capability} is not in force")
        if frame.nfds and not info.handles:
            raise Violation(Abort.FD_VIOLATION, f"{info.name} has no handles")
        if (frame.flags & FLAG_MORE and not in_pieces) or (
            in_pieces and (frame.kind not in _MESSAGES or "frag" not in self.capabilities)
        ):
            raise Violation(Abort.PROTOCOL_ERROR, "a fragment where there may be none")
        if (info.channel == "zero" and frame.channel) or (
            info.channel in ("opens", "uses") and not frame.channel
        ):
            raise Violation(Abort.PROTOCOL_ERROR, f"{info.name} on channel {frame.channel}")
        if frame.kind in _MESSAGES:
            self._message(frame, action)
        elif frame.kind in (Kind.LISTENING, Kind.CONN):
            self._with_sockets(frame, action)
        else:
            self._plain(frame)

    def _plain(self, frame: Frame) -> None:
        """Kinds without descriptors."""
        if frame.kind == Kind.PING:
            self._answer(Kind.PONG, frame.channel, frame.body)
            return
        if frame.kind == Kind.PONG:
            self._events.append(Pong(frame.body))
            return
        if KINDS[frame.kind].channel == "uses" and not self._is_open(frame.channel):
            return
        elements, said = self._control(frame)
        self._handlers[Kind(frame.kind)](frame, elements, said)

    def _is_open(self, channel: int) -> bool:
        return channel in self.channels or channel in self.inbox.partial

    # --------------------------------------------------------------------------- what arrives

    def _welcome(self, _frame: Frame, _envelope: list[object], said: _Said) -> None:
        version = said["version"]
        assert isinstance(version, list)
        caps, handles = _strings(said.get("caps")), _strings(said.get("handles"))
        if version[0] != MAJOR or not caps <= set(self.hello.capabilities):
            raise Violation(Abort.PROTOCOL_ERROR, "the primary grants what was not offered")
        name, config = said.get("name"), said.get("config") or {}
        worker, cluster, heartbeat = said["worker"], said["cluster"], said.get("heartbeat") or 0
        assert isinstance(worker, int)
        assert isinstance(cluster, bytes)
        assert isinstance(config, dict)
        assert isinstance(heartbeat, int | float)
        self.outbox.fragments = "frag" in caps
        self.outbox.handle_ack = "handle.ack" in caps
        self.inbox.heads = "handle.head" in caps
        self.outbox.set_limits(said.get("limits"))
        self.welcome = Welcome(
            version=(MAJOR, version[1]),
            worker=worker,
            cluster=cluster,
            capabilities=caps,
            handles=handles,
            heartbeat=heartbeat / 1000,
            config=config,
            name=name if isinstance(name, str) else None,
        )
        self._events.append(self.welcome)

    def _stop(self, _frame: Frame, _envelope: list[object], said: _Said) -> None:
        deadline, reason = said.get("deadline"), said.get("reason")
        seconds = max(deadline, 0) / 1000 if isinstance(deadline, int | float) else None
        self._events.append(Stop(seconds, reason if isinstance(reason, int) else 0))

    def _goodbye_came(self, _frame: Frame, _envelope: list[object], said: _Said) -> None:
        self.owes_goodbye = self.state is not State.CLOSING
        reason, received, detail = said.get("reason"), said["recv"], said.get("detail")
        self._ack(_frame, [received], {})
        if isinstance(received, int):
            detail = detail if isinstance(detail, str) else None
            self._events.append(Goodbye(reason if isinstance(reason, int) else 0, received, detail))

    def _abort_came(self, _frame: Frame, _envelope: list[object], said: _Said) -> None:
        code, detail = said["code"], said.get("detail")
        self.state = State.CLOSED
        self.outbox.close()  # nothing more may be sent
        if isinstance(code, int):
            self._events.append(Aborted(code, detail if isinstance(detail, str) else None))

    def _settings_came(self, _frame: Frame, _envelope: list[object], said: _Said) -> None:
        self._answer(Kind.SETTINGS_ACK, 0, NIL + NIL)
        self.outbox.set_limits(said.get("limits"))
        self._events.append(SettingsChanged(said))

    def _settings_ack(self, _frame: Frame, _envelope: list[object], _said: _Said) -> None:
        if not self._settings:
            raise Violation(Abort.PROTOCOL_ERROR, "SETTINGS_ACK without SETTINGS")
        limits = self._settings.pop(0)
        self.limits.update(limits)
        self._window = limits.get("window", self._window)
        self._reader.max_frame = self.limits["max_frame"]

    def _credit(self, frame: Frame, envelope: list[object], _said: _Said) -> None:
        count = envelope[0]
        assert isinstance(count, int)
        if frame.channel:
            return
        if count > self.outbox.spent:
            raise Violation(Abort.FLOW_VIOLATION, f"{count} bytes of credit were never spent")
        self.outbox.spent -= count
        self.outbox.admit()

    def _ack(self, _frame: Frame, envelope: list[object], _said: _Said) -> None:
        upto = envelope[0]
        if not isinstance(upto, int) or not 0 <= upto <= self.outbox.sent:
            raise Violation(Abort.PROTOCOL_ERROR, f"message {upto} was never sent")
        self.acknowledged = max(self.acknowledged, upto)

    def _unimplemented(self, frame: Frame, envelope: list[object], _said: _Said) -> None:
        kind = envelope[0]
        assert isinstance(kind, int)
        if isinstance(self.channels.get(frame.channel), OutgoingCall | ListenerChannel):
            text = f"kind {kind:#04x} is unknown there"
            self._failed(frame.channel, error_map(Code.UNIMPLEMENTED, text))
        else:
            self._events.append(Unimplemented(kind, frame.channel))

    def _listen_close(self, frame: Frame, _envelope: list[object], _said: _Said) -> None:
        self._expect(frame.channel, ListenerChannel)
        del self.channels[frame.channel]
        self._events.append(ListenClosed(frame.channel))

    def _handle_ack(self, _frame: Frame, envelope: list[object], _said: _Said) -> None:
        upto, lost = envelope[0], envelope[1] or []
        assert isinstance(upto, int)
        assert isinstance(lost, list)
        if any(number > upto for number in lost) or not self.outbox.handles_acknowledged(upto):
            raise Violation(Abort.PROTOCOL_ERROR, f"frame {upto} with handles was never sent")

    def _error_came(self, frame: Frame, _envelope: list[object], said: _Said) -> None:
        self._expect(frame.channel, OutgoingCall, ListenerChannel)
        self._failed(frame.channel, said)

    def _cancel_came(self, frame: Frame, envelope: list[object], _said: _Said) -> None:
        unfinished = self.inbox.partial.get(frame.channel)
        if unfinished is None:
            self._expect(frame.channel, IncomingCall)
            self._events.append(Cancelled(frame.channel, envelope[0] if envelope else None))
        elif unfinished.kind == Kind.REPLY:
            raise Violation(Abort.PROTOCOL_ERROR, "an answer cannot be taken back")
        else:
            self.inbox.abandon(frame.channel)
            if unfinished.kind == Kind.CALL:
                self.error(frame.channel, error_map(Code.CANCELLED, "taken back"), provoked=True)

    def _undeliverable(self, _frame: Frame, envelope: list[object], said: _Said) -> None:
        if not envelope:
            return  # a broken one says nothing
        number, to = envelope
        if not isinstance(number, int) or not 1 <= number <= self.outbox.sent:
            raise Violation(Abort.PROTOCOL_ERROR, f"message {number} was never sent")
        address = to if isinstance(to, int | str) else None
        self._events.append(Undeliverable(number, address, said))

    def _down(self, _frame: Frame, _envelope: list[object], _said: _Said) -> None:
        """Nobody here monitors anybody, so it is of nobody (AWP-SU-3)."""

    def _expect(self, channel: int, *kinds: type[Open]) -> None:
        if not isinstance(self.channels.get(channel), kinds):
            raise Violation(Abort.PROTOCOL_ERROR, f"channel {channel} is for something else")

    # ----------------------------------------------------------------------------------- close

    def close(self) -> None:
        """The connection is over: close every descriptor that nobody has got."""
        self.state = State.CLOSED
        self._reader.close()
        self.inbox.close()
        self.outbox.close()


def _strings(value: object) -> frozenset[str]:
    return frozenset(value) if isinstance(value, list) else frozenset()
