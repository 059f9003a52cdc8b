"""A worker's mail to others than the primary, in one line for each address.

Runs in: worker

Who sends to somebody that does not read, or is between two lives, waits here, before the line in
which all mail of this worker waits for room: so there is always room for what is for others. How
much may go on at once says `Quota`. Whoever ends a wait puts the message into that line itself, so
that a send that was cancelled has sent nothing, and messages to one address keep their order.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, Final, final

import attrs
import trio

from .._link.channel import Channel
from .._link.parcel import Parcel
from .._link.waits import Posting, Question
from ..errors import MessageTooLarge
from ..wire.credit import MINIMUM_CHARGE
from .quota import Quota

__all__ = ["Outgoing"]

#: What a probe costs, unless the name is very long.
_PROBE_COST: Final = MINIMUM_CHARGE

#: So many addresses are counted for; of more, those forget that have little to remember.
_MOST_LINES: Final = 1000


@final
@attrs.define(eq=False)
class _Line:
    """Mail to one address."""

    to: int | str
    quota: Quota
    waiting: deque[_Sender] = attrs.Factory(deque)


class _Sender:
    """A task that sends, until its message is queued, or never will be."""

    def __init__(self, parcel: Parcel, cost: int, commit: Callable[[], Any]) -> None:
        self.cost = cost
        self.posting = Posting(parcel, commit, self._wake)
        #: when it was let in, see `Quota.take`; None while it waits for that.
        self.epoch: int | None = None
        self.is_over = False
        self._task: trio.lowlevel.Task | None = None

    async def wait(self, abort: Callable[[], None]) -> None:
        """Wait until it is over."""
        self._task = trio.lowlevel.current_task()

        def give_up(_: Any) -> trio.lowlevel.Abort:
            abort()
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(give_up)

    def _wake(self) -> None:
        self.is_over = True
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)


@final
class Outgoing:
    """The lines of one worker.

    Args:
        channel: to the primary.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lines: dict[int | str, _Line] = {}

    def send_nowait(self, to: int | str, parcel: Parcel) -> bool:
        """Queue a message now, if it may be and there is room; tells whether."""
        line, cost = self._line(to), self._cost(parcel)
        if line.waiting or not line.quota.has_room(cost):
            return False
        if not self._channel.tell_parcel(parcel):
            return False
        line.quota.take(cost)
        self._probe(line)
        return True

    async def send(self, to: int | str, parcel: Parcel) -> None:
        """Queue a message as soon as it may be and there is room."""
        if not self.send_nowait(to, parcel):
            await self.put(to, parcel, parcel.tell)
        elif self._channel.pace.is_due():
            await self._channel.pace.rest()

    @trio.lowlevel.enable_ki_protection
    async def put(self, to: int | str, parcel: Parcel, commit: Callable[[], Any]) -> None:
        """Do the same, with ``commit`` to queue it. May return without a checkpoint."""
        line = self._line(to)
        sender = _Sender(parcel, self._cost(parcel), commit)
        line.waiting.append(sender)
        self._let_in(line)
        if not sender.is_over:
            await sender.wait(lambda: self._take_back(line, sender))
            self._channel.pace.restart()
        if sender.posting.error is not None:
            if sender.epoch is not None:
                line.quota.give_back(sender.cost, sender.epoch)
            self._let_in(line)
            raise sender.posting.error

    # ---- one line -------------------------------------------------------------------------

    def _line(self, to: int | str) -> _Line:
        line = self._lines.get(to)
        if line is None:
            if len(self._lines) >= _MOST_LINES:
                self._lines = {key: one for key, one in self._lines.items() if _is_busy(one)}
            half = self._channel.connection.peer_limits["window"] // 2
            line = self._lines[to] = _Line(to, Quota(half - _PROBE_COST))
        return line

    def _cost(self, parcel: Parcel) -> int:
        """What a message counts: a call is one of ``max_calls``, too."""
        if not parcel.is_call:
            return parcel.charge
        limits = self._channel.connection.peer_limits
        return max(parcel.charge, limits["window"] // max(limits["max_calls"], 1))

    def _let_in(self, line: _Line) -> None:
        """Let those in who may go on; then find out how far the others have come."""
        waiting, quota = line.waiting, line.quota
        while waiting and quota.has_room(waiting[0].cost):
            sender = waiting.popleft()
            sender.epoch = quota.take(sender.cost)
            self._channel.post(sender.posting)
        self._probe(line)
        if not quota.held and not waiting and self._lines.get(line.to) is line:
            del self._lines[line.to]

    def _take_back(self, line: _Line, sender: _Sender) -> None:
        """A task sends no more."""
        if sender.epoch is None:
            line.waiting.remove(sender)
        else:
            self._channel.take_back(sender.posting)
            line.quota.give_back(sender.cost, sender.epoch)
        self._let_in(line)

    # ---- probes ---------------------------------------------------------------------------

    def _probe(self, line: _Line) -> None:
        channel, quota = self._channel, line.quota
        if not quota.wants_probe(urgently=bool(line.waiting)):
            return
        if not line.waiting and not channel.connection.may_call:
            return  # it would hold others up, for nobody's sake
        quota.begin_probe()
        question = Question(lambda: self._probed(line))
        try:
            address = {"to": line.to, "meta": {"room": True}}
            parcel = Parcel(channel.connection, None, call=True, address=address)
        except MessageTooLarge:  # a name that fits, but not together with that
            self._probed(line)
            return

        def wake() -> None:
            if posting.error is not None:
                self._probed(line)

        def commit() -> int:
            return channel.post_call(parcel, math.inf, question)

        posting = Posting(parcel, commit, wake)
        channel.post(posting)

    def _probed(self, line: _Line) -> None:
        """All that stood before the probe was passed on, or nothing ever will be."""
        line.quota.end_probe()
        self._let_in(line)


def _is_busy(line: _Line) -> bool:
    return bool(line.waiting) or line.quota.is_probing
