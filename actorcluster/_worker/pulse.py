"""Is a worker's loop stuck? Beats, questions and silence, counted.

Runs in: primary

Theory of operation
===================

That a process lives says its pidfd; that its loop runs, only the loop itself can say. So a worker
is asked (PING) at each *beat*, three of which make one ``heartbeat``, and a loop that runs answers
at once. Whatever comes from it counts as an answer, for nothing comes from a loop that stands
still; a worker that floods us with mail is not stuck, though its answer lies behind all of that.

A question that two beats in a row find unanswered means *stuck*. Seen from the worker: who stands
still for more than a heartbeat is reported, who does for less than two thirds of one is not (less
than half, if the beat of the question was held late). It is reported once, until something is heard
again. ``hung_after`` seconds after the question it is killed, if that was asked for.

Silence proves nothing when we could not hear, or it could not speak:

- *We were late.* A beat that is held half a beat late counts for nothing: what kept us from it, a
  suspended machine or a task of ours that blocks, may have kept the worker from answering, or us
  from reading. But the next one counts, so that a primary that is always late still finds out.
- *It had no processor.* A beat counts for nothing either when the worker's main thread could run
  and has hardly run since the first unanswered one: it stands in the queue for a processor, which
  on an overloaded machine is no fault of its loop.
- *It is not our turn.* Before it is ready ``start_timeout`` has the time, after its GOODBYE the
  ladder. In between, a worker that was told to stop is asked as any other: it drains, and for that
  its loop runs.

The time that such a beat ended does not count for ``hung_after``.
"""

from __future__ import annotations

import enum
import math
from typing import Final, final

import attrs

__all__ = ["BEATS", "Act", "Beats", "Pulse", "is_starved"]

BEATS: Final = 3
"""To a heartbeat."""
_MISSES: Final = 2
"""Beats without an answer to a question that was asked at the one before."""
_LATE: Final = 0.5
"""Of a beat."""
_AT_LEAST: Final = 0.001
"""Of a beat, between two of them."""
_HARDLY: Final = 0.01
"""Seconds of a processor, more than any answer takes."""


class Act(enum.Enum):
    """What is to be done about a worker."""

    ASK = "send it a PING"
    REPORT = "it is stuck"
    RECOVERED = "it is stuck no longer"
    KILL = "it was stuck for too long"


@final
@attrs.define
class Beats:
    """The beats of all workers with one heartbeat, at multiples of one interval: one timer for all.

    Attributes:
        interval: seconds.
        due: when the next one is to be held.
    """

    interval: float
    due: float = math.inf
    _was_late: bool = False

    @classmethod
    def of(cls, heartbeat: float, now: float) -> Beats:
        """Make those of a heartbeat; the first one is the next that there is."""
        beats = cls(heartbeat / BEATS)
        beats._set_due(now)
        return beats

    def hold(self, now: float) -> bool:
        """A beat is held, at ``due`` or later; says whether it counts."""
        is_late = now - self.due > _LATE * self.interval
        counts = not is_late or self._was_late
        self._was_late = not counts
        self._set_due(now)
        return counts

    def _set_due(self, now: float) -> None:
        self.due = (now // self.interval + 1) * self.interval
        if self.due - now < _AT_LEAST * self.interval:  # it was rounded: that is this one
            self.due += self.interval


@final
@attrs.define
class Pulse:
    """What is known of one worker's loop.

    Attributes:
        patience: seconds from a question to the end of a worker that does not answer; ``inf``.
        asked_at: when the oldest unanswered question was asked, or None.
        is_stuck: it was reported, and nothing was heard since.
    """

    patience: float = math.inf
    asked_at: float | None = None
    is_stuck: bool = False
    _misses: int = 0
    _excused: float = 0.0
    _beat_at: float = 0.0
    _is_over: bool = False

    def beat(self, now: float, *, heard: bool, counts: bool) -> list[Act]:
        """A beat is held.

        Args:
            now: seconds, of any clock.
            heard: whether anything came from it since the last one.
            counts: whether silence means anything now; see the theory of operation.
        """
        acts = self._hear() if heard else []
        if self.asked_at is None:
            self.asked_at, self._misses, self._excused = now, 0, 0.0
            acts.append(Act.ASK)
        elif counts:
            self._misses += 1
        else:
            self._excused += now - self._beat_at
        self._beat_at = now
        if self._misses >= _MISSES and not self.is_stuck:
            self.is_stuck = True
            acts.append(Act.REPORT)
        return acts

    def end(self, now: float, *, heard: bool) -> list[Act]:
        """Time has passed beside the beats; see `beat` for the arguments."""
        if heard:
            return self._hear()
        if now < self.ends_at:
            return []
        self._is_over = True
        return [Act.KILL]

    def _hear(self) -> list[Act]:
        acts = [Act.RECOVERED] if self.is_stuck else []
        self.asked_at, self.is_stuck = None, False
        return acts

    @property
    def ends_at(self) -> float:
        """When it has to be killed, as it looks now; ``inf`` unless it is stuck."""
        if self.asked_at is None or not self.is_stuck or self._is_over:
            return math.inf
        return self.asked_at + self._excused + self.patience

    def silence(self, now: float) -> float:
        """For how many seconds a question of ours has been unanswered."""
        return 0.0 if self.asked_at is None else now - self.asked_at


def is_starved(ran: float, *, can_run: bool) -> bool:
    """Whether a thread has had no processor to answer with.

    Args:
        ran: seconds that it ran.
        can_run: whether it runs just now, or would if it had a processor.
    """
    return can_run and ran < _HARDLY
