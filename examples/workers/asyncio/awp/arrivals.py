"""What arrives and carries something: messages, answers, listening sockets and connections."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from . import shapes
from .awp_v1 import (
    FLAG_FRAG,
    FLAG_MORE,
    KINDS,
    Abort,
    Action,
    Code,
    Kind,
)
from .events import (
    CallReceived,
    Connections,
    ErrorReceived,
    Event,
    Listening,
    ReplyReceived,
    TellReceived,
)
from .framing import Frame, FrameReader, Violation, close_fds
from .handles import Handle, close_all, is_what_it_says
from .inbox import Inbox, Incoming
from .listening import ListenerChannel
from .outbox import LEAST_COST
from .speaking import ACK_EVERY, Hello, IncomingCall, Open, OutgoingCall, Speaker, error_map
from .values import NIL, BadBody, BadLength, Decoder, pack

_Said = Mapping[str, object]


class Arrivals(Speaker):
    """The half of `Connection` that takes messages and connections.

    Attributes:
        inbox: reads messages, and keeps the unfinished ones.
        accepts_messages: False once the application takes no more: they are bounced.
        acknowledged: of our TELLs and CALLs so many are known to have been handled.
    """

    def __init__(self, hello: Hello, verify: Callable[[Handle], bool] = is_what_it_says) -> None:
        super().__init__(hello)
        self.inbox = Inbox(self.limits, frozenset(hello.handles), verify)
        self.accepts_messages = True
        self.acknowledged = 0
        self._reader = FrameReader(self.limits["max_frame"], self.limits["max_fds"])
        self._events: list[Event] = []
        self._window = self.limits["window"]

    def _control(self, frame: Frame) -> tuple[list[object], _Said]:
        """Envelope and payload. Where these are data and broken, the payload is an error."""
        data = KINDS[frame.kind].body == "data"
        decoder = Decoder(frame.body, self.limits["max_depth"])
        try:
            elements = shapes.envelope(frame.kind, decoder.take())
            payload = decoder.take()
            decoder.finish()
            if not data:
                return elements, shapes.payload(frame.kind, payload)
            if not isinstance(payload, dict) or not isinstance(payload.get("code"), str):
                return elements, error_map(Code.BAD_PAYLOAD, "an error without a code")
            return elements, payload
        except BadLength as error:
            raise Violation(Abort.BAD_LENGTH, str(error)) from error
        except BadBody as error:
            if data:
                return [], error_map(Code.BAD_PAYLOAD, str(error))
            raise Violation(Abort.PROTOCOL_ERROR, str(error)) from error

    def _failed(self, channel: int, error: _Said) -> None:
        """A call or a LISTEN of ours ended with an error."""
        opened = self.channels.pop(channel)
        self.inbox.abandon(channel)
        if isinstance(opened, OutgoingCall):
            self.outbox.abandon(opened.message)
            self.acknowledged = max(self.acknowledged, opened.message.number)
            if opened.cancelled:
                return
        self._events.append(ErrorReceived(channel, error))

    # --------------------------------------------------------------- messages and connections

    def _message(self, frame: Frame, action: Action) -> None:
        """A TELL, CALL or REPLY, or a fragment of one."""
        if frame.channel in self.inbox.partial:
            message = self.inbox.next(frame)
            channel = self.channels.get(frame.channel)
        else:
            channel = self._opened_by(frame)
            if frame.kind == Kind.REPLY and channel is None:
                close_fds(frame.fds)
                return
            too_many = self._calls() >= self.limits["max_calls"]
            message = self.inbox.first(frame)
            if action is Action.REFUSE:
                message.fail(Code.REFUSED, "the worker is stopping")
            elif frame.kind == Kind.CALL and too_many:
                message.fail(Code.REFUSED, f"{self.limits['max_calls']} calls are open")
        if frame.flags & FLAG_MORE:
            return
        self.inbox.finish(message)
        if frame.kind == Kind.REPLY:
            self._reply_came(message)
        else:
            self._complete(message)

    def _opened_by(self, frame: Frame) -> Open | None:
        """Check the channel of a message's first frame."""
        channel = frame.channel
        if frame.kind == Kind.REPLY:
            opened = self.channels.get(channel)
            if opened is not None and not isinstance(opened, OutgoingCall):
                raise Violation(Abort.PROTOCOL_ERROR, f"channel {channel} is no call of ours")
            return opened
        needs_one = frame.kind == Kind.CALL or bool(frame.flags & FLAG_FRAG)
        if needs_one != bool(channel) or channel % 2 or channel in self.channels:
            text = f"{KINDS[frame.kind].name} on channel {channel}"
            raise Violation(Abort.PROTOCOL_ERROR, text)
        return None

    def _calls(self) -> int:
        """Calls that are open, unfinished ones included."""
        unfinished = sum(one.kind == Kind.CALL for one in self.inbox.partial.values())
        return unfinished + sum(isinstance(one, IncomingCall) for one in self.channels.values())

    def _complete(self, message: Incoming) -> None:
        """A TELL or CALL is complete: number it, charge it, deliver or bounce it."""
        self._received += 1
        size = 16 + message.envelope_size + message.payload_size
        charge = min(self._window, max(LEAST_COST, size))
        if charge > self._window - self._charged:
            message.fail(Code.REFUSED, "")
            raise Violation(Abort.FLOW_VIOLATION, f"a message of {charge} bytes without credit")
        self._charged += charge
        self._acknowledge(ACK_EVERY)
        if message.error is None:
            self._check_address(message)
        if message.error is not None:
            self._bounce(message, charge)
            return
        told = (message.sender, message.body, tuple(message.handles), message.meta, charge)
        if message.kind == Kind.TELL:
            self._events.append(TellReceived(*told, self._received))
        else:
            self.channels[message.channel] = IncomingCall()
            self._events.append(CallReceived(*told, self._received, message.channel))

    def _check_address(self, message: Incoming) -> None:
        assert self.welcome is not None
        ttl = message.meta.get("ttl")
        if message.to not in (None, self.welcome.worker << 32, self.welcome.name):
            message.fail(Code.NO_SUCH_ACTOR, f"nobody here is {message.to!r}")
        elif not self.accepts_messages:
            message.fail(Code.STOPPING, "the worker is about to end")
        elif isinstance(ttl, int | float) and ttl <= 0:
            is_call = message.kind == Kind.CALL
            code = Code.DEADLINE_EXCEEDED if is_call else Code.EXPIRED
            message.fail(code, "it came too late")

    def _bounce(self, message: Incoming, charge: int) -> None:
        assert message.error is not None
        error = error_map(*message.error, message.data)
        self.give_back(charge)
        if message.kind == Kind.CALL:
            self.error(message.channel, error, provoked=True)
        else:
            body = pack([self._received, message.to]) + pack(error)
            self._answer(Kind.UNDELIVERABLE, 0, body)

    def bounce(self, message: TellReceived, code: str, text: str) -> None:
        """Give a message from the mailbox back."""
        for handle in message.handles:
            handle.close()
        self.give_back(message.charge)
        error = error_map(code, text)
        if isinstance(message, CallReceived):
            self.error(message.channel, error)
        else:
            self._answer(Kind.UNDELIVERABLE, 0, pack([message.number, None]) + pack(error))

    def _reply_came(self, message: Incoming) -> None:
        opened = self.channels.get(message.channel)
        if not isinstance(opened, OutgoingCall):
            message.fail(Code.CANCELLED, "nobody waits for it")
        elif message.error is not None:
            self._failed(message.channel, error_map(*message.error, message.data))
        elif opened.cancelled:
            self._end_channel(message.channel)
            message.fail(Code.CANCELLED, "nobody waits for it")
        else:
            self._end_channel(message.channel)
            self.acknowledged = max(self.acknowledged, opened.message.number)
            handles = tuple(message.handles)
            self._events.append(ReplyReceived(message.channel, message.body, handles))

    def _with_sockets(self, frame: Frame, action: Action) -> None:
        """LISTENING or CONN."""
        handles = [Handle(fd, 0) for fd in frame.fds]
        frame.fds.clear()
        try:
            self._sockets(frame, action, handles)
        except Violation:
            close_all(handles)
            raise

    def _sockets(self, frame: Frame, action: Action, handles: list[Handle]) -> None:
        opened = self.channels.get(frame.channel)
        if opened is None and frame.kind == Kind.LISTENING:
            close_all(handles)
            return
        elements, said = self._control(frame)
        entries = elements[0 if frame.kind == Kind.LISTENING else 1] or []
        if not isinstance(entries, list) or len(entries) != frame.nfds:
            raise Violation(Abort.PROTOCOL_ERROR, "not one entry for each descriptor")
        for handle, entry in zip(handles, entries, strict=False):
            handle.kind, handle.meta = entry[0], (entry[1] if len(entry) > 1 else None) or {}
        if frame.kind == Kind.CONN:
            self._connections(frame, action, elements, handles)
            return
        if not isinstance(opened, ListenerChannel) or opened.mode is not None:
            raise Violation(Abort.PROTOCOL_ERROR, "LISTENING that nobody asked for")
        self._listening(frame, opened, said, handles)

    def _listening(
        self, frame: Frame, opened: ListenerChannel, said: _Said, handles: list[Handle]
    ) -> None:
        mode = said["mode"]
        shared = mode == "shared"
        if f"listen.{mode}" not in self.capabilities or shared != bool(frame.nfds):
            raise Violation(Abort.PROTOCOL_ERROR, f"LISTENING in mode {mode}")
        if frame.lost:
            self._failed(frame.channel, error_map(Code.HANDLE_LOST, "the socket did not arrive"))
            return
        if not all(map(self.inbox.takes, handles)):
            close_all(handles)
            text = "the socket is not what it says"
            self._failed(frame.channel, error_map(Code.UNSUPPORTED_HANDLE, text))
            return
        opened.mode = str(mode)
        handle = handles[0] if handles else None
        address, data = said.get("address"), said.get("data")
        self._events.append(Listening(frame.channel, opened.mode, address, data, handle))

    def _connections(
        self, frame: Frame, action: Action, elements: list[object], handles: list[Handle]
    ) -> None:
        opened = self.channels.get(frame.channel)
        first, meta = elements[0], elements[2] or {}
        assert isinstance(first, int)
        assert isinstance(meta, dict)
        if opened is None:
            close_all(handles)
            upto = first + frame.nfds - 1
            body = pack([upto, list(range(first, upto + 1))]) + NIL
            self._answer(Kind.CONN_REPLY, frame.channel, body)
            return
        if not isinstance(opened, ListenerChannel):
            raise Violation(Abort.PROTOCOL_ERROR, f"channel {frame.channel} is no listener")
        opened.arrive(first, frame.nfds)
        if frame.lost or action is Action.REFUSE:
            close_all(handles)
            self.decide(frame.channel, range(first, first + frame.nfds), taken=False)
            return
        for number, handle in enumerate(handles, first):
            if not self.inbox.takes(handle):
                handle.close()
                self.decide(frame.channel, [number], taken=False)
        self._events.append(Connections(frame.channel, first, tuple(handles), meta))
