"""Connection: bytes and descriptors in, events out, and back; no I/O.

Runs in: both

Theory of operation
===================

The shell reads the socket and hands over what it got: `Connection.receive` returns what the peer
said. The shell says something with one of the ``send_`` methods, which only queue, and then
writes what `Connection.data_to_send` gives. In between nothing happens: no clock, no callback,
no task. What the protocol answers by itself (PING, SETTINGS, what is unknown, broken, refused
or bounced) is answered by the same means, so after every `receive` there may be something to
send.

Each descriptor that comes in leaves exactly once: inside a handle in an event, or through
`take_discarded`, for the shell to close.

When the peer breaks a rule, `receive` raises `RemoteProtocolError`, and never anything else. An
ABORT is queued by then, the connection is closed, and `take_events` has what was still good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, final

import attrs

from ..errors import RemoteProtocolError
from ._generated import (
    FLAG_FRAG,
    FLAG_MORE,
    KINDS,
    AbortCode,
    Action,
    Capability,
    ErrorCode,
    Kind,
    State,
)
from .batches import Batch
from .events import Event
from .fields import Malformed
from .frames import Frame
from .life import Life

__all__ = ["Batch", "Connection", "ConnectionStatistics"]

_UNUSUAL: Final = FLAG_FRAG | FLAG_MORE
_TELL: Final = int(Kind.TELL)
_MAIL: Final = frozenset({_TELL, int(Kind.CALL), int(Kind.REPLY)})
_BEFORE_READY: Final = (State.HANDSHAKE, State.STARTING)

#: Kinds that cannot be on channel 0, and kinds that can be nowhere else.
_MISPLACED: Final = tuple(
    frozenset(code for code, info in KINDS.items() if info.channel in channels)
    for channels in (("opens", "uses"), ("zero",))
)


@final
@attrs.frozen(kw_only=True)
class ConnectionStatistics:
    """A snapshot of one connection.

    Attributes:
        state: where this end stands.
        sent: messages of ours so far.
        unacknowledged: how many of them the peer has not reported as handled.
        available: credit left to send more.
        received: messages of the peer so far.
        owed: credit that is due to the peer and not sent yet.
        calls: our calls without an answer.
        inbound_calls: the peer's calls that we have not answered.
        listeners: open listener channels.
        partial: bytes of unfinished messages.
    """

    state: State
    sent: int
    unacknowledged: int
    available: int
    received: int
    owed: int
    calls: int
    inbound_calls: int
    listeners: int
    partial: int


@final
class Connection(Life):
    """One end of the protocol.

    Args:
        role: "worker" or "primary".
        limits: what this side can receive, where it differs from the defaults.
        capabilities: those that this side offers.
        handle_names: names of the handle kinds that this side takes.
        handles: how handles are described and built.
        refs: how refs are described and built; None: there are none.

    Attributes:
        role: as given.
        limits: what this side enforces now.
        peer_limits: what the peer can receive; the defaults until it has said so.
        capabilities: those in force; none before WELCOME.
    """

    # ---- in -------------------------------------------------------------------------------

    def receive(
        self,
        data: bytes | bytearray | memoryview,
        fds: Sequence[int] = (),
        truncated: bool = False,
    ) -> list[Event]:
        """Take in what one read of the socket gave.

        Args:
            data: the bytes; not needed any more when this returns.
            fds: descriptors that came with them, owned by the connection from now on.
            truncated: whether the kernel dropped descriptors (``MSG_CTRUNC``).

        Returns:
            what the peer said, in order.

        Raises:
            RemoteProtocolError: the peer broke the protocol. The connection is closed, with an
                ABORT still to be sent; `take_events` has what came before the fault.
        """
        if fds or truncated:
            self._descriptors.add(fds, truncated)
        fault: RemoteProtocolError | None = None
        try:
            if self._machine.state is not State.CLOSED:
                frames, fault = self._cut(data)
                self._dispatch(frames)
                self._check_descriptors()
                self._acknowledge_handles()
        except RemoteProtocolError as exc:
            fault = exc
        if self._machine.state is State.CLOSED:
            self._drop_everything_inbound()
        elif fault is not None:
            self.abort(fault.code, str(fault))
            raise fault
        return self.take_events()

    def _cut(
        self, data: bytes | bytearray | memoryview
    ) -> tuple[list[Frame], RemoteProtocolError | None]:
        """Cut the stream into frames; also those before a fault count."""
        try:
            return self._reader.feed(data), None
        except RemoteProtocolError as exc:
            return self._reader.take_frames(), exc

    def receive_eof(self) -> bool:
        """Take in the end of the stream; True when it was an orderly one."""
        orderly = self._machine.received_eof()
        self._drop_everything_inbound()
        return orderly

    def take_events(self) -> list[Event]:
        """What `receive` had found before it raised."""
        events, self._events = self._events, []
        return events

    def take_discarded(self) -> list[int]:
        """Take the descriptors that nobody owns any more. The caller must close them."""
        return self._descriptors.take_discarded()

    # ---- out ------------------------------------------------------------------------------

    def data_to_send(self, limit: int = 262144) -> list[Batch]:
        """Take about ``limit`` bytes of what is queued. There may be more, see `wants_to_send`.

        What is taken counts as sent: the caller keeps what it cannot write yet.
        """
        return self._outbox.take(limit)

    def wants_to_send(self) -> bool:
        """Whether `data_to_send` would give anything now."""
        return bool(self._outbox)

    def has_unsent(self) -> bool:
        """Like `wants_to_send`, but counts frames that wait for handles to be acknowledged."""
        return not self._outbox.is_empty

    def take_unsent_handles(self) -> list[Any]:
        """Drop everything that is queued, at the end; returns handles that were never sent."""
        unsent = self._unsent + self._outbox.clear()
        self._unsent = []
        return unsent

    def statistics(self) -> ConnectionStatistics:
        """Count what there is."""
        return ConnectionStatistics(
            state=self.state,
            sent=self._deliveries.sent,
            unacknowledged=self.unacknowledged,
            available=self.available,
            received=self._arrivals.received,
            owed=self._inbound_window.owed,
            calls=len(self._calls),
            inbound_calls=len(self._inbound_calls),
            listeners=len(self._listeners),
            partial=self._reassembly.held,
        )

    # ---- dispatch -------------------------------------------------------------------------

    def _dispatch(self, frames: list[Frame]) -> None:
        machine = self._machine
        for frame in frames:
            if frame.nfds or frame.flags & _UNUSUAL:
                self._dispatch_unusual(frame)
            elif frame.kind == _TELL and machine.takes_tells:
                self._on_tell(frame)  # the shortest way for what comes most
            else:
                self._dispatch_plain(frame)
                if machine.state is State.CLOSED:
                    return

    def _dispatch_plain(self, frame: Frame) -> None:
        kind = frame.kind
        action = self._machine.received(kind)
        if action is Action.IGNORE:
            return
        if action is Action.ABORT:
            raise self._not_now(kind)
        handle = _ON.get(kind)
        if handle is None:
            self._on_unknown(frame)
            return
        if kind in _MISPLACED[frame.channel != 0]:
            where = f"{KINDS[kind].name} on channel {frame.channel}"
            raise self._violation("AWP-CH-2", where)
        try:
            if frame.error is not None and kind not in _FORGIVING:
                raise Malformed(frame.error)
            if action is Action.REFUSE:
                self._refuse(frame)
            else:
                handle(self, frame)
        except Malformed as exc:
            raise self._violation("AWP-FR-6", f"{KINDS[kind].name}: {exc}") from None

    def _refuse(self, frame: Frame) -> None:
        """Say that something was not begun, because this side is stopping."""
        text = "the process is stopping"
        if frame.kind == Kind.LISTEN:
            self._refuse_listen(frame, text)
        elif frame.kind == Kind.CONN:
            self._refuse_connections(frame)
        else:
            told = frame.kind == Kind.TELL
            self._on_mail(frame, (ErrorCode.STOPPING if told else ErrorCode.REFUSED, text))

    def _not_now(self, kind: int) -> RemoteProtocolError:
        """The peer sent what it could not send now."""
        machine = self._machine
        name = KINDS[kind].name if kind in KINDS else f"kind {kind:#04x}"
        if kind in machine.withheld and machine.state not in _BEFORE_READY:
            text = f"{name} needs the capability {KINDS[kind].capability}, which is not in force"
            return self._violation("AWP-HS-3", text)
        text = f"{name} arrived while {machine.state.value}"
        return self._violation("AWP-ST-8", text, AbortCode.STATE_VIOLATION)

    def _dispatch_unusual(self, frame: Frame) -> None:
        """Take a frame that has descriptors, or is a fragment."""
        try:
            if frame.nfds:
                self._claim(frame)
                self._check_may_have_handles(frame)
            if frame.flags & _UNUSUAL and frame.kind in _ON:
                self._dispatch_fragment(frame)
            else:
                self._dispatch_plain(frame)
        finally:
            self._descriptors.discard(self._take_fds())

    def _dispatch_fragment(self, frame: Frame) -> None:
        kind = frame.kind
        if not frame.flags & FLAG_FRAG or kind not in _MAIL:
            raise self._violation("AWP-LG-7", f"{Kind(kind).name} with flags {frame.flags:#04x}")
        partial = self._reassembly.get(frame.channel)
        if partial is None:
            self._dispatch_plain(frame)  # the first: the state machine decides, for all of them
        elif self._machine.state is State.CLOSING:
            self._abandon(frame.channel)
        elif kind != partial.kind or frame.nfds:
            raise self._violation("AWP-LG-7", f"not the next fragment on channel {frame.channel}")
        else:
            self._on_fragment(partial, frame)

    # ---- descriptors ----------------------------------------------------------------------

    def _check_may_have_handles(self, frame: Frame) -> None:
        kind = frame.kind
        name = KINDS[kind].name if kind in KINDS else f"kind {kind:#04x}"
        if self._machine.state in _BEFORE_READY:
            problem = f"{name} with descriptors before READY"
        elif kind in _ON and not KINDS[kind].handles:
            problem = f"{name} with descriptors"
        elif kind in _MAIL and self._handles_in not in self.capabilities:
            problem = f"{name} with descriptors, and {self._handles_in} is not in force"
        else:
            return
        raise self._violation("AWP-FD-6", problem, AbortCode.FD_VIOLATION)

    @property
    def _handles_in(self) -> Capability:
        """The capability that the peer needs to send handles."""
        return Capability.HANDLE if self.role == "worker" else Capability.HANDLE_SEND

    def _check_descriptors(self) -> None:
        """Check what no frame has claimed, now that all complete ones had their turn."""
        if self._descriptors:
            if self._machine.state in _BEFORE_READY:
                text = "descriptors before READY"
                raise self._violation("AWP-FD-6", text, AbortCode.FD_VIOLATION)
            self._descriptors.check()


_Handler = Callable[[Connection, Frame], None]

#: kind -> the method of its name, for all that is not unknown.
_ON: Final[dict[int, _Handler]] = {
    code: getattr(Connection, f"_on_{info.name.lower()}")
    for code, info in KINDS.items()
    if info.status == "built"
}

#: Kinds whose broken body is the message's trouble, or nobody's; all others are control.
_FORGIVING: Final = _MAIL | {
    Kind.ERROR,
    Kind.UNDELIVERABLE,
    Kind.EXIT_INFO,
    Kind.LOG,
    Kind.PING,
    Kind.PONG,
}
