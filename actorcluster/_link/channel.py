"""Mail over a pipe: room to send, asks and their answers.

Runs in: both

A send waits for nothing but room (credit). Room is given out in order of arrival, and the waker
itself queues the frame of the task it wakes: when `send` returns the frame is queued, when it
raises ``Cancelled`` it is not, and there is no third case.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, final

import attrs
import trio

from ..errors import LocalProtocolError, PeerClosed
from ..wire._generated import AbortCode, ErrorCode
from ..wire.connection import Connection
from ..wire.events import (
    Acknowledged,
    CreditGranted,
    ErrorReceived,
    Event,
    HandlesAcknowledged,
    ReplyReceived,
)
from .failure import failure_map, raise_failure
from .fdsocket import FdSocket
from .parcel import Parcel
from .pipe import Pace, Pipe, close_all

__all__ = ["Channel", "ChannelStatistics"]


@attrs.define(eq=False)
class _Waiter:
    """A task that waits for room; ``commit`` queues its frame."""

    task: trio.lowlevel.Task
    charge: int
    commit: Callable[[], Any]
    result: Any = None
    error: BaseException | None = None


@attrs.define(eq=False)
class _Question:
    """An ask of ours that waits for its answer."""

    task: trio.lowlevel.Task
    answer: ReplyReceived | ErrorReceived | None = None
    error: BaseException | None = None


@final
@attrs.frozen(kw_only=True)
class ChannelStatistics:
    """A snapshot of one channel.

    Attributes:
        senders_waiting: tasks waiting for room in the peer's mailbox.
        asks_waiting: asks of ours without an answer so far.
        asks_unanswered: asks of the peer that we have not answered so far.
        room: bytes the peer's mailbox can take now.
        unconfirmed: sends not acknowledged as put into the peer's mailbox.
        sends: system calls that wrote.
        receives: system calls that read.
    """

    senders_waiting: int
    asks_waiting: int
    asks_unanswered: int
    room: int
    unconfirmed: int
    sends: int
    receives: int


@final
class Channel(Pipe):
    """One end of the pipe between a primary and a worker.

    Args:
        socket: this end, owned from now on.
        connection: the protocol core of this end.
        on_event: called for each event that the channel does not act on itself; must not raise.
    """

    def __init__(
        self, socket: FdSocket, connection: Connection, on_event: Callable[[Event], None]
    ) -> None:
        super().__init__(socket, connection, self._act)
        self.pace = Pace()
        #: messages inside a ``with message:`` block, counted by the messages themselves.
        self.messages_open = 0
        self._pass_on = on_event
        self._waiters: deque[_Waiter] = deque()
        self._questions: dict[int, _Question] = {}
        self._unanswered: dict[int, weakref.ref[Any]] = {}
        self._closed_with: Callable[[str], PeerClosed] | None = None

    def _act(self, event: Event) -> None:
        act = _ACTS.get(type(event))
        if act is None:
            self._pass_on(event)
        else:
            act(self, event)

    def fail_all(self, closed: Callable[[str], PeerClosed]) -> None:
        """Refuse all sends from now on, and wake everybody who waits.

        Args:
            closed: makes the `PeerClosed` to raise from a text.
        """
        self.refuse_sends(closed)
        questions, self._questions = self._questions, {}
        for question in questions.values():
            question.error = closed("it ended before it answered")
            trio.lowlevel.reschedule(question.task)

    def refuse_sends(self, closed: Callable[[str], PeerClosed]) -> None:
        """Refuse all sends from now on, waiting ones included; asks still get their answers."""
        self._closed_with = closed
        while self._waiters:
            waiter = self._waiters.popleft()
            waiter.error = closed("it takes no more messages")
            trio.lowlevel.reschedule(waiter.task)

    def _on_credit(self, _: CreditGranted) -> None:
        waiters = self._waiters
        while waiters and self.connection.has_room(waiters[0].charge):
            waiter = waiters.popleft()
            try:
                waiter.result = waiter.commit()
            except Exception as exc:  # noqa: BLE001  (it is the sender's, and raised there)
                waiter.error = exc
            trio.lowlevel.reschedule(waiter.task)

    def _on_answer(self, event: ReplyReceived | ErrorReceived) -> None:
        question = self._questions.pop(event.channel, None)
        if question is not None:
            question.answer = event
            trio.lowlevel.reschedule(question.task)
        elif isinstance(event, ReplyReceived):
            close_all(event.handles)  # late: the asker has given up
        else:
            self._pass_on(event)

    # ---- messages -------------------------------------------------------------------------

    def release(self, charge: int) -> None:
        """Give the peer credit back for a message that left its mailbox."""
        connection = self.connection
        connection.grant(charge)
        if connection.wants_to_send():
            self.flush()
        elif connection.due():
            self._timer_wanted.set()

    async def send(
        self, body: Any, handle: Any = None, *, keep_open: bool = False, **address: Any
    ) -> None:
        """Queue a message as soon as there is room for it; see `Worker.send`."""
        parcel = Parcel(self.connection, body, handle, keep_open=keep_open)
        await self._commit(parcel, lambda: parcel.tell(**address))

    def send_nowait(
        self, body: Any, handle: Any = None, *, keep_open: bool = False, **address: Any
    ) -> None:
        """Queue a message if there is room for it now; see `Worker.send_nowait`."""
        self._raise_if_closed()
        parcel = Parcel(self.connection, body, handle, keep_open=keep_open)
        if self._waiters or not self.connection.has_room(parcel.charge):
            raise trio.WouldBlock
        parcel.tell(**address)
        self.flush()

    async def ask(
        self, body: Any, handle: Any = None, *, keep_open: bool = False, **address: Any
    ) -> Any:
        """Send a message and wait for its answer; see `Worker.ask`."""
        parcel = Parcel(self.connection, body, handle, keep_open=keep_open, call=True)
        question = _Question(trio.lowlevel.current_task())

        def commit() -> int:
            left = trio.current_effective_deadline() - trio.current_time()
            # An infinite deadline travels as such; the receiver compares times, nothing else.
            channel = parcel.call(ttl=max(left, 0.0), **address)
            self._questions[channel] = question
            return channel

        channel = await self._commit(parcel, commit)
        return await self._wait_for_answer(channel, question)

    async def _wait_for_answer(self, channel: int, question: _Question) -> Any:
        def abort(_: Any) -> trio.lowlevel.Abort:
            self._questions.pop(channel, None)
            self.connection.send_cancel(channel)
            self.flush()
            return trio.lowlevel.Abort.SUCCEEDED

        if question.answer is None and question.error is None:
            await trio.lowlevel.wait_task_rescheduled(abort)
        if question.error is not None:
            raise question.error
        if isinstance(question.answer, ErrorReceived):
            raise_failure(question.answer.error, self._closed)
        assert question.answer is not None
        return question.answer.body

    async def _commit(self, parcel: Parcel, commit: Callable[[], Any]) -> Any:
        """Run ``commit`` when there is room, in order of arrival. The only wait of a send."""
        self._raise_if_closed()
        await self.pace.step()
        self._raise_if_closed()
        if not self._waiters and self.connection.has_room(parcel.charge):
            result = commit()
            self.flush()
            return result
        return await self._wait_for_room(parcel.charge, commit)

    async def _wait_for_room(self, charge: int, commit: Callable[[], Any]) -> Any:
        waiter = _Waiter(trio.lowlevel.current_task(), charge, commit)
        self._waiters.append(waiter)

        def abort(_: Any) -> trio.lowlevel.Abort:
            first = self._waiters[0] is waiter
            self._waiters.remove(waiter)
            if first:  # whoever stood behind a large message may fit now
                self._on_credit(CreditGranted(0))
                self.flush()
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        if waiter.error is not None:
            raise waiter.error
        return waiter.result

    def _raise_if_closed(self) -> None:
        if self._closed_with is not None:
            raise self._closed_with("it takes no more messages")
        if self._ended:
            raise self._closed("the channel has ended")

    def _closed(self, text: str) -> PeerClosed:
        make = self._closed_with or (lambda text: PeerClosed(text, unconfirmed=self.unconfirmed))
        return make(text)

    @property
    def unconfirmed(self) -> int:
        """Sends that returned but were not acknowledged as put into the peer's mailbox."""
        return self.connection.unacknowledged

    # ---- answers to the peer --------------------------------------------------------------

    def asked(self, channel: int, ask: object) -> None:
        """Note that the peer waits for an answer on ``channel``.

        Args:
            channel: of the call.
            ask: what stands for it here; held weakly, so that a forgotten ask is noticed.
        """
        self._unanswered[channel] = weakref.ref(ask)

    def unanswered_ask(self, channel: int) -> object | None:
        """Give back what `asked` was told about, while it is unanswered and alive."""
        reference = self._unanswered.get(channel)
        return None if reference is None else reference()

    def is_unanswered(self, channel: int) -> bool:
        return channel in self._unanswered

    @property
    def asks_unanswered(self) -> int:
        return len(self._unanswered)

    def reply(self, channel: int, body: Any, handle: Any, *, keep_open: bool) -> None:
        """Answer an ask of the peer. Nothing happens when the peer is gone."""
        if channel not in self._unanswered:
            raise LocalProtocolError("this ask was answered already")
        if self._ended:
            self._unanswered.pop(channel, None)
            return
        Parcel(self.connection, body, handle, keep_open=keep_open).reply(channel)
        self._unanswered.pop(channel, None)
        self.flush()

    def fail(self, channel: int, exc: BaseException) -> None:
        """Answer an ask of the peer with an exception, as data."""
        if channel not in self._unanswered:
            raise LocalProtocolError("this ask was answered already")
        self._send_error(channel, failure_map(exc))

    def refuse(self, channel: int, code: ErrorCode, text: str) -> None:
        """Answer an ask of the peer with one of the protocol's own errors."""
        self._send_error(channel, {"code": str(code), "message": text})

    def _send_error(self, channel: int, error: Mapping[str, Any]) -> None:
        self._unanswered.pop(channel, None)
        if not self._ended:
            self.connection.send_error(channel, error)
            self.flush()

    def abort(self, code: AbortCode, detail: str) -> None:
        """Give up on the connection; the reader ends at the peer's end of file."""
        self.connection.abort(code, detail)
        self.flush()

    def statistics(self) -> ChannelStatistics:
        """Count what waits here. Never waits."""
        return ChannelStatistics(
            senders_waiting=len(self._waiters),
            asks_waiting=len(self._questions),
            asks_unanswered=len(self._unanswered),
            room=self.connection.available,
            unconfirmed=self.unconfirmed,
            sends=self._socket.sends,
            receives=self._socket.receives,
        )


#: What the channel acts on itself; everything else is ``on_event``'s.
_ACTS: Final[dict[type, Callable[[Channel, Any], None]]] = {
    Acknowledged: lambda _channel, _event: None,
    CreditGranted: Channel._on_credit,  # noqa: SLF001
    ErrorReceived: Channel._on_answer,  # noqa: SLF001
    HandlesAcknowledged: Channel.release_handles,
    ReplyReceived: Channel._on_answer,  # noqa: SLF001
}
