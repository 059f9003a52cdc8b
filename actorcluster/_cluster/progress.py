"""How a tree gets on: each supervisor starts and stops what it has to, one after the other. Pure.

Runs in: primary

Theory of operation
===================

A group does one thing at a time, and `_proceed` finds out which, from what stands in the group, so
it can be called whenever anything has changed:

1. There are *victims*: stop the last of them, and wait until it is down.
2. The group itself is to end, and nothing of it runs: it is down; its parent is told.
3. There is an *agenda*: start the first of it, and wait until it is up.
4. Nothing is left to do: if the group was starting, it is up; its parent is told.

Whom an end concerns is decided in `plan`.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from .places import (
    Absence,
    Action,
    Adopt,
    Down,
    Drop,
    Finished,
    Group,
    Outcome,
    Phase,
    Place,
    Start,
    Stop,
    Up,
)
from .roster import Roster
from .ties import condemn, waits_for
from .tree import Supervisor

__all__ = ["End", "Progress"]

DOWN, WAITING, STARTING, UP, STOPPING = Phase

_TOLD: Final = Outcome("told")
#: How the end of a group reads as the reason of a child's end.
_REASONS: Final = {
    "told": "shutdown",
    "well": "normal",
    "exhausted": "error",
    "start_failed": "error",
}


End: TypeAlias = tuple[bool, str, Place, Any]
"""How something ended: whether it had been up, why, whose life that was, its status."""


class Progress(Roster):
    """What the groups of one tree are doing, and what comes next.

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

    # ---- starting -------------------------------------------------------------------------

    def _start(self, place: Place, now: float) -> None:
        place.is_told = place.is_condemned = place.is_wanted = False
        place.absence = Absence.NEVER
        place.up_at = None
        place.enter(STARTING)
        if isinstance(place, Group):
            self._start_group(place, now)
            return
        place.serial += 1
        place.generation = self.generation
        if place.successor is None:
            self.actions.append(Start(place))
        else:
            self._adopt(place, place.successor)

    def _adopt(self, place: Place, successor: int) -> None:
        place.generation, place.successor = successor, None
        place.besides -= 1
        self.besides -= 1
        self.actions.append(Adopt(place))

    def _start_group(self, place: Group, now: float) -> None:
        place.outcome = None
        place.budget.clear()
        place.not_before = now
        for child in list(place.children.values()):
            if child.is_added and child.is_temporary:
                self._remove(child)
            elif child.absence is not Absence.BY_HAND:
                child.is_fresh, child.is_by_hand = True, False
                child.enter(WAITING)
                place.agenda.append(child)
        self._proceed(place, now)

    def _is_up(self, place: Place, now: float) -> None:
        place.is_fresh = place.is_new = place.is_by_hand = False
        place.up_at = now
        group = place.parent
        if group is not None and (group.phase is not UP or group.victims or group.agenda):
            self._proceed(group, now)

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
        self._is_down(group, (was_up, _REASONS[outcome.kind], cause, outcome.status), now)

    def _is_down(self, place: Place, end: End, now: float) -> None:
        """A child is down; say whom that concerns."""
        raise AssertionError("abstract")

    # ---- small ----------------------------------------------------------------------------

    def _set_timer(self, place: Place, due: float) -> None:
        heapq.heappush(self.timers, (due, next(self._ticket), place))
