"""Mailboxes and messages: bounded by credit, ordered, each message to exactly one receiver.

Runs in: both

A mailbox is a deque and a queue of parked tasks; a Trio memory channel would cost a scheduler
pass per message, which is ten times the price of the message itself. It needs no bound of its
own: the peer may only send what it has credit for, and credit goes back when a message leaves.

The primary's mailbox is a *merger*: each worker has its own `Mailbox`, and the merger deals out
from those that have mail, one message each in turn. A task that waits on a worker's own mailbox
is served before the merger.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Self, final

import attrs
import trio

from .._link.channel import Channel
from .._link.handles import Handle
from .._link.pipe import Pace
from ..errors import LocalProtocolError
from ..wire._generated import ErrorCode
from ..wire.events import CallReceived, TellReceived

__all__ = ["Mailbox", "MailboxStatistics", "MergedMailbox", "Message"]

#: Deadline of an ask whose asker gave up before anybody read it.
_WITHDRAWN: Final = float("-inf")


@final
@attrs.frozen(kw_only=True)
class MailboxStatistics:
    """A snapshot of a mailbox.

    Attributes:
        messages: waiting to be received.
        bytes: window bytes these messages hold, as charged to their senders.
        tasks_waiting_receive: parked receivers.
    """

    messages: int
    bytes: int
    tasks_waiting_receive: int


class Message:
    """One message; leaving ``with message:`` disposes of it.

    The block is a cancel scope that follows the asker: it is cancelled when the asker gives up
    and at the asker's deadline. Leaving it unanswered turns an ask into `NotHandled` at the
    asker at once; an exception becomes ``fail(exc)`` and goes on up; handles nobody took are
    closed with a ``ResourceWarning``.

    Attributes:
        sender: a `Ref` to the life that sent it.
        deadline: the asker's deadline on this process's ``trio.current_time()``, or ``inf``.
    """

    __slots__ = ("__weakref__", "_channel", "_event", "_open", "_scope", "deadline", "sender")

    def __init__(self, event: TellReceived | CallReceived, channel: Channel, sender: Any) -> None:
        self._event = event
        self._channel = channel
        self._scope: trio.CancelScope | None = None
        self._open = False
        self.sender = sender
        self.deadline = float("inf")

    @property
    def body(self) -> Any:
        """What was sent."""
        return self._event.body

    @property
    def handle(self) -> Handle | None:
        """The handle given as ``handle=``, None when there was none."""
        index = self._event.meta.get("handle")
        handles = self._event.handles
        return handles[index] if isinstance(index, int) and 0 <= index < len(handles) else None

    @property
    def is_ask(self) -> bool:
        """Whether the sender waits for `reply`."""
        return False

    async def reply(self, body: Any, handle: Any = None, *, keep_open: bool = False) -> None:
        """Answer an ask.

        Args:
            body: a body value.
            handle: anything that `Handle.of` takes, or None.
            keep_open: keep your own copy of every handle of the answer.

        Raises:
            LocalProtocolError: the message is a plain send, or was answered already.
            TypeError: the body cannot be sent.
            MessageTooLarge: it exceeds the asker's ``max_message``.

        Cancellation:
            Nothing was sent; the message is still yours to answer.
        """
        raise LocalProtocolError("a plain send has nobody waiting for a reply")

    def fail(self, exc: BaseException) -> None:
        """Answer an ask with a failure; see `reply` for what it refuses."""
        raise LocalProtocolError("a plain send has nobody waiting for a reply")

    def __enter__(self) -> Self:
        if self._scope is not None:
            raise RuntimeError("a message's block can be entered once")
        self._scope = trio.CancelScope(deadline=self.deadline)
        self._scope.__enter__()
        self._open = True
        self._channel.messages_open += 1
        return self

    def __exit__(self, kind: Any, exc: BaseException | None, traceback: Any) -> bool | None:
        assert self._scope is not None
        self._open = False
        self._channel.messages_open -= 1
        self._dispose(exc)
        return self._scope.__exit__(kind, exc, traceback)

    def _dispose(self, exc: BaseException | None) -> None:
        for handle in self._event.handles:
            handle.drop_unclaimed()

    def _discard(self) -> None:
        """Nobody will ever read it: the mailbox is closed for good."""
        for handle in self._event.handles:
            handle.close()

    def __repr__(self) -> str:
        return f"<{'ask' if self.is_ask else 'message'} {self.body!r:.60}>"


@final
class Ask(Message):
    """A message whose sender waits. Keeps the promise of exactly one answer."""

    __slots__ = ()

    @property
    def is_ask(self) -> bool:
        return True

    @property
    def answered(self) -> bool:
        """Whether it was answered, one way or another."""
        return not self._channel.is_unanswered(self._number)

    @property
    def _number(self) -> int:
        assert isinstance(self._event, CallReceived)
        return self._event.channel

    async def reply(self, body: Any, handle: Any = None, *, keep_open: bool = False) -> None:
        await self._channel.pace.step()
        self._channel.reply(self._number, body, handle, keep_open=keep_open)

    def fail(self, exc: BaseException) -> None:
        self._channel.fail(self._number, exc)

    def _dispose(self, exc: BaseException | None) -> None:
        if self._channel.is_unanswered(self._number):
            if exc is None or isinstance(exc, trio.Cancelled):
                code = ErrorCode.CANCELLED if self._cancelled else ErrorCode.NOT_HANDLED
                self._channel.refuse(self._number, code, "disposed of unanswered")
            else:
                self.fail(exc)
        super()._dispose(exc)

    def _discard(self) -> None:
        if self._channel.is_unanswered(self._number):
            withdrawn = self.deadline == _WITHDRAWN
            code = ErrorCode.CANCELLED if withdrawn else ErrorCode.STOPPING
            self._channel.refuse(self._number, code, "never read")
        super()._discard()

    @property
    def _cancelled(self) -> bool:
        return self._scope is not None and self._scope.cancel_called

    def _follow_cancel(self) -> None:
        """The asker gave up: cancel the block, or let it begin cancelled."""
        if self._scope is not None:
            self._scope.cancel()
        else:
            self.deadline = _WITHDRAWN

    def __del__(self) -> None:
        # The last reference is gone and nobody can answer any more. Only bookkeeping happens
        # here, no await and no user code, so it is safe wherever the collector runs.
        if self._channel.is_unanswered(self._number):
            self._channel.refuse(self._number, ErrorCode.NOT_HANDLED, "forgotten unanswered")


class _Receiving:
    """What both kinds of mailbox share: parked receivers and messages in hand."""

    def __init__(self) -> None:
        self._parked: deque[trio.lowlevel.Task] = deque()
        self._given: dict[trio.lowlevel.Task, Message] = {}
        self._in_hand: dict[trio.lowlevel.Task, Message] = {}
        self._pace = Pace()
        self._closed = False
        self.was_read = False

    def pop(self) -> Message | None:
        raise AssertionError("abstract")

    async def receive(self) -> Message:
        """Wait for the next message.

        Raises:
            trio.EndOfChannel: no message will ever come any more.

        Cancellation:
            No message was taken.
        """
        await self._pace.step()
        message = self._take()
        return message if message is not None else await self._park()

    def receive_nowait(self) -> Message:
        """Take the next message if one is there.

        Raises:
            trio.WouldBlock: none is there.
            trio.EndOfChannel: no message will ever come any more.
        """
        message = self._take()
        if message is None:
            raise trio.WouldBlock
        return message

    def _take(self) -> Message | None:
        self.was_read = True
        task = trio.lowlevel.current_task()
        self._in_hand.pop(task, None)
        message = self.pop()
        if message is not None:
            self._hold(task, message)
        elif self._closed:
            raise trio.EndOfChannel
        return message

    async def _park(self) -> Message:
        task = trio.lowlevel.current_task()
        self._parked.append(task)

        def abort(_: Any) -> trio.lowlevel.Abort:
            self._parked.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        message = self._given.pop(task, None)
        if message is None:
            raise trio.EndOfChannel
        return message

    def _hand_over(self, message: Message) -> None:
        """Give a message to the receiver that has waited longest."""
        task = self._parked.popleft()
        self._given[task] = message
        self._hold(task, message)
        trio.lowlevel.reschedule(task)

    def _hold(self, task: trio.lowlevel.Task, message: Message) -> None:
        if len(self._in_hand) >= 256:  # tasks that ended without asking again
            self._forget_ended()
        self._in_hand[task] = message

    def _forget_ended(self) -> None:
        for task in list(self._in_hand):
            if inspect.getcoroutinestate(task.coro) == inspect.CORO_CLOSED:
                del self._in_hand[task]

    def has_message_in_hand(self) -> bool:
        """Whether a living task has received a message and not asked again since."""
        self._forget_ended()
        return bool(self._in_hand)

    def _end(self) -> None:
        """Wake every receiver: nothing more will come."""
        self._closed = True
        while self._parked:
            trio.lowlevel.reschedule(self._parked.popleft())

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None


@final
class Mailbox(_Receiving, AsyncIterator[Message]):
    """The mail of one peer, in the order it was sent.

    Iterate it, or call `receive`; several tasks may, and each message goes to exactly one.
    """

    def __init__(self, merged: MergedMailbox | None = None) -> None:
        super().__init__()
        self._queue: deque[Message] = deque()
        self._bytes = 0
        self._merged = merged

    def put(self, message: Message) -> None:
        """Deliver; called by the link's reader."""
        if self._parked:
            self._release(message)
            self._hand_over(message)
        elif self._merged is not None and self._merged._parked:  # noqa: SLF001
            self._release(message)
            self._merged._hand_over(message)  # noqa: SLF001
        else:
            self._queue.append(message)
            self._bytes += message._event.charge  # noqa: SLF001
            if self._merged is not None and len(self._queue) == 1:
                self._merged._has_mail(self)  # noqa: SLF001

    def pop(self) -> Message | None:
        """Take the oldest message out, giving its credit back."""
        while self._queue:
            message = self._queue.popleft()
            self._bytes -= message._event.charge  # noqa: SLF001
            self._release(message)
            if message.deadline != _WITHDRAWN:
                return message
            message._discard()  # noqa: SLF001
        return None

    def _release(self, message: Message) -> None:
        message._channel.release(message._event.charge)  # noqa: SLF001

    def end(self) -> None:
        """Nothing more will be put; what is in it can still be read."""
        self._end()

    def discard(self) -> int:
        """Dispose of what nobody will read any more.

        Returns:
            The number of messages disposed of.
        """
        self._end()
        count = len(self._queue)
        while self._queue:
            self._queue.popleft()._discard()  # noqa: SLF001
        self._bytes = 0
        return count

    def __len__(self) -> int:
        return len(self._queue)

    def statistics(self) -> MailboxStatistics:
        """Count what waits here. Never waits."""
        return MailboxStatistics(
            messages=len(self._queue),
            bytes=self._bytes,
            tasks_waiting_receive=len(self._parked),
        )


@final
class MergedMailbox(_Receiving, AsyncIterator[Message]):
    """The mail of many peers: round robin over those that have some, in order within one."""

    def __init__(self) -> None:
        super().__init__()
        self._with_mail: deque[Mailbox] = deque()

    def _has_mail(self, mailbox: Mailbox) -> None:
        if mailbox not in self._with_mail:
            self._with_mail.append(mailbox)

    def pop(self) -> Message | None:
        while self._with_mail:
            mailbox = self._with_mail.popleft()
            message = mailbox.pop()
            if len(mailbox):
                self._with_mail.append(mailbox)
            if message is not None:
                return message
        return None

    def end(self) -> None:
        """The primary has closed; what is in it can still be read."""
        self._end()

    def statistics(self) -> MailboxStatistics:
        """Count what waits in all mailboxes together. Never waits."""
        return MailboxStatistics(
            messages=sum(len(mailbox) for mailbox in self._with_mail),
            bytes=sum(mailbox._bytes for mailbox in self._with_mail),  # noqa: SLF001
            tasks_waiting_receive=len(self._parked),
        )


def deliver(
    event: TellReceived | CallReceived, channel: Channel, mailbox: Mailbox, sender: Any
) -> None:
    """Put what the link received into a mailbox. Called by the link's reader; never waits."""
    connection = channel.connection
    if isinstance(event, CallReceived):
        ask = Ask(event, channel, sender)
        ttl = event.meta.get("ttl")
        if isinstance(ttl, (int, float)):
            ask.deadline = trio.current_time() + ttl / 1000
        channel.asked(event.channel, ask)
        mailbox.put(ask)
    else:
        mailbox.put(Message(event, channel, sender))
    connection.arrived(event.number)


async def handle(message: Message, handler: Callable[[Message], Awaitable[Any]]) -> None:
    """Run a handler inside the message's block; what it returns answers an ask.

    Raises:
        Exception: what the handler raised; an ask was failed with it.
    """
    with message:
        answer = await handler(message)
        if isinstance(message, Ask) and not message.answered:
            await message.reply(answer)


def withdraw(channel: Channel, number: int) -> None:
    """The asker on this channel gave up: cancel whoever works on it."""
    ask = channel.unanswered_ask(number)
    if isinstance(ask, Ask):
        ask._follow_cancel()  # noqa: SLF001
