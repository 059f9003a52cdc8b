"""Mailboxes: bounded by credit, ordered, each message to exactly one receiver.

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
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Sequence
from time import perf_counter
from typing import Any, Final, final

import attrs
import trio
from trio.lowlevel import checkpoint_if_cancelled, current_task

from .._link import filetable
from .._link.channel import Channel
from .._link.pace import Pace
from ..wire.events import CallReceived, CallsReceived, TellReceived, TellsReceived
from ..wire.holdings import DescriptorBudget, DescriptorShare
from .leftmail import LeftMail
from .message import Ask, Message, plain_asks, plain_messages

__all__ = ["Mailbox", "MailboxStatistics", "MergedMailbox", "deliver", "deliver_run"]

#: So many gaps in a queue, or tasks that have ended, are kept before somebody tidies up.
_TIDY_AT: Final = 64


@final
@attrs.frozen(kw_only=True)
class MailboxStatistics:
    """A snapshot of a mailbox.

    Attributes:
        messages: waiting to be received.
        bytes: window bytes these messages hold, as charged to their senders.
        handles: descriptors in them.
        tasks_waiting_receive: parked receivers.
        given_up: messages of workers that are gone, too many to be kept; of the primary's only.
    """

    messages: int
    bytes: int
    handles: int
    tasks_waiting_receive: int
    given_up: int = 0


class _Receiving(AsyncIterator[Message]):
    """What both kinds of mailbox share: receivers, some of them parked."""

    def __init__(self) -> None:
        self._parked: deque[trio.lowlevel.Task] = deque()
        self._given: dict[trio.lowlevel.Task, Message] = {}
        self._pace = Pace()
        self._ended = False

    def _pop(self) -> Message | None:
        """Take out the message whose turn it is, if there is one, giving its credit back."""
        raise AssertionError("abstract")

    async def receive(self) -> Message:
        """Wait for the next message.

        Raises:
            trio.EndOfChannel: no message will ever come any more.

        Cancellation:
            No message was taken.
        """
        await checkpoint_if_cancelled()
        message = self._take()
        if message is None:
            return await self._park()
        if self._pace.is_due():
            await self._pace.rest()
        return message

    async def __anext__(self) -> Message:
        # The same once more: a coroutine inside a coroutine would cost a tenth of a message.
        await checkpoint_if_cancelled()
        try:
            message = self._take()
            if message is None:
                return await self._park()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
        if self._pace.is_due():
            await self._pace.rest()
        return message

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
        task = trio.lowlevel.current_task()
        self._asks(task)
        message = self._pop()
        if message is not None:
            self._holds(task)
        elif self._ended:
            raise trio.EndOfChannel
        return message

    def _asks(self, task: trio.lowlevel.Task) -> None:
        """A task wants a message, so it is done with the one before."""

    def _holds(self, task: trio.lowlevel.Task) -> None:
        """A task got a message."""

    async def _park(self, *, is_first: bool = False) -> Message:
        task = trio.lowlevel.current_task()
        if is_first:
            self._parked.appendleft(task)
        else:
            self._parked.append(task)

        def abort(_: Any) -> trio.lowlevel.Abort:
            self._parked.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        self._pace.restart()
        message = self._given.pop(task, None)
        if message is None:
            raise trio.EndOfChannel
        message._channel.pace.restart()  # its answer needs no scheduling point either
        return message

    @property
    def _is_awaited(self) -> bool:
        """Whether a task waits here."""
        return bool(self._parked)

    def _hand_over(self, message: Message) -> None:
        """Give a message to the receiver that has waited longest."""
        task = self._parked.popleft()
        self._given[task] = message
        self._holds(task)
        trio.lowlevel.reschedule(task)

    def _end(self) -> None:
        """Nothing more will be put; what is in it can still be read."""
        self._ended = True
        while self._parked:
            trio.lowlevel.reschedule(self._parked.popleft())


@final
class Mailbox(_Receiving):
    """The mail of one peer, in the order it was sent.

    Iterate it, or call `receive`; several tasks may, and each message goes to exactly one.
    """

    def __init__(self, merged: MergedMailbox | None = None, channel: Channel | None = None) -> None:
        super().__init__()
        #: where all that comes here comes from, if a receiver may read it itself.
        self._channel = channel
        #: whether one does, see `Pipe.lead`; it is the first of those that wait.
        self._leads = False
        #: whether anybody ever asked for a message.
        self._was_read = False
        self._queue: deque[Message] = deque()
        self._gaps = 0
        self._merged = merged
        self._in_hand: set[trio.lowlevel.Task] = set()

    def __len__(self) -> int:
        return len(self._queue) - self._gaps

    def statistics(self) -> MailboxStatistics:
        """Count what waits here. Never waits."""
        return MailboxStatistics(
            messages=len(self),
            bytes=sum(message._charge for message in self._queue if not message._is_gap),
            handles=sum(message._handles_waiting for message in self._queue),
            tasks_waiting_receive=len(self._parked) + self._leads,
        )

    # ---- in and out -----------------------------------------------------------------------

    def _put(self, message: Message) -> None:
        """Deliver; called by the link's reader."""
        merged = self._merged
        if self._parked and not self._leads:
            message._leave()
            self._hand_over(message)
        elif merged is not None and merged._is_awaited:
            message._leave()
            merged._hand_over(message)
        else:
            if type(message) is Ask:
                message._mailbox = self
            self._queue.append(message)
            if merged is not None and len(self) == 1:
                merged._has_mail(self)

    def _put_all(self, messages: Sequence[Message]) -> None:
        """Deliver a run of messages; see `_put`."""
        merged = self._merged
        done = 0
        while done < len(messages) and (
            (self._parked and not self._leads) or (merged is not None and merged._is_awaited)
        ):
            self._put(messages[done])
            done += 1
        if done < len(messages):
            was_empty = not len(self)
            self._queue.extend(messages[done:] if done else messages)
            if merged is not None and was_empty:
                merged._has_mail(self)

    def _pop(self) -> Message | None:
        queue = self._queue
        while queue:
            message = queue.popleft()
            if not message._is_gap:
                message._leave()
                if self._merged is not None and not len(self):
                    self._merged._has_no_mail(self)
                return message
            self._gaps -= 1
        return None

    def _take_back(self, ask: Ask) -> None:
        """Dispose of an ask that waits here and that nobody wants answered any more.

        A gap stays in its place, for finding it would take time.
        """
        ask._is_gap = ask._is_special = True
        self._gaps += 1
        ask._leave()
        ask._discard()
        if self._merged is not None and not len(self):
            self._merged._has_no_mail(self)
        if self._gaps > _TIDY_AT and self._gaps * 2 > len(self._queue):
            self._queue = deque(message for message in self._queue if not message._is_gap)
            self._gaps = 0

    def _discard(self) -> int:
        """Dispose of what nobody will read any more.

        Returns:
            The number of messages disposed of.
        """
        self._end()
        count = len(self)
        while (message := self._pop()) is not None:
            message._discard()
        return count

    # ---- who works on what ----------------------------------------------------------------

    async def _park(self, *, is_first: bool = False) -> Message:
        channel = self._channel
        if channel is None or self._parked or not channel.may_lead:
            return await super()._park(is_first=is_first)
        self._leads = True
        try:
            await channel.lead(self._is_over)
            message = self._take()
        finally:
            self._leads = False
            while self._parked and (another := self._pop()) is not None:
                self._hand_over(another)
            if self._ended:
                super()._end()
        if message is None:
            return await super()._park(is_first=True)
        self._pace.restart()
        message._channel.pace.restart()  # its answer needs no scheduling point either
        return message

    async def __anext__(self) -> Message:
        await checkpoint_if_cancelled()
        queue = self._queue
        if queue and not queue[0]._is_special:
            # What `_take` does, in one piece, for what comes most.
            self._was_read = True
            message = queue.popleft()
            if type(message) is Ask:
                message._mailbox = None
            if self._merged is not None:
                if len(queue) == self._gaps:
                    self._merged._has_no_mail(self)
            elif (task := current_task()) not in self._in_hand:
                self._holds(task)
            channel, charge = message._channel, message._charge
            window = channel.owed_to_peer
            owed = window.owed + charge
            if owed < channel.most_owed_silently and charge < channel.light:
                window.owed = owed
            else:
                channel.release(charge)
        else:
            try:
                taken = self._take()
                if taken is None:
                    return await self._park()
            except trio.EndOfChannel:
                raise StopAsyncIteration from None
            message = taken
        pace = self._pace
        pace.left -= 1
        if pace.left < 0 or perf_counter() > pace.until:
            await pace.rest()
        return message

    def _is_over(self) -> bool:
        """Whether a receiver need not wait any more."""
        return self._ended or bool(self._queue)

    def _end(self) -> None:
        if self._leads:  # there may be something for those behind it, who learn of the end from it
            assert self._channel is not None
            self._ended = True
            self._channel.interrupt()
        else:
            had_ended = self._ended
            super()._end()
            if self._merged is not None and len(self) and not had_ended:
                self._merged._has_left_mail(self)

    def _take(self) -> Message | None:
        queue = self._queue
        if not queue or queue[0]._is_special:
            return super()._take()
        # The same in one piece, for what comes most.
        self._was_read = True
        message = queue.popleft()
        if type(message) is Ask:
            message._mailbox = None
        if self._merged is None:
            task = current_task()
            if task not in self._in_hand:
                self._holds(task)
        elif len(queue) == self._gaps:
            self._merged._has_no_mail(self)
        channel, charge = message._channel, message._charge
        window = channel.owed_to_peer
        owed = window.owed + charge
        if owed < channel.most_owed_silently and charge < channel.light:
            window.owed = owed
        else:
            channel.release(charge)
        return message

    def _asks(self, task: trio.lowlevel.Task) -> None:
        self._was_read = True
        self._in_hand.discard(task)

    def _holds(self, task: trio.lowlevel.Task) -> None:
        if self._merged is None:  # else this is the primary, where nobody drains
            if len(self._in_hand) >= _TIDY_AT:
                self._forget_ended()
            self._in_hand.add(task)

    def _forget_ended(self) -> None:
        """Forget the tasks that ended without asking again."""
        self._in_hand = {
            task
            for task in self._in_hand
            if inspect.getcoroutinestate(task.coro) != inspect.CORO_CLOSED
        }

    def _has_message_in_hand(self) -> bool:
        """Whether a living task has received a message and not asked again since."""
        self._forget_ended()
        return bool(self._in_hand)

    def _asks_waiting(self) -> int:
        """How many asks wait here."""
        return sum(message.is_ask and not message._is_gap for message in self._queue)


@final
class MergedMailbox(_Receiving):
    """The mail of many peers: round robin over those that have some, in order within one."""

    def __init__(self) -> None:
        super().__init__()
        self._budget = DescriptorBudget(0)
        self._with_mail: OrderedDict[Mailbox, None] = OrderedDict()
        self._left = LeftMail(self._budget)

    def share(self) -> DescriptorShare:
        """Make the share of one more peer in what bounds the handles of all of them."""
        self._budget.most = filetable.of_primary()
        return self._budget.share()

    def _has_mail(self, mailbox: Mailbox) -> None:
        """A mailbox that was empty is not any more."""
        self._with_mail[mailbox] = None

    def _has_no_mail(self, mailbox: Mailbox) -> None:
        """A mailbox is empty now."""
        self._with_mail.pop(mailbox, None)
        self._left.remove(mailbox)

    def _has_left_mail(self, mailbox: Mailbox) -> None:
        """Nothing more will come into a mailbox that is not empty."""
        self._left.add(mailbox)

    def _pop(self) -> Message | None:
        if not self._with_mail:
            return None
        mailbox = next(iter(self._with_mail))
        message = mailbox._pop()
        if len(mailbox):
            self._with_mail.move_to_end(mailbox)
        return message

    def statistics(self) -> MailboxStatistics:
        """Count what waits in all mailboxes together. Never waits."""
        waiting = [mailbox.statistics() for mailbox in self._with_mail]
        return MailboxStatistics(
            messages=sum(each.messages for each in waiting),
            bytes=sum(each.bytes for each in waiting),
            handles=sum(each.handles for each in waiting),
            tasks_waiting_receive=len(self._parked),
            given_up=self._left.given_up,
        )


def deliver(
    event: TellReceived | CallReceived, channel: Channel, mailbox: Mailbox, sender: Any
) -> None:
    """Put what the link received into a mailbox. Called by the link's reader; never waits."""
    if isinstance(event, CallReceived):
        mailbox._put(Ask(event, channel, sender))
    else:
        mailbox._put(Message(event, channel, sender))
    channel.connection.arrived(event.number)


def deliver_run(
    event: TellsReceived | CallsReceived, channel: Channel, mailbox: Mailbox, sender: Any
) -> None:
    """Put a run of plain messages or asks into a mailbox; see `deliver`."""
    if isinstance(event, TellsReceived):
        mailbox._put_all(plain_messages(event.bodies, event.charges, channel, sender))
    else:
        mailbox._put_all(plain_asks(event, channel, mailbox, sender))
    channel.connection.arrived(event.number)
