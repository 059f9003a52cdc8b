"""What a worker says: the sending half of `Connection`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .awp_v1 import (
    CAPABILITIES,
    FLAG_OPTIONAL,
    HANDLE_NAMES,
    LIMIT_DEFAULTS,
    MAJOR,
    MINOR,
    Abort,
    Code,
    Kind,
    State,
)
from .events import Welcome
from .handles import ALL_KINDS, Handle
from .listening import ListenerChannel
from .outbox import Address, Message, Outbox
from .values import NIL, pack

L2 = tuple(name for name, level in CAPABILITIES.items() if level <= 2)
_HIGHEST_CHANNEL = 2**32 - 1
_TEXT = 2000
ACK_EVERY = 500
_LOGS = 200
"""Records that wait to be sent, at most."""


class NotSendable(Exception):
    """A message is outside of what the primary takes; nothing was sent.

    Attributes:
        code: what the primary would have answered.
    """

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Hello:
    """What the worker says of itself."""

    worker: int | None = None
    token: str | None = field(default=None, repr=False)
    capabilities: tuple[str, ...] = L2
    handles: tuple[str, ...] = ALL_KINDS
    limits: Mapping[str, int] = field(default_factory=dict)
    pid: int | None = None
    impl: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        """Encoded, as HELLO has it."""
        said: dict[str, object] = {
            "versions": [[MAJOR, MINOR]],
            "caps": list(self.capabilities),
            "limits": dict(self.limits),
            "handles": list(self.handles),
            "impl": dict(self.impl),
        }
        said |= {"worker": self.worker} if self.worker is not None else {}
        said |= {"token": self.token} if self.token is not None else {}
        said |= {"pid": self.pid} if self.pid is not None else {}
        return NIL + pack(said)


@dataclass(eq=False, slots=True)
class OutgoingCall:
    """A call that waits for its answer; the answer to a `cancelled` one is dropped."""

    message: Message
    cancelled: bool = False


class IncomingCall:
    """A call that waits for our answer."""


class OutgoingTell:
    """A TELL in fragments."""


Open = OutgoingCall | IncomingCall | OutgoingTell | ListenerChannel


def error_map(code: str, text: str, data: object = None) -> dict[str, object]:
    """An error as it travels."""
    found: dict[str, object] = {"code": str(code), "message": text[:_TEXT]}
    return found | ({"data": data} if data is not None else {})


class Speaker:
    """The sending half.

    Attributes:
        state: of SPEC.md, section 18.
        welcome: what the primary said, once it did.
        limits: what this side has announced.
        outbox: what is to be written.
        channels: open channels other than those of unfinished messages that arrive.
        log_level: the lowest level that the primary wants.
        owes_goodbye: the primary has said GOODBYE, and this side has not.
    """

    def __init__(self, hello: Hello) -> None:
        self.hello = hello
        self.state = State.HANDSHAKE
        self.welcome: Welcome | None = None
        self.limits = {**LIMIT_DEFAULTS, **hello.limits}
        self.channels: dict[int, Open] = {}
        self.outbox = Outbox(new_channel=self._stream_channel, end_channel=self._end_channel)
        self._last_channel = -1
        self._received = 0
        self._charged = 0
        self._credit_due = 0
        self._ack_sent = 0
        self._fd_frames = 0
        self._fd_acked = 0
        self._fds_lost: list[int] = []
        self._settings: list[dict[str, int]] = []
        self._farewell: int | None = None
        self.owes_goodbye = False
        self.log_level = 0
        self._logs_waiting = 0
        self._logs_dropped = (0, 0.0)
        self.outbox.put(Kind.HELLO, 0, hello.body())

    @property
    def capabilities(self) -> frozenset[str]:
        """Those in force."""
        return self.welcome.capabilities if self.welcome is not None else frozenset()

    # -------------------------------------------------------------------------------- channels

    def _new_channel(self, opened: Open) -> int:
        """Open a channel: odd ids, ascending, from the lowest again after the highest."""
        channel = self._last_channel
        while True:
            channel = channel + 2 if channel < _HIGHEST_CHANNEL else 1
            if channel not in self.channels:
                self._last_channel = channel
                self.channels[channel] = opened
                return channel

    def _stream_channel(self) -> int:
        return self._new_channel(OutgoingTell())

    def _end_channel(self, channel: int) -> None:
        self.channels.pop(channel, None)

    # ------------------------------------------------------------------------------ life cycle

    def ready(self, info: Mapping[str, object] | None = None) -> None:
        """The runtime is up."""
        self.outbox.put(Kind.READY, 0, NIL + pack({"info": dict(info or {})}))
        self.state = State.ACTIVE if self.state is State.STARTING else self.state

    def serving(self, info: Mapping[str, object] | None = None) -> None:
        """The application calls itself ready for work."""
        self.outbox.put(Kind.SERVING, 0, NIL + pack({"info": dict(info or {})}))

    def leave(self, reason: int = 0) -> None:
        """Ask for STOP."""
        self.outbox.put(Kind.LEAVE, 0, NIL + pack({"reason": reason}))

    def goodbye(self, reason: int = 0) -> None:
        """Say good-bye behind all that is queued; what still waits for credit is not sent."""
        self._farewell = reason

    def say_goodbye(self) -> None:
        """Put GOODBYE at the end of an outbox that is empty, if it is time for it."""
        if self._farewell is None or not self.outbox.is_empty:
            return
        if self.state in (State.CLOSING, State.CLOSED):
            return
        self.gather(everything=True)
        said = {"reason": self._farewell, "recv": self._received}
        self.outbox.put(Kind.GOODBYE, 0, NIL + pack(said))
        self.state = State.CLOSING
        self.owes_goodbye = False

    def abort(self, code: Abort, detail: str, header: bytes = b"") -> None:
        """Give the connection up; it is to be closed once ABORT is written."""
        self.outbox.drop_waiting(streams=True)
        said: dict[str, object] = {"code": int(code), "detail": detail[:_TEXT]}
        said |= {"frame": header} if len(header) == 16 else {}
        self.outbox.put(Kind.ABORT, 0, NIL + pack(said))
        self.state = State.CLOSED

    def change_limits(self, limits: dict[str, int]) -> None:
        """Announce other receive limits: raised ones hold at once, lowered ones when heard.

        A new `window` holds on both sides from SETTINGS_ACK on.
        """
        for name, value in limits.items():
            if name != "window" and value > self.limits[name]:
                self.limits[name] = value
        self._settings.append(limits)
        self.outbox.put(Kind.SETTINGS, 0, NIL + pack({"limits": limits}))

    def log(self, level: int, time: float, logger: str, text: str) -> None:
        """Send a log record, cut off where it is long, unless too many wait to be sent."""
        speaks = self.state in (State.STARTING, State.ACTIVE, State.STOPPING)
        if "log" not in self.capabilities or not speaks or level < self.log_level:
            return
        if self._logs_waiting >= _LOGS:
            count, since = self._logs_dropped
            self._logs_dropped = (count + 1, since or time)
        else:
            self._put_log(level, time, logger, text)

    def _put_log(self, level: int, time: float, logger: str, text: str) -> None:
        self._logs_waiting += 1
        body = pack([level, time, logger[:_TEXT]]) + pack([text[:_TEXT]])
        self.outbox.put(Kind.LOG, 0, body, flags=FLAG_OPTIONAL, on_written=self._log_is_written)

    def _log_is_written(self) -> None:
        self._logs_waiting -= 1
        count, since = self._logs_dropped
        if not self._logs_waiting and count:
            self._logs_dropped = (0, 0.0)
            self._put_log(30, since, "awp", f"{count} log records were dropped")

    def exit_info(self, error: Mapping[str, object]) -> None:
        """Say why the process is about to end."""
        self.outbox.put(Kind.EXIT_INFO, 0, NIL + pack(dict(error)))

    # -------------------------------------------------------------------------------- messages

    def compose(
        self,
        kind: Kind,
        to: Address,
        body: object,
        meta: Mapping[str, object] | None,
        *,
        on_sent: Callable[[int], None],
        channel: int = 0,
        extra: Sequence[Handle] = (),
    ) -> Message:
        """Encode a message; its handles are those in the body, and `extra` ones.

        Raises:
            NotSendable: the primary does not take it.
            ValueError, TypeError: the body is outside of the profile.
        """
        handles: list[Handle] = list(extra)
        payload = pack(body, handles)
        entries = [[int(handle.kind), handle.meta] for handle in handles]
        heads = sum(len(handle.head) for handle in handles)
        elements: list[object] = [entries or None, dict(meta) if meta else None]
        elements = elements if kind == Kind.REPLY else [to, None, *elements]
        while elements and elements[-1] is None:
            elements.pop()
        envelope = pack(elements) if elements else NIL
        self._check_handles(handles)
        self._check_size(len(envelope), len(payload), heads)
        return Message(kind, channel, to, envelope, payload, handles, on_sent)

    def _check_handles(self, handles: Sequence[Handle]) -> None:
        taken = self.welcome.handles if self.welcome is not None else frozenset()
        for handle in handles:
            if "handle.send" not in self.capabilities or HANDLE_NAMES.get(handle.kind) not in taken:
                raise NotSendable(Code.UNSUPPORTED_HANDLE, f"the primary takes no {handle}")
        if len(handles) > self.outbox.limits["max_fds"]:
            raise NotSendable(Code.UNSUPPORTED_HANDLE, "too many handles for one message")

    def _check_size(self, envelope: int, payload: int, heads: int) -> None:
        limits = self.outbox.limits
        whole = envelope + payload
        if payload + heads > limits["max_message"] or envelope - heads > limits["max_meta"]:
            raise NotSendable(Code.TOO_LARGE, f"the message has {whole:,} bytes")
        if whole > limits["max_frame"] and (
            not self.outbox.fragments or envelope + 6 > limits["max_frame"]
        ):
            raise NotSendable(Code.TOO_LARGE, f"the message has {whole:,} bytes")

    def call(self, message: Message) -> int:
        """Open a channel and queue a CALL; give the channel."""
        message.channel = self._new_channel(OutgoingCall(message))
        self.outbox.send(message)
        return message.channel

    def cancel(self, channel: int) -> None:
        """The answer to a call is wanted no more."""
        opened = self.channels.get(channel)
        if not isinstance(opened, OutgoingCall) or opened.cancelled:
            return
        opened.cancelled = True
        if opened.message.number:
            self.outbox.put(Kind.CANCEL, channel, NIL + NIL)
        elif not self.outbox.abandon(opened.message):
            self._end_channel(channel)

    def reply(self, channel: int, body: object, on_sent: Callable[[int], None]) -> None:
        """Answer a call.

        Raises:
            NotSendable: the primary does not take that answer; there is none yet.
            ValueError, TypeError: the body is outside of the profile.
        """
        message = self.compose(Kind.REPLY, None, body, None, on_sent=on_sent, channel=channel)
        if isinstance(self.channels.pop(channel, None), IncomingCall):
            self._ack_sent = self._received
            self.outbox.answer(message)

    def error(self, channel: int, error: Mapping[str, object], *, provoked: bool = False) -> None:
        """Answer a call with an error."""
        self._end_channel(channel)
        self.outbox.put(Kind.ERROR, channel, NIL + pack(dict(error)), provoked=provoked)

    def _answer(self, kind: Kind, channel: int, body: bytes) -> None:
        """What the protocol demands."""
        self.outbox.put(kind, channel, body, provoked=True)

    # ------------------------------------------------------------------------------- listening

    def listen(self, request: Mapping[str, object]) -> int:
        """Ask for a port; give the channel."""
        credit = request.get("credit", 1)
        opened = ListenerChannel(0, credit if isinstance(credit, int) else 1)
        opened.channel = self._new_channel(opened)
        self.outbox.put(Kind.LISTEN, opened.channel, NIL + pack(dict(request)))
        return opened.channel

    def decide(
        self,
        channel: int,
        numbers: Iterable[int],
        *,
        taken: bool,
        on_written: Callable[[], None] | None = None,
    ) -> bool:
        """Take connections, or give them back; False if the listener has ended.

        They may be touched when `on_written` was called.
        """
        listener = self.channels.get(channel)
        if not isinstance(listener, ListenerChannel) or self.state is State.CLOSED:
            return False
        said = listener.decide(numbers, taken=taken)
        if said is not None:
            upto, rejected = said
            body = pack([upto, rejected] if rejected else [upto]) + NIL
            self.outbox.put(
                Kind.CONN_REPLY, channel, body, provoked=not taken, on_written=on_written
            )
        return True

    def connection_credit(self, channel: int, count: int, closed: int) -> None:
        """So many more connections may come, and so many are closed in all."""
        listener = self.channels.get(channel)
        if isinstance(listener, ListenerChannel) and self.state is not State.CLOSED:
            listener.credit += count
            self.outbox.put(Kind.CONN_CREDIT, channel, pack([count, closed]) + NIL)

    def listen_close(self, channel: int) -> None:
        """Be done with a listener."""
        if isinstance(self.channels.get(channel), ListenerChannel):
            self._end_channel(channel)
            self.outbox.put(Kind.LISTEN_CLOSE, channel, NIL + NIL)

    # ------------------------------------------------------------------------ what is gathered

    def give_back(self, charge: int) -> None:
        """A message left the mailbox."""
        self._charged -= charge
        self._credit_due += charge

    @property
    def has_due(self) -> bool:
        """Whether credit or an acknowledgement waits to be gathered with others."""
        return self._credit_due > 0 or self._ack_sent < self._received

    def gather(self, *, everything: bool = False) -> None:
        """Queue acknowledgements and credit: all, or what is not better gathered for a while."""
        if self.state not in (State.ACTIVE, State.STOPPING):
            return
        if self._fd_acked < self._fd_frames and "handle.ack" in self.capabilities:
            lost = [self._fds_lost] if self._fds_lost else []
            self.outbox.put(Kind.HANDLE_ACK, 0, pack([self._fd_frames, *lost]) + NIL)
            self._fd_acked, self._fds_lost = self._fd_frames, []
        enough = self.limits["window"] // 8
        if self._credit_due and (everything or not self._charged or self._credit_due > enough):
            self.outbox.put(Kind.CREDIT, 0, pack([self._credit_due]) + NIL)
            self._credit_due = 0
        self._acknowledge(1 if everything else ACK_EVERY)

    def _acknowledge(self, least: int) -> None:
        """Queue an ACK, if it speaks of so many messages."""
        if self._received - self._ack_sent >= least and "ack" in self.capabilities:
            self.outbox.put(Kind.ACK, 0, pack([self._received]) + NIL)
            self._ack_sent = self._received
