"""The primary passes messages on from worker to worker.

Runs in: primary

Theory of operation
===================

A worker knows nobody but the primary. What it addresses to somebody else, by name or by the id of
one life, comes here and is queued for its target in one step, without a task of its own: either
there is room, or it waits in the queue in which everybody waits who sends to that target. So
messages from one worker to another keep their order, and nobody waits for anybody else's target.

Memory is bounded, because a message holds its sender's credit until it was queued onward. A sender
that floods a target which does not read ends up waiting, as if it had sent to it directly; workers
of ours wait before that, so that they have credit left for others. They ask how far their mail to
an address has come (``room``, AWP-MS-14): what is still held of it, and such questions behind it,
stand in a lane for each address, in order.

A call that is passed on is a call of the primary's to the target. Its answer goes back as the
answer to the sender's call, an error with the primary added to its ``path``. When the sender gives
up, or dies, the target is told to cancel. When the target dies, or is told to stop, the sender gets
the error that says so; a plain message that cannot be passed on any more comes back as
UNDELIVERABLE.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Final, final

import attrs

from .._worker.mailbox import deliver
from .._worker.message import bounce
from .._worker.peer import Peer
from .._worker.ref import PRIMARY
from ..errors import NoSuchActor, PeerClosed
from ..wire._generated import ErrorCode
from ..wire.events import CallReceived, TellReceived, Undeliverable
from .passage import (
    HERE,
    Awaited,
    Call,
    Directory,
    Find,
    Passage,
    Room,
    Tell,
    further,
    give_back,
)

__all__ = ["Relay"]

#: Of so many messages passed on to one target it is remembered whose they were.
_REMEMBERED: Final = 4096


@final
@attrs.frozen
class _Passed:
    """Whose message it was that was passed on, and which of theirs."""

    source: weakref.ref[Peer]
    theirs: int
    to: int | str | None


@final
class Relay:
    """One worker's messages to others, and what becomes of others' messages to it.

    Args:
        life: the worker's.
        directory: of its primary.
    """

    def __init__(self, life: Peer, directory: Directory) -> None:
        self.life = life
        self._directory = directory
        self._calls: set[Awaited | Room] = set()
        self._lanes: dict[int | str, dict[Passage | Room, None]] = {}
        self._passed: dict[int, _Passed] = {}

    def mail(self, event: TellReceived | CallReceived) -> None:
        """The worker sent a message with an address."""
        life, to = self.life, event.to
        assert life.channel is not None
        assert to is not None
        if to in (PRIMARY, HERE):
            deliver(event, life.channel, life.mailbox, life.sender)
            return
        if isinstance(event, CallReceived) and event.meta.get("room") is True:
            life.connection.arrived(event.number)
            Room(event, self).begin(self._lanes.get(to))
            return
        try:
            target = self._directory.find(to)
        except NoSuchActor as exc:
            bounce(event, life.channel, ErrorCode.NO_SUCH_ACTOR, exc.text)
        except PeerClosed as exc:
            bounce(event, life.channel, ErrorCode.CONNECTION_LOST, str(exc))
        else:
            life.connection.arrived(event.number)
            kind: Callable[..., Passage] = Tell
            if isinstance(event, CallReceived):
                kind = Find if event.meta.get("find") is True else Call
            passage = kind(event, self, self._directory, target)
            passage.begin()
            if not passage.has_left:
                passage.is_in_lane = True
                self._lanes.setdefault(to, {})[passage] = None

    def left(self, passage: Passage | Room, to: int | str) -> None:
        """A message of this worker's is held no more; who has waited for that is told."""
        lane = self._lanes.get(to, {})
        lane.pop(passage, None)
        while lane and isinstance(first := next(iter(lane)), Room):
            del lane[first]
            first.settle()
        if not lane:
            self._lanes.pop(to, None)

    def remember(self, number: int, source: Peer, event: TellReceived) -> None:
        """A message of somebody else's was queued for this worker."""
        if len(self._passed) == _REMEMBERED:
            del self._passed[next(iter(self._passed))]
        self._passed[number] = _Passed(weakref.ref(source), event.number, event.to)

    def bounced(self, event: Undeliverable) -> bool:
        """The worker says that a message found no mailbox; False if that was one of ours."""
        passed = self._passed.get(event.number)
        if passed is None:
            return False
        source = passed.source()
        if source is not None:
            give_back(source, passed.theirs, passed.to, further(event.error))
        return True

    def begun(self, call: Awaited | Room) -> None:
        """Others work on a call of this worker."""
        self._calls.add(call)

    def ended(self, call: Awaited | Room) -> None:
        """They do not any more."""
        self._calls.discard(call)

    def gone(self) -> None:
        """The worker is gone: nobody waits for what others do for it."""
        for call in list(self._calls):
            if call in self._calls:  # the end of one may have been another's answer
                call.withdraw()
