"""Mail over a pipe: room to send, asks and their answers.

Runs in: both

A send waits for nothing but room (credit). Room is given out in order of arrival, and the waker
itself queues the frame of the task it wakes: when `send` returns the frame is queued, when it
raises ``Cancelled`` it is not, and there is no third case. Whoever ends a wait takes the waiter off
its list first, so that each wait ends once: a task that stands in line may be let in, refused, or
cancelled, and a question may be answered, or given up by its asker or with the channel.
"""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NoReturn, final

import trio
from trio.lowlevel import checkpoint_if_cancelled, current_task, wait_task_rescheduled

from ..errors import PeerClosed
from ..wire._generated import ErrorCode, State
from ..wire.connection import Connection
from ..wire.events import (
    Acknowledged,
    CallReceived,
    CallsReceived,
    CreditGranted,
    ErrorReceived,
    Event,
    RepliesReceived,
    ReplyReceived,
    SettingsChanged,
    TellReceived,
    TellsReceived,
)
from ..wire.values import Encoded
from .answering import Answering
from .carrier import Carrier
from .failure import raise_failure
from .pace import Pace
from .parcel import Parcel
from .waits import Asking, ChannelStatistics, Posting, Question
from .writing import close_all

__all__ = ["Channel"]

#: Messages up to this size are small, see `Pipe.flush_small`.
_SMALL: Final = 512
#: Messages above this size are large, see `Writing._heap`.
_LARGE: Final = 16 * 1024
#: So many numbers of messages that are no sends are kept before somebody tidies up.
_TIDY_AT: Final = 64
#: What an ask may get instead of an answer.
_FAILURES: Final = (ErrorReceived, PeerClosed)
#: Nothing is sent any more, by our own word or the peer's.
_OVER: Final = (State.CLOSING, State.CLOSED)

# Ctrl-C between two books that must agree would leave a task that nobody wakes, or a descriptor
# with two owners.
_whole = trio.lowlevel.enable_ki_protection


@final
class Channel(Answering):
    """One end of the pipe between a primary and a worker.

    Args:
        socket: this end, owned from now on.
        connection: the protocol core of this end.
        on_event: called for each event that the channel does not act on itself; must not raise.
    """

    def __init__(
        self, socket: Carrier, connection: Connection, on_event: Callable[[Event], None]
    ) -> None:
        super().__init__(socket, connection, on_event)
        self._acts[Acknowledged] = lambda _: None  # the core has booked it
        self._acts[CreditGranted] = self._on_credit
        self._acts[SettingsChanged] = self._on_settings
        self._acts[ErrorReceived] = self._on_answer
        self._acts[ReplyReceived] = self._on_answer
        self._acts[RepliesReceived] = self._on_answers
        #: what `release` keeps, for who cannot afford the call.
        self.owed_to_peer = connection.inbound_window
        self.pace = Pace()
        #: messages inside a ``with message:`` block, counted by the messages themselves.
        self.messages_open = 0
        self._waiters: deque[Posting] = deque()
        self._questions: dict[int, Question | Asking] = {}
        #: numbers of messages passed on for others, those acknowledged possibly left out.
        self._not_sends: deque[int] = deque()
        self._closed_with: Callable[[str], PeerClosed] | None = None

    def pass_mail_to(
        self,
        act: Callable[[TellReceived | CallReceived], None],
        act_on_run: Callable[[TellsReceived | CallsReceived], None],
    ) -> None:
        """Have messages passed to these instead: they are nearly all events there are."""

        def count_run(event: TellsReceived | CallsReceived) -> None:
            self._taken += len(event.bodies)
            act_on_run(event)

        self._acts[TellReceived] = self._acts[CallReceived] = act
        self._acts[TellsReceived] = self._acts[CallsReceived] = count_run

    @_whole
    def fail_all(self, closed: Callable[[str], PeerClosed]) -> None:
        """Refuse all sends from now on, and wake everybody who waits.

        Args:
            closed: makes the `PeerClosed` to raise from a text.
        """
        self.refuse_sends(closed)
        questions = list(self._questions.values())
        self._questions.clear()
        for question in questions:
            question.lose(closed("it ended before it answered"))

    @_whole
    def give_up_asks(self, closed: Callable[[str], PeerClosed]) -> None:
        """Wake everybody here who waits for an answer; the peer is told to cancel."""
        for channel, question in list(self._questions.items()):
            if question.is_ours:
                del self._questions[channel]
                self.connection.send_cancel(channel)
                question.lose(closed("nobody waits for its answer any more"))
        self.flush()

    @_whole
    def refuse_sends(self, closed: Callable[[str], PeerClosed]) -> None:
        """Refuse all sends from now on, waiting ones included; asks still get their answers."""
        self._closed_with = closed
        while self._waiters:
            waiter = self._waiters.popleft()
            waiter.error = closed("it takes no more messages")._keep()
            waiter.wake()

    def _on_credit(self, _: CreditGranted) -> None:
        self._let_waiters_go()

    def _on_settings(self, event: SettingsChanged) -> None:
        for waiter in self._waiters:
            waiter.parcel.weigh()
        self._let_waiters_go()  # there may be more room than there was
        self._on_event(event)

    def _let_waiters_go(self) -> None:
        waiters = self._waiters
        if self.connection.state in _OVER:
            return  # whoever ends the channel will tell them
        while waiters and self._has_room(waiters[0].parcel):
            waiter = waiters.popleft()
            try:
                waiter.result = waiter.commit()
            except Exception as exc:  # noqa: BLE001  (it is the sender's, and raised there)
                waiter.error = exc
            waiter.wake()

    def _has_room(self, parcel: Parcel) -> bool:
        connection = self.connection
        return connection.has_room(parcel.charge) and (not parcel.is_call or connection.may_call)

    def _on_answer(self, event: ReplyReceived | ErrorReceived) -> None:
        question = self._questions.pop(event.channel, None)
        if self._waiters:  # one of them may wait for a call to end
            self._let_waiters_go()
        if question is not None:
            question.take(event)
        elif isinstance(event, ReplyReceived):
            close_all(event.handles)  # late: the asker has given up
        else:
            self._on_event(event)

    def _on_answers(self, event: RepliesReceived) -> None:
        self._taken += len(event.bodies)
        questions = self._questions
        for channel, body in zip(event.channels, event.bodies, strict=True):
            question = questions.pop(channel, None)
            if question is not None:
                question.take_body(channel, body)
        if self._waiters:
            self._let_waiters_go()

    # ---- messages -------------------------------------------------------------------------

    def release(self, charge: int, handles: int = 0) -> None:
        """Give the peer credit back for a message, with so many handles, that left its mailbox."""
        if self.connection.grant(charge, handles):
            self.flush()
        elif not self.is_timed:
            self._set_timer()

    @_whole
    async def send(
        self, body: Any, handle: Any = None, *, keep_open: bool = False, **address: Any
    ) -> None:
        """Queue a message as soon as there is room for it; see `Worker.send`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        encoded = None
        if handle is None and not address:
            encoded = self.tell_plain(body)
            if encoded is None:
                if self.pace.is_due():
                    await self.pace.rest()
                return
        await self.send_encoded(body, handle, keep_open, address, encoded)

    @_whole
    def tell_plain(self, body: Any) -> Encoded | None:
        """Queue a message the short way, if it is one of those that come most.

        Returns:
            None when it is queued; else the encoded body, for `send_encoded`.

        Raises:
            PeerClosed, TypeError, MessageTooLarge, HandleError: see `Worker.send`.
        """
        if self._closed_with is not None or self._ended or self._waiters:
            self.raise_if_closed()
            return self.connection.encode(body)
        try:
            size = self.connection.tell(body)
        except Exception:
            self.raise_if_closed()  # that counts for more
            raise
        if type(size) is not int:
            self.raise_if_closed()
            return size  # type: ignore[return-value]  # encoded, not sent
        self._gathered += 1
        if size > _SMALL:
            self._hurry = True
        if not self._writing or self._is_patient:
            self._write_or_wake()
        elif size > _LARGE:
            self._heap(size)
        return None

    @_whole
    async def send_encoded(
        self,
        body: Any,
        handle: Any,
        keep_open: bool,
        address: Mapping[str, Any],
        encoded: Encoded | None,
    ) -> None:
        """Queue a message of any kind, as soon as there is room for it. No checkpoint before it."""
        self.raise_if_closed()
        waiting = self._tell_now(body, handle, keep_open, address, encoded)
        if waiting is not None:
            await self._wait_for_room(waiting, waiting.tell)
        elif self.pace.is_due():
            await self.pace.rest()

    @_whole
    def send_nowait(
        self, body: Any, handle: Any = None, *, keep_open: bool = False, **address: Any
    ) -> None:
        """Queue a message if there is room for it now; see `Worker.send_nowait`."""
        self.raise_if_closed()
        if self._tell_now(body, handle, keep_open, address, None) is not None:
            raise trio.WouldBlock

    def _tell_now(
        self,
        body: Any,
        handle: Any,
        keep_open: bool,
        address: Mapping[str, Any],
        encoded: Encoded | None,
    ) -> Parcel | None:
        """Queue a message if there is room for it and nobody stands in line.

        Returns:
            what must wait, else None.
        """
        parcel = Parcel(
            self.connection, body, handle, keep_open=keep_open, address=address, encoded=encoded
        )
        return None if self.tell_parcel(parcel) else parcel

    @_whole
    def tell_parcel(self, parcel: Parcel) -> bool:
        """Queue a message of an open channel, if it has room and nobody waits; tells whether."""
        if self._waiters or not self._has_room(parcel):
            return False
        parcel.tell()
        if parcel.size <= _SMALL:
            self.flush_small()
        else:
            self.flush()
            if parcel.size > _LARGE and self._writing:
                self._heap(parcel.size)
        return True

    @_whole
    async def ask(
        self,
        body: Any,
        handle: Any = None,
        *,
        keep_open: bool = False,
        put: Callable[[Parcel, Callable[[], Any]], Awaitable[None]] | None = None,
        **address: Any,
    ) -> Any:
        """Send a message, queued by ``put`` or here, and wait for its answer; see `Worker.ask`."""
        await checkpoint_if_cancelled()
        self.raise_if_closed()
        deadline = trio.current_effective_deadline()
        question = Asking(self, self._questions)
        encoded = None
        if handle is None and not address and not self._waiters:
            # The short way for what comes most.
            called = self.connection.call(body, _left_until(deadline))
            if type(called) is int:
                question.number = called
                self._questions[called] = question
                self.flush()
            else:
                assert isinstance(called, Encoded)
                encoded = called
        if not question.number:
            parcel = Parcel(
                self.connection,
                body,
                handle,
                keep_open=keep_open,
                call=True,
                is_timed=deadline != math.inf,
                address=address,
                encoded=encoded,
            )
            commit = functools.partial(self._put_question, parcel, deadline, question)
            if put is not None:
                await put(parcel, commit)
            elif not self._waiters and self._has_room(parcel):
                commit()
                self.flush()
            else:  # in the reader's task, when there is room at last
                await self._wait_for_room(parcel, commit)
        if not question.is_over():
            if self.may_lead:
                await question.lead()
            if not question.is_over():
                question.task = current_task()
                await wait_task_rescheduled(question.give_up)
            self.pace.restart()
        answer = question.answer
        if isinstance(answer, _FAILURES):
            await self._fail(answer)
        return answer

    async def _fail(self, failure: PeerClosed | ErrorReceived) -> NoReturn:
        """Raise what an ask got instead of an answer."""
        if not isinstance(failure, ErrorReceived):
            raise failure
        await _heed_own_deadline(failure)
        raise_failure(failure.error, self._closed)

    def _put_question(self, parcel: Parcel, deadline: float, question: Question | Asking) -> int:
        channel = parcel.call(ttl=_left_until(deadline))
        if isinstance(question, Asking):
            question.number = channel
        self._questions[channel] = question
        return channel

    async def _wait_for_room(self, parcel: Parcel, commit: Callable[[], Any]) -> Any:
        wake = functools.partial(trio.lowlevel.reschedule, trio.lowlevel.current_task())
        waiter = Posting(parcel, commit, wake)
        self._waiters.append(waiter)

        def abort(_: Any) -> trio.lowlevel.Abort:
            self.take_back(waiter)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        self.pace.restart()
        if waiter.error is not None:
            raise waiter.error
        return waiter.result

    @_whole
    def take_back(self, waiter: Posting) -> None:
        """Let a message wait for room no longer."""
        first = self._waiters[0] is waiter
        self._waiters.remove(waiter)
        if first:  # whoever stood behind a large message may fit now
            self._let_waiters_go()
            if self.connection.wants_to_send():
                self.flush()

    def raise_if_closed(self) -> None:
        """Raise `PeerClosed` if nothing more can be sent."""
        if self._closed_with is not None or self._ended or self.connection.state in _OVER:
            raise self._closed("it takes no more messages")._keep()

    def _closed(self, text: str) -> PeerClosed:
        if self._closed_with is not None:
            return self._closed_with(text)
        return PeerClosed(text, unconfirmed=self.unconfirmed)

    @property
    def unconfirmed(self) -> int:
        """Sends that returned but were not acknowledged as put into the peer's mailbox."""
        self._prune_not_sends()
        return self.connection.tells_unacknowledged - len(self._not_sends)

    def _note_no_send(self) -> None:
        """The latest message is no send of ours, but was passed on for somebody else."""
        numbers = self._not_sends
        numbers.append(self.connection.sent)
        if len(numbers) > _TIDY_AT:
            self._prune_not_sends()

    def _prune_not_sends(self) -> None:
        numbers = self._not_sends
        acknowledged = self.connection.sent - self.connection.unacknowledged
        while numbers and numbers[0] <= acknowledged:
            numbers.popleft()

    # ---- messages that are passed on ------------------------------------------------------

    @_whole
    def post(self, posting: Posting) -> None:
        """Queue a message of somebody else's, in its turn. Never waits; see `Posting`."""
        try:
            self.raise_if_closed()
        except PeerClosed as exc:
            posting.error = exc
            posting.wake()
            return
        self._waiters.append(posting)
        if self._waiters[0] is posting:
            self._let_waiters_go()
            self.flush()

    def post_tell(self, parcel: Parcel) -> int:
        """Queue a parcel that has room, as a plain message; returns its number."""
        number = parcel.tell()
        self._note_no_send()
        return number

    def post_call(self, parcel: Parcel, deadline: float, question: Question) -> int:
        """Queue a parcel that has room, as a call; returns its channel."""
        return self._put_question(parcel, deadline, question)

    def statistics(self) -> ChannelStatistics:
        """Count what waits here. Never waits."""
        share = self.connection.share
        return ChannelStatistics(
            senders_waiting=len(self._waiters),
            asks_waiting=len(self._questions),
            asks_unanswered=len(self._unanswered),
            room=self.connection.available,
            unconfirmed=self.unconfirmed,
            handles_held=0 if share is None else share.held,
            handles_refused=0 if share is None else share.refused,
            sends=self._socket.sends,
            receives=self._socket.receives,
        )


def _left_until(deadline: float) -> float:
    """Seconds. An infinite deadline travels as such; the receiver compares times, nothing else."""
    return deadline if deadline == math.inf else max(deadline - trio.current_time(), 0.0)


async def _heed_own_deadline(failure: ErrorReceived) -> None:
    """Be cancelled if the deadline is over here, too: the peer has only noticed it first."""
    is_late = failure.error.get("code") == ErrorCode.DEADLINE_EXCEEDED
    if is_late and trio.current_effective_deadline() <= trio.current_time():
        await trio.lowlevel.checkpoint()
