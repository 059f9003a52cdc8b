"""What waits on a channel: messages for room, calls for their answers; and how many do.

Runs in: both
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, final

import attrs
import trio

from ..errors import PeerClosed
from ..wire.events import ErrorReceived, ReplyReceived
from .parcel import Parcel
from .pipe import Pipe

__all__ = ["Asking", "ChannelStatistics", "Posting", "Question"]


@final
@attrs.define(eq=False, repr=False)
class Posting:
    """A message that waits for room.

    Attributes:
        parcel: tells what room it needs.
        commit: queues its frame.
        wake: called when that has happened, or never will; must not raise.
        result: what ``commit`` returned.
        error: why it was not queued.
    """

    parcel: Parcel
    commit: Callable[[], Any]
    wake: Callable[[], None]
    result: Any = None
    error: BaseException | None = None


@final
@attrs.define(eq=False, repr=False)
class Question:
    """A call of somebody else's that was passed on and waits for its answer.

    Attributes:
        wake: called when there is an answer, or never will be; must not raise.
        answer: of the peer, if it is that.
        error: why there is none.
    """

    wake: Callable[[], None]
    is_ours = False
    answer: ReplyReceived | ErrorReceived | None = None
    error: BaseException | None = None

    def take(self, answer: ReplyReceived | ErrorReceived) -> None:
        """There is an answer."""
        self.answer = answer
        self.wake()

    def take_body(self, channel: int, body: Any) -> None:
        """There is an answer that is just a body."""
        self.take(ReplyReceived(channel, body, (), {}))

    def lose(self, error: PeerClosed) -> None:
        """There never will be one."""
        self.error = error
        self.wake()


class _Answer(enum.Enum):
    """What stands for an answer while there is none."""

    NONE_YET = enum.auto()


@final
class Asking:
    """An ask of a task of ours, from its queueing to its answer.

    Args:
        pipe: that it goes through.
        questions: what is open there, by number.

    Attributes:
        number: the channel of its answer, see `Connection.call`; 0 before it is queued.
        task: what waits for the answer, once it does.
        answer: what the ask returns; or why there is none, which no body ever holds: an
            `ErrorReceived`, or the `PeerClosed` to raise.
    """

    __slots__ = ("_pipe", "_questions", "answer", "number", "task")

    is_ours = True

    def __init__(self, pipe: Pipe, questions: dict[int, Any]) -> None:
        self._pipe = pipe
        self._questions = questions
        self.number = 0
        self.task: trio.lowlevel.Task | None = None
        self.answer: Any = _Answer.NONE_YET

    def take(self, answer: ReplyReceived | ErrorReceived) -> None:
        """There is an answer."""
        if not isinstance(answer, ReplyReceived):
            self.take_body(0, answer)
        elif answer.body is None and answer.handles:  # the one that was given beside no body
            self.take_body(0, answer.handles[0])
        else:
            self.take_body(0, answer.body)

    def take_body(self, _: int, body: Any) -> None:
        """There is an answer that is just a body."""
        self.answer = body
        if self.task is not None:
            trio.lowlevel.reschedule(self.task)
        else:  # it may be the one that leads
            self._pipe.interrupt()

    def lose(self, error: PeerClosed) -> None:
        """There never will be one."""
        self.take_body(0, error)

    def is_over(self) -> bool:
        """Whether there is an answer, or never will be."""
        return self.answer is not _Answer.NONE_YET

    async def lead(self) -> None:
        """Read in the reader's place until it is over, or that one must go on; see `Pipe.lead`."""
        try:
            await self._pipe.lead(self.is_over)
        except BaseException:  # Cancelled, or KeyboardInterrupt
            self.give_up(None)
            raise

    def give_up(self, _: Any) -> trio.lowlevel.Abort:
        """The task is cancelled; the peer is told."""
        self._questions.pop(self.number, None)
        self._pipe.connection.send_cancel(self.number)
        self._pipe.flush()
        return trio.lowlevel.Abort.SUCCEEDED


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
        handles_held: descriptors in what it sent and nobody has taken, and in what others sent to
            it and it has not taken.
        handles_refused: descriptors that were closed, their messages sent back, for want of room.
        sends: system calls that wrote.
        receives: system calls that read.
    """

    senders_waiting: int
    asks_waiting: int
    asks_unanswered: int
    room: int
    unconfirmed: int
    handles_held: int
    handles_refused: int
    sends: int
    receives: int
