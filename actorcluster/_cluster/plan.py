"""What a tree does next: state, event and `now` in, actions out. No Trio, no clock, no process.

Runs in: primary

Theory of operation
===================

Every child has a `Place` with a phase; a supervisor or pool is a `Group`, a place with children.
Whoever carries the plan out tells it what happened (`up`, `ended`, `tick` ...), then does what
`take` gives: start this, stop that, tell so. All decisions are here and in `restarts`.

A group has *victims*, which are to be stopped, and an *agenda*, what is to be started; `progress`
works through them one after the other. So a failure only has to say whom it concerns. In
rest_for_one those are the one that failed and all behind it, in one_for_all all children: what
runs of them becomes victims, and all of them the agenda, whatever was going on before. In
one_for_one nobody else is concerned: who failed waits for its own delay, beside whatever else the
group does. The slots of a pool, and what was forked by hand, are started and stopped at once.

Whose end is a failure? Not of one that was told to stop or stands in the queue for it. Of the
others `restarts.after_exit` decides. One whose start fails before it was ever up ends its whole
group, for a first start is not retried, and the group's parent decides: for it, that is a failure
like any other, unless it is still starting itself.

A group that gives up, or cannot start, fails; one that ended by auto-shutdown has finished. That
is a difference to Erlang, where giving up is the reason ``shutdown``, which a parent takes for
well. See docs/explanation/supervision.md for each difference and its reason.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import Final, final

from .places import (
    Absence,
    Action,
    GaveUp,
    Group,
    Outcome,
    Phase,
    Place,
    Restarting,
)
from .progress import End, Progress
from .restarts import Backoff, after_exit
from .ties import (
    below,
    check_startable,
    comes_back,
    condemn,
    ends_with,
    lose,
    take_out,
    tied_to,
)
from .tree import RetryAfter, Supervisor

__all__ = ["Plan"]

DOWN, WAITING, STARTING, UP, STOPPING = Phase

_GROUP_BACKOFF: Final = Backoff()
_WELL: Final = Outcome("well")


@final
class Plan(Progress):
    """The state of a whole tree; see `Progress` for what comes out."""

    # ---- in: what happened ----------------------------------------------------------------

    def start(self, now: float) -> None:
        """Start the whole tree."""
        self._start(self.root, now)

    def stop(self, now: float) -> None:
        """Stop the whole tree."""
        self._stop(self.root, now)

    def up(self, place: Place, now: float) -> None:
        """A child that was started is ready."""
        if place.phase is STARTING:
            place.enter(UP)
            self._is_up(place, now)

    def ended(self, place: Place, reason: str, status: object, now: float) -> None:
        """A child that was started has ended, whatever it was doing; ``status`` is handed on."""
        was_up = place.phase is not STARTING
        end = (was_up, reason, place, status)
        place.status = status
        if not was_up:
            place.flop = place.generation
        if place.besides and (place.is_told or place.is_condemned):
            self._drop(place)
            place.is_told = True
            place.enter(STOPPING)
            place.ending = end
            return  # it is down when all its lives have ended
        place.enter(DOWN)
        self._is_down(place, end, now)
        if place.successor is not None:
            self._drop(place)

    def gone(self, place: Place, now: float) -> None:
        """A life beside the present one has ended; see `rollout`."""
        place.besides -= 1
        self.besides -= 1
        end = place.ending
        if end is not None and not place.besides:
            place.ending = None
            place.enter(DOWN)
            self._is_down(place, end, now)

    def tick(self, now: float) -> None:
        """Start what is due."""
        while self.deadline() <= now:
            place = heapq.heappop(self.timers)[2]
            if place.phase is WAITING:
                self._start(place, now)
            elif isinstance(place, Group):
                self._proceed(place, now)

    # ---- in: what somebody wants ----------------------------------------------------------

    def begin(self, place: Place, now: float) -> None:
        """Start a child that is down. If that fails it is not retried, and nobody else ends.

        Failures from before do not count any more: of itself, of what is below it, and, if it was
        parked, of its supervisor.

        Raises:
            ValueError: it is not down, or its supervisor does not run.
        """
        check_startable(place)
        if place.absence is Absence.PARKED and place.parent is not None:
            place.parent.budget.clear()
        place.is_fresh = place.is_by_hand = True
        for one in below(place):
            one.streak = 0
        self._start(place, now)

    def end(self, place: Place, now: float) -> None:
        """Stop a child by hand: nothing but `begin` starts it again. One may stop it twice."""
        take_out(place)
        self._stop(place, now)
        if place.phase is DOWN:
            self._forget(place)
        self._proceed_above(place, now)

    def leaving(self, place: Place) -> None:
        """Somebody told a child to stop, past the plan; it ends as after `end`."""
        if place.phase not in (STARTING, UP, STOPPING):
            return  # that life has ended already
        take_out(place)
        self._drop(place)
        if place.phase is not STOPPING:
            place.is_told = True
            place.enter(STOPPING)

    # ---- in: what a rollout wants ----------------------------------------------------------

    def want(self, action: Action) -> None:
        """Have something done."""
        self.actions.append(action)

    def cycle(self, place: Place, now: float) -> None:
        """Stop a child that is up; once it is down it waits for `resume`."""
        self._stop(place, now)
        place.is_wanted = True

    def resume(self, place: Place, generation: int, now: float) -> None:
        """Start it again. If that fails it is not retried, and nobody else ends."""
        place.is_fresh = place.is_by_hand = True
        self._start(place, now)
        place.generation = generation

    # ---- what follows from an end ---------------------------------------------------------

    def _is_down(self, place: Place, end: End, now: float) -> None:
        """A child is down; whether it failed is decided here."""
        group = place.parent
        assert group is not None
        if place.is_told or place.is_condemned:
            place.is_told = place.is_condemned = False
            if place.is_wanted:
                place.enter(WAITING)
            else:
                self._forget(place)
            self._proceed(group, now)
        elif place.is_fresh and not end[0]:
            self._first_start_failed(place, group, end, now)
        else:
            self._by_itself(place, group, end, now)

    def _first_start_failed(self, place: Place, group: Group, end: End, now: float) -> None:
        is_groups = group.phase is STARTING and not place.is_by_hand
        place.absence = Absence.WITH_GROUP if is_groups else Absence.FAILED
        if is_groups:
            _, _, cause, status = end
            self._end_group(group, Outcome("start_failed", cause, status), now)
            return
        if place.is_added and place.is_new:
            self._remove(place)
        self._proceed(group, now)

    def _by_itself(self, place: Place, group: Group, end: End, now: float) -> None:
        was_up, reason, _, status = end
        fate = after_exit(place.restart, reason, was_ready=was_up)
        if fate == "restart":
            self._restart(place, group, status, now)
        elif fate == "park":
            self._park(place, group, status, now)
        else:
            place.absence = Absence.FINISHED
            self._forget(place)
            if ends_with(place, group):
                self._end_group(group, _WELL, now)
            else:
                self._proceed(group, now)

    def _restart(self, place: Place, group: Group, status: object, now: float) -> None:
        if not group.budget.spend(now):
            self._exhausted(place, group, status, now)
            return
        backoff = _GROUP_BACKOFF if isinstance(place.spec, Supervisor) else place.spec.backoff
        if place.up_at is not None and now - place.up_at >= backoff.reset_after:
            place.streak = 0
        delay = backoff.delay(place.streak, self._chance()) if backoff.min else 0.0
        self._again(place, group, status, delay, now)

    def _exhausted(self, place: Place, group: Group, status: object, now: float) -> None:
        rule = group.on_exhausted
        if isinstance(rule, RetryAfter):
            group.budget.clear()
            self._again(place, group, status, rule.seconds, now)
        elif rule == "park":
            self._park(place, group, status, now)
        else:
            self.actions.append(GaveUp(group, status))
            place.absence = Absence.WITH_GROUP
            self._end_group(group, Outcome("exhausted", place, status), now)

    def _again(self, place: Place, group: Group, status: object, delay: float, now: float) -> None:
        """Start a place again after a delay, with those whom the strategy ties to it."""
        place.streak += 1
        is_alone = group.strategy == "one_for_one"
        if is_alone and place.successor is not None:
            delay = 0.0  # it is starting already
        self.actions.append(Restarting(place, status, delay, place.streak))
        due = now + delay
        if is_alone:
            if place in group.agenda:  # it gave up before it was up, and waits alone now
                group.agenda.remove(place)
            if delay <= 0:
                self._start(place, now)
            else:
                place.enter(WAITING)
                place.due = due
                self._set_timer(place, due)
            self._proceed(group, now)
            return
        self._drop(place)
        tied = tied_to(place, group)
        if group.agenda:  # what waits in it goes on waiting, before and behind those that are tied
            due = max(due, group.not_before)
        agenda = set(group.agenda)
        for other in tied:
            if other is place or comes_back(other):
                agenda.add(other)
                if other.phase is DOWN:
                    other.enter(WAITING)
                other.is_wanted = True
            else:
                lose(other)
        group.agenda = deque(child for child in group.children.values() if child in agenda)
        condemn(group, tied)
        group.not_before = due
        self._set_timer(group, due)
        self._proceed(group, now)

    def _park(self, place: Place, group: Group, status: object, now: float) -> None:
        """Leave a place down, with those whom the strategy ties to it."""
        self.actions.append(GaveUp(place, status))
        tied = tied_to(place, group)
        for other in tied:
            if other is place or comes_back(other):
                other.absence = Absence.PARKED
                other.is_wanted = False
                if other.phase is WAITING:
                    other.enter(DOWN)
            else:
                lose(other)
        condemn(group, tied)
        self._proceed(group, now)
