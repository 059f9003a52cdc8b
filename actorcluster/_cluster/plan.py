"""What a tree does next: state, event and `now` in, actions out. No Trio, no clock, no process.

Runs in: primary

Theory of operation
===================

Every child has a `Place` with a phase; a supervisor or pool is a `Group`, a place with children.
Whoever carries the plan out tells it what happened (`up`, `ended`, `tick` ...), then does what
`take` gives: start this, stop that, tell so. All decisions are here and in `restarts`.

A group does one thing at a time, and `_proceed` finds out which, from what stands in the group, so
it can be called whenever anything has changed:

1. There are *victims*: stop the last of them, and wait until it is down.
2. The group itself is to end, and nothing of it runs: it is down; its parent is told.
3. There is an *agenda*: start the first of it, and wait until it is up.
4. Nothing is left to do: if the group was starting, it is up; its parent is told.

So a failure only has to say whom it concerns. In rest_for_one those are the one that failed and
all behind it, in one_for_all all children: what runs of them becomes victims, and all of them the
agenda, whatever was going on before. In one_for_one nobody else is concerned: who failed waits
for its own delay, beside whatever else the group does. The slots of a pool, and what was forked by
hand, are started and stopped at once.

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
import itertools
import math
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple, final

from .places import (
    Absence,
    Action,
    Adopt,
    Down,
    Drop,
    Finished,
    GaveUp,
    Group,
    Outcome,
    Phase,
    Place,
    Restarting,
    Start,
    Stop,
    Up,
)
from .restarts import Backoff, after_exit
from .roster import Roster
from .ties import (
    check_startable,
    comes_back,
    condemn,
    ends_with,
    lose,
    take_out,
    tied_to,
    waits_for,
)
from .tree import RetryAfter, Supervisor

__all__ = ["Plan"]

DOWN, WAITING, STARTING, UP, STOPPING = Phase

_GROUP_BACKOFF: Final = Backoff()
_TOLD: Final = Outcome("told")
_WELL: Final = Outcome("well")
#: How the end of a group reads as the reason of a child's end.
_REASONS: Final = {
    "told": "shutdown",
    "well": "normal",
    "exhausted": "error",
    "start_failed": "error",
}


class _End(NamedTuple):
    """How something ended: whether it had been up, why, whose life that was, its status."""

    was_up: bool
    reason: str
    cause: Place
    status: Any


@final
class Plan(Roster):
    """The state of a whole tree.

    Args:
        spec: the root.
        chance: gives random numbers, 0 <= x < 1, for the jitter of delays.

    Attributes:
        actions: what `take` will give.
        timers: what `deadline` looks at.
        generation: of the code that lives run which start now.
        besides: how many lives there are beside the present ones of their places.
    """

    def __init__(self, spec: Supervisor, chance: Callable[[], float]) -> None:
        super().__init__(spec)
        self._chance = chance
        self.actions: list[Action] = []
        self.timers: list[tuple[float, int, Place]] = []
        self._ticket = itertools.count()
        self.generation = 0
        self.besides = 0

    # ---- out ------------------------------------------------------------------------------

    def take(self) -> list[Action]:
        """Give what is to be done since the last call, in order."""
        actions, self.actions = self.actions, []
        return actions

    def deadline(self) -> float:
        """When `tick` is due; ``inf`` while it is not."""
        timers = self.timers
        while timers and not waits_for(timers[0][2], timers[0][0]):
            heapq.heappop(timers)
        return timers[0][0] if timers else math.inf

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
        end = _End(place.phase is not STARTING, reason, place, status)
        place.status = status
        if not end.was_up:
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

        Raises:
            ValueError: it is not down, or its supervisor does not run.
        """
        check_startable(place)
        place.is_fresh = True
        place.streak = 0
        self._start(place, now)
        place.is_by_hand = True

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
        place.is_fresh = True
        self._start(place, now)
        place.is_by_hand = True
        place.generation = generation

    # ---- starting -------------------------------------------------------------------------

    def _start(self, place: Place, now: float) -> None:
        place.is_told = place.is_condemned = place.is_wanted = place.is_by_hand = False
        place.absence = Absence.NEVER
        place.up_at = None
        place.enter(STARTING)
        if not isinstance(place, Group):
            self._start_child(place)
            return
        place.outcome = None
        place.budget.clear()
        place.not_before = now
        for child in list(place.children.values()):
            if child.is_added and child.is_temporary:
                self._remove(child)
            elif child.absence is not Absence.BY_HAND:
                child.is_fresh = True
                child.enter(WAITING)
                place.agenda.append(child)
        self._proceed(place, now)

    def _start_child(self, place: Place) -> None:
        place.serial += 1
        place.generation = self.generation
        if place.successor is None:
            self.actions.append(Start(place))
            return
        place.generation, place.successor = place.successor, None
        place.besides -= 1
        self.besides -= 1
        self.actions.append(Adopt(place))

    def _is_up(self, place: Place, now: float) -> None:
        place.is_fresh = place.is_new = False
        place.up_at = now
        self._proceed_above(place, now)

    # ---- stopping -------------------------------------------------------------------------

    def _stop(self, place: Place, now: float) -> None:
        """Begin to stop a place, whatever it does; it may be down at once."""
        if place.phase is WAITING:
            place.enter(DOWN)
        elif place.phase is not DOWN and not place.is_told:
            place.is_told = True
            if isinstance(place, Group):
                self._end_group(place, _TOLD, now)
            else:
                self._drop(place)
                place.enter(STOPPING)
                self.actions.append(Stop(place))

    def _drop(self, place: Place) -> None:
        if place.successor is not None:
            place.successor = None
            self.actions.append(Drop(place))

    def _end_group(self, group: Group, outcome: Outcome, now: float) -> None:
        """Begin to stop a group's children, all of them. The first outcome counts."""
        if group.phase is not STOPPING:
            group.outcome = outcome
            group.enter(STOPPING)
            group.agenda.clear()
            for child in group.children.values():
                child.is_wanted = False
                if child.phase is not DOWN and child.absence is not Absence.BY_HAND:
                    child.absence = Absence.WITH_GROUP
                if child.phase is WAITING:
                    child.enter(DOWN)
            condemn(group, group.children.values())
            if group.at_once:
                for child in reversed(list(group.victims)):
                    self._stop(child, now)
        self._proceed(group, now)

    # ---- what follows from an end ---------------------------------------------------------

    def _is_down(self, place: Place, end: _End, now: float) -> None:
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
        elif place.is_fresh and not end.was_up:
            self._first_start_failed(place, group, end, now)
        else:
            self._by_itself(place, group, end, now)

    def _first_start_failed(self, place: Place, group: Group, end: _End, now: float) -> None:
        is_groups = group.phase is STARTING and not place.is_by_hand
        place.absence = Absence.WITH_GROUP if is_groups else Absence.FAILED
        if is_groups:
            self._end_group(group, Outcome("start_failed", end.cause, end.status), now)
            return
        if place.is_added and place.is_new:
            self._remove(place)
        self._proceed(group, now)

    def _by_itself(self, place: Place, group: Group, end: _End, now: float) -> None:
        fate = after_exit(place.restart, end.reason, was_ready=end.was_up)
        if fate == "restart":
            self._restart(place, group, end.status, now)
        elif fate == "park":
            self._park(place, group, end.status, now)
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
        self._again(place, group, status, backoff.delay(place.streak, self._chance()), now)

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

    # ---- one thing after another ----------------------------------------------------------

    def _proceed_above(self, place: Place, now: float) -> None:
        if place.parent is not None:
            self._proceed(place.parent, now)

    def _proceed(self, group: Group, now: float) -> None:
        """Do what comes next in a group, as far as that is possible now."""
        if group.phase is UP and not group.victims and not group.agenda:
            return
        # Each step may lead back here, for this group or another, so it looks at everything anew.
        while self._step(group, now):
            pass

    def _step(self, group: Group, now: float) -> bool:
        """Do one thing; False when there is none, or something has to happen first."""
        victims = group.victims
        if victims:
            last = victims[-1]
            if not last.is_condemned:  # it is down, or was, and somebody started it again
                victims.pop()
                return True
            if last.is_told:
                return False
            self._stop(last, now)
            return True
        if group.phase is STOPPING:
            if not group.alive:
                self._group_down(group, now)
            return False
        if group.agenda:
            return now >= group.not_before and self._start_next(group, now)
        if group.phase is STARTING and not group.unsettled:
            group.enter(UP)
            self.actions.append(Up(group))
            self._is_up(group, now)
        return False

    def _start_next(self, group: Group, now: float) -> bool:
        first = group.agenda[0]
        if first.phase is STARTING:
            return False
        if first.phase is WAITING:
            if group.at_once:
                group.agenda.popleft()
            self._start(first, now)
        else:
            group.agenda.popleft()
        return True

    def _group_down(self, group: Group, now: float) -> None:
        outcome = group.outcome
        assert outcome is not None
        group.enter(DOWN)
        group.status = outcome.status
        self.actions.append(Down(group))
        if group.parent is None:
            self.actions.append(Finished(outcome))
            return
        was_up = outcome.kind != "start_failed"
        cause = outcome.place or group
        self._is_down(group, _End(was_up, _REASONS[outcome.kind], cause, outcome.status), now)

    # ---- small ----------------------------------------------------------------------------

    def _set_timer(self, place: Place, due: float) -> None:
        heapq.heappush(self.timers, (due, next(self._ticket), place))
