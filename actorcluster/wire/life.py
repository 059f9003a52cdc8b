"""Introductions, readiness, settings, liveness, the end: the frames on channel 0.

Runs in: both
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..errors import LocalProtocolError
from ._generated import (
    FLAG_OPTIONAL,
    AbortCode,
    ErrorCode,
    Kind,
    Reason,
    State,
)
from .events import (
    Aborted,
    ExitInfo,
    Goodbye,
    Leave,
    Log,
    Pong,
    Ready,
    Serving,
    SettingsChanged,
    Stop,
    Unimplemented,
)
from .fields import Malformed, check_limits, read_envelope, read_map
from .frames import Frame, encode_frame, encode_head
from .handshake import Handshake
from .session import FLOORS, NIL, error_map

__all__ = ["Life"]

_NOTHING: Final[Mapping[str, Any]] = {}
#: Frames of kinds that we do not know, without OPTIONAL, before the peer is given up (AWP-EV-2).
_MAX_UNKNOWN: Final = 100
#: A longer detail of an ABORT is cut off.
_DETAIL: Final = 1000
#: Limits that hold from the handshake to the end.
_FIXED_LIMITS: Final = frozenset({"max_depth"})


class Life(Handshake):
    """The layer of everything that is not about messages or ports."""

    # ---- out ------------------------------------------------------------------------------

    def send_ready(self, info: Mapping[str, Any] = _NOTHING) -> None:
        """Worker: the runtime is up. From now on messages may be sent and arrive."""
        frame = self._map_frame(Kind.READY, {"info": info} if info else {})
        self._outbox.put_urgent(frame)  # nothing urgent may overtake it (AWP-MS-4)
        self._machine.sent(Kind.READY)

    def send_serving(
        self, info: Mapping[str, Any] = _NOTHING, *, address: tuple[str, int] | str | None = None
    ) -> None:
        """Worker: the application called itself ready, or listens at ``address`` by itself."""
        payload: dict[str, Any] = {"info": info} if info else {}
        if address is not None:
            payload["address"] = address
        self._outbox.put(self._map_frame(Kind.SERVING, payload))

    def send_stop(self, deadline: float | None = None, reason: int = Reason.NORMAL) -> None:
        """Primary: drain, then leave, within ``deadline`` seconds. No more mail after it."""
        stop: dict[str, Any] = {"reason": int(reason)}
        if deadline is not None and deadline < 1e15:  # anything longer, inf included, is none
            stop["deadline"] = deadline * 1000
        self._outbox.put(self._map_frame(Kind.STOP, stop))
        self._machine.sent(Kind.STOP)

    def send_leave(self, reason: int = Reason.NORMAL) -> None:
        """Worker: it wants to go, and waits for STOP."""
        self._outbox.put(self._map_frame(Kind.LEAVE, {"reason": int(reason)}))

    def send_goodbye(self, reason: int = Reason.NORMAL, detail: str | None = None) -> None:
        """Say that nothing more comes; it leaves after all that is queued already."""
        self._check_sendable(Kind.GOODBYE)
        goodbye: dict[str, Any] = {"reason": int(reason), "recv": self._arrivals.handled}
        if detail is not None:
            goodbye["detail"] = detail
        self._outbox.put_final(self._map_frame(Kind.GOODBYE, goodbye))
        self._machine.sent(Kind.GOODBYE)

    def abort(self, code: int, detail: str = "") -> None:
        """Give the connection up. ABORT leaves after all that is queued already.

        Nothing happens when the connection is closed.
        """
        if self.state is not State.CLOSED:
            text = detail[:_DETAIL].encode("utf-8", "replace").decode()
            abort = {"code": int(code), "detail": text}
            self._outbox.put_final(encode_frame(Kind.ABORT, 0, NIL, self._encode_map(abort)))
            self._machine.sent(Kind.ABORT)
            self._drop_everything_inbound()

    def send_ping(self, body: Any = None) -> None:
        """Ask for a `Pong`, whose body is the encoding of ``body`` after a nil envelope."""
        self._check_sendable(Kind.PING)
        payload = bytes(self._values.encode(body).payload)
        self._outbox.put_urgent(self._whole_frame(Kind.PING, 0, NIL, payload))

    def send_settings(self, settings: Mapping[str, Any]) -> None:
        """Change what was said in the handshake: ``limits``, heartbeat, log_level, config.

        Limits that are raised hold at once, others (and ``window``) once the peer has
        acknowledged them.
        """
        limits = self._checked_limits(settings)
        self._outbox.put(self._map_frame(Kind.SETTINGS, settings))
        self._pending_limits.append(limits)
        self._apply_own_limits()

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Raise what `send_settings` would, as far as it does not depend on the peer."""
        self._checked_limits(settings)
        self._whole_frame(Kind.SETTINGS, 0, NIL, self._encode_map(settings))

    def _checked_limits(self, settings: Mapping[str, Any]) -> dict[str, int]:
        limits = dict(settings.get("limits") or {})
        for name, value in limits.items():
            if name not in FLOORS or name in _FIXED_LIMITS or value < FLOORS[name]:
                raise LocalProtocolError(f"the limit {name} cannot be set to {value}")
        return limits

    def send_exit_info(self, info: Mapping[str, Any]) -> None:
        """Worker: why it is about to end, as an error map."""
        self._check_sendable(Kind.EXIT_INFO)
        self._outbox.put(encode_frame(Kind.EXIT_INFO, 0, NIL, self._encode_error(info)))

    def send_log(
        self,
        level: int,
        time: float,
        logger: str,
        message: str,
        attributes: Mapping[str, Any] = _NOTHING,
    ) -> None:
        """Worker: one log record. What does not fit into a frame is cut off."""
        self._check_sendable(Kind.LOG)
        room = self.peer_limits["max_frame"] // 8
        record: list[Any] = [message[:room]]
        if attributes:
            record.append(dict(attributes))
        payload = self._values.encode(record).payload
        if len(payload) > room * 6:
            payload = self._values.encode(record[:1]).payload
        envelope = self._pack([max(0, min(level, 255)), float(time), logger[:256]])
        self._outbox.put(encode_frame(Kind.LOG, 0, envelope, payload, flags=FLAG_OPTIONAL))

    # ---- in: life -------------------------------------------------------------------------

    def _on_ready(self, frame: Frame) -> None:
        self._events.append(Ready(read_map(frame.kind, frame.payload).get("info") or {}))

    def _on_serving(self, frame: Frame) -> None:
        payload = read_map(frame.kind, frame.payload)
        self._events.append(Serving(payload.get("info") or {}, payload.get("address")))

    def _on_stop(self, frame: Frame) -> None:
        stop = read_map(frame.kind, frame.payload)
        deadline = stop.get("deadline")
        seconds = None if deadline is None else deadline / 1000
        self._events.append(Stop(seconds, stop.get("reason") or 0))

    def _on_leave(self, frame: Frame) -> None:
        leave = read_map(frame.kind, frame.payload)
        self._events.append(Leave(leave.get("reason") or 0))

    def _on_goodbye(self, frame: Frame) -> None:
        goodbye = read_map(frame.kind, frame.payload)
        received = goodbye.get("recv") or 0
        if not self._deliveries.acknowledge(received):
            raise self._violation("AWP-ST-5", f"message {received} was never sent")
        self._events.append(Goodbye(goodbye.get("reason") or 0, received, goodbye.get("detail")))

    def _on_abort(self, frame: Frame) -> None:
        try:
            abort = read_map(frame.kind, frame.payload)
        except Malformed:
            abort = {"code": AbortCode.PROTOCOL_ERROR, "detail": "(an ABORT that is no map)"}
        self._events.append(Aborted(abort["code"], abort.get("detail")))
        self._unsent += self._outbox.clear()
        self._drop_everything_inbound()

    def _on_exit_info(self, frame: Frame) -> None:
        if type(frame.payload) is dict:
            self._events.append(ExitInfo(frame.payload))

    def _on_log(self, frame: Frame) -> None:
        try:
            level, time, logger = read_envelope(frame.kind, frame.envelope)
        except Malformed:
            return
        match frame.payload:
            case [str() as message, dict() as attributes, *_]:
                self._events.append(Log(level, float(time), logger, message, attributes))
            case [str() as message, *_]:
                self._events.append(Log(level, float(time), logger, message, {}))

    # ---- in: what is answered here --------------------------------------------------------

    def _on_ping(self, frame: Frame) -> None:
        body = frame.body or b""
        self._answer(encode_head(Kind.PONG, frame.channel, len(body)) + body, urgent=True)

    def _on_pong(self, frame: Frame) -> None:
        self._events.append(Pong(frame.body or b""))

    def _on_settings(self, frame: Frame) -> None:
        settings = read_map(frame.kind, frame.payload)
        if self.role == "primary":
            settings = {key: value for key, value in settings.items() if key == "limits"}
        self._set_peer_limits(check_limits(settings.get("limits"), FLOORS))
        self._answer(encode_frame(Kind.SETTINGS_ACK, 0, NIL, NIL))
        self._events.append(SettingsChanged(settings))

    def _on_settings_ack(self, frame: Frame) -> None:
        if not self._pending_limits:
            raise self._violation("AWP-SE-1", "a SETTINGS_ACK without SETTINGS")
        limits = self._pending_limits.popleft()
        self._agreed_limits.update(limits)
        self._inbound_window.resize(self._agreed_limits["window"])
        self._apply_own_limits()

    def _apply_own_limits(self) -> None:
        """Enforce of each limit the most generous value that the peer may still go by."""
        for name, value in self._agreed_limits.items():
            offers = [limits[name] for limits in self._pending_limits if name in limits]
            self.limits[name] = value if name == "window" else max(value, *offers, 0)
        self._reader.max_frame = self.limits["max_frame"]
        self._reassembly.max_message = self.limits["max_message"]
        self._reassembly.max_partial = self.limits["max_partial"]
        self._descriptors.max_fds = self.limits["max_fds"]
        self._plain_length = min(self.limits["max_message"], self.limits["max_meta"])

    def _on_unimplemented(self, frame: Frame) -> None:
        (kind,) = read_envelope(frame.kind, frame.envelope)
        channel = frame.channel
        if channel in self._calls:
            error = error_map(ErrorCode.UNIMPLEMENTED, f"the peer does not know kind {kind:#04x}")
            self._fail(channel, error)
        else:
            self._events.append(Unimplemented(kind, channel))

    def _on_unknown(self, frame: Frame) -> None:
        if frame.flags & FLAG_OPTIONAL:
            return
        self._unknown_kinds += 1
        if self._unknown_kinds > _MAX_UNKNOWN:
            text = f"{self._unknown_kinds} frames of unknown kinds"
            raise self._violation("AWP-EV-2", text, AbortCode.LIMIT_EXCEEDED)
        envelope = self._pack([frame.kind])
        self._answer(encode_frame(Kind.UNIMPLEMENTED, frame.channel, envelope, NIL))

    # ---- the end --------------------------------------------------------------------------

    def _drop_everything_inbound(self) -> None:
        """Give up descriptors and unfinished messages: nobody will ask for them."""
        self._descriptors.discard_all()
        for partial in self._reassembly.drop_all():
            self._give_up(partial)
        self._keep_unclaimed()
