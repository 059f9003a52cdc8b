"""What waits on a channel: messages for room, calls for their answers; and how many do.

Runs in: both
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import attrs

from ..wire.events import ErrorReceived, ReplyReceived
from .parcel import Parcel

__all__ = ["ChannelStatistics", "Posting", "Question"]


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
