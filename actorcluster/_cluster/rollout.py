"""Replaces lives that are well, and changes the size of pools: reload, recycling, scale. Pure.

Runs in: primary

Theory of operation
===================

One *job* is carried out at a time, whoever wants it: that is the token. So recycled workers never
go together, whatever made them due, and no jitter is needed for that. What was asked for by hand
comes first, in the order of asking; what is due for recycling takes the turns in between.

A *step* replaces the life of one place, in one of two ways:

- *Surge*: a successor starts beside the present life, under the same name, which it does not have
  yet. Ready, it takes the place (`Switch`); from that moment the name is its, and the other one is
  told to stop and finishes what it has accepted. The place was up all the time. The step is over
  when the old life has ended.
- *Stop first* (``max_unavailable``): the life is stopped, and then the place is started as if by
  hand.

At most ``max_surge`` steps of the first kind and ``max_unavailable`` of the second are under way,
so a place has two lives at most, and a pool never more than its count and ``max_surge`` together.

As in `plan`, each call changes little and `proceed` finds out what comes next from what stands
there: which places of a job still run old code, that is, have a smaller *generation* than the job.
So a place that has crashed and come back with new code meanwhile is left alone, and one that
somebody stopped is as well.

What can go wrong:

- *The successor fails*, or is not ready in time: the job has failed. Nothing more is begun, other
  successors are dropped, and what is in service serves on. It was never a life of its place, so it
  costs no budget and calls no strategy. A job that nobody waits for, a recycling, is tried again
  after the backoff of its child.
- *The old life fails* before that: a failure as any other, counted as one. Where it concerns
  nobody else (one_for_one) the successor, which is starting already, is its restart. Otherwise
  the strategy decides and the successor is dropped.
- *Somebody stops the place*, or its supervisor does: both lives end, and the place is down when
  both have. The step is over, the job goes on.

New code becomes that of all starts (`Commit`) when the first life of it is ready. Before that,
whoever crashes comes back with the old code, and after a failure so far all stays as it was
(`Revert`).
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable
from typing import Any, final

import attrs

from .jobs import Failure, Job, Reload, Scale, Step, count_of, is_old, set_count
from .places import (
    Commit,
    Drop,
    Group,
    Phase,
    Place,
    Prepare,
    Renew,
    Revert,
    Settled,
    Switch,
)
from .plan import Plan
from .tree import Child

__all__ = ["Rollouts"]

DOWN, WAITING, STARTING, UP, STOPPING = Phase


@final
@attrs.define(eq=False, repr=False)
class _Due:
    """A life that is to be recycled.

    Attributes:
        serial: which.
        why: because of which limit.
        not_before: when that may be tried.
        failures: of tries, in a row.
    """

    serial: int
    why: str
    not_before: float
    failures: int = 0


@final
class Rollouts:
    """The jobs of one tree.

    Args:
        plan: of that tree.
        chance: as for the plan.
    """

    def __init__(self, plan: Plan, chance: Callable[[], float]) -> None:
        self._plan = plan
        self._chance = chance
        self._queue: deque[Job] = deque()
        self._job: Job | None = None
        self._due: dict[Place, _Due] = {}
        self._ages: list[tuple[float, int, Place, int]] = []
        #: somebody has wanted something, or lives have an age: else there is nothing to do here.
        self.is_used = False
        self._ticket = itertools.count()
        #: what a reload that failed has left behind is old for the next one
        self._generations = itertools.count(plan.generation + 1)

    @property
    def job(self) -> Job | None:
        """Who has the token."""
        return self._job

    @property
    def has_work(self) -> bool:
        """Whether `proceed` may find anything to do."""
        return bool(self._job or self._queue or self._due)

    # ---- in: what somebody wants ----------------------------------------------------------

    def add(self, job: Job) -> None:
        """Have something done, after what was asked for before."""
        self.is_used = True
        self._queue.append(job)

    def cancel(self, job: Job) -> None:
        """Begin nothing more of it; what was begun goes on."""
        job.is_cancelled = True
        if job in self._queue:
            self._queue.remove(job)

    def recycle(self, place: Place, why: str, now: float) -> None:
        """Its present life has reached a limit."""
        due = self._due.get(place)
        if place.phase is UP and (due is None or due.serial != place.serial):
            self.is_used = True
            self._due[place] = _Due(place.serial, why, now)

    # ---- in: what happens -----------------------------------------------------------------

    def up(self, place: Place, now: float) -> None:
        """A child that was started is ready; see `Plan.up`."""
        self._plan.up(place, now)
        if isinstance(place.spec, Child) and place.spec.limits is not None:
            self._watch_age(place, now)

    def _watch_age(self, place: Place, now: float) -> None:
        limits = place.spec.limits if isinstance(place.spec, Child) else None
        if limits is not None and limits.max_age is not None:
            self.is_used = True
            due = now + limits.max_age
            heapq.heappush(self._ages, (due, next(self._ticket), place, place.serial))

    def prepared(self, error: Exception | None) -> None:
        """The new code is there, or never will be."""
        job = self._job
        assert isinstance(job, Reload)
        job.is_prepared = True
        if error is not None:
            job.failure = Failure(None, error=error)

    def succeeded(self, place: Place, now: float) -> None:
        """A successor is ready."""
        job, plan = self._job, self._plan
        if place.successor is None:
            return  # it is not wanted any more
        if place.is_condemned or place.phase is not UP:
            self._drop(place)
            return
        assert isinstance(job, Reload)
        place.generation, place.successor = place.successor, None
        place.serial += 1
        place.up_at = now
        plan.want(Switch(place))
        self._watch_age(place, now)

    def failed(self, place: Place, status: object, now: float) -> None:
        """A successor, or what was one, has ended before it was ready."""
        job = self._job
        if place.successor is not None and isinstance(job, Reload):
            place.successor = None
            job.failure = job.failure or Failure(place, status)
        self._plan.gone(place, now)

    def deadline(self) -> float:
        """When `tick` is due; ``inf`` while it is not."""
        ages = self._ages
        if not ages and not self._due:
            return math.inf
        while ages and not _lives(ages[0][2], ages[0][3]):
            heapq.heappop(ages)
        first = ages[0][0] if ages else math.inf
        if self._job is None:
            times = [
                due.not_before for place, due in self._due.items() if _lives(place, due.serial)
            ]
            first = min(first, *times, math.inf)
        return first

    def tick(self, now: float) -> None:
        """Note who has grown too old."""
        while self._ages and self._ages[0][0] <= now:
            _, _, place, serial = heapq.heappop(self._ages)
            if _lives(place, serial):
                self.recycle(place, "max_age", now)

    # ---- what comes next ------------------------------------------------------------------

    def proceed(self, now: float) -> None:
        """Do what comes next, as far as that is possible now."""
        while True:
            if self._job is None:
                self._job = self._queue.popleft() if self._queue else self._next_due(now)
                if self._job is None:
                    return
            job = self._job
            is_over = self._roll(job, now) if isinstance(job, Reload) else self._scale(job, now)
            if not is_over:
                return
            self._job = None

    def _next_due(self, now: float) -> Reload | None:
        for place, due in list(self._due.items()):
            if place.serial != due.serial or self._plan.places.get(place.name) is not place:
                del self._due[place]  # that life has ended
            elif _lives(place, due.serial) and due.not_before <= now:
                return Reload(units=deque([place]), due=place, why=due.why, serial=due.serial)
        return None

    def _settle(self, job: Job, outcome: Any) -> None:
        if job.outcome is None:
            job.outcome = outcome
            self._plan.want(Settled(job))

    # ---- reload and recycling -------------------------------------------------------------

    def _roll(self, job: Reload, now: float) -> bool:
        """Go on with a job; whether it is over."""
        if not job.is_begun:
            self._begin(job)
        if not job.is_prepared:
            return False
        for step in list(job.steps):
            if self._is_over(job, step, now):
                step.place.patience = math.inf
                job.steps.remove(step)
        if job.failure is not None:
            self._give_up(job, now)
        elif not job.is_cancelled:
            self._begin_steps(job, now)
            if job.units:
                return False
        if job.steps:
            return False
        self._finish(job)
        return True

    def _begin(self, job: Reload) -> None:
        job.is_begun = True
        job.generation = self._plan.generation
        if job.due is not None:
            job.is_prepared = True
        else:
            job.generation = next(self._generations)
            self._plan.want(Prepare(job.patience))

    def _finish(self, job: Reload) -> None:
        if job.outcome is not None:
            return
        if job.due is not None:
            due = self._due.get(job.due)
            if due is not None and due.serial == job.serial:  # else its next life is due already
                del self._due[job.due]
        elif not job.is_cancelled:
            self._commit(job)
        elif not job.is_committed:
            self._plan.want(Revert())
        self._settle(job, "done")

    def _begin_steps(self, job: Reload, now: float) -> None:
        surges = job.max_surge - sum(step.is_surge for step in job.steps)
        gaps = job.max_unavailable - sum(not step.is_surge for step in job.steps)
        while (surges > 0 or gaps > 0) and (place := self._next(job)) is not None:
            step = Step(place, place.serial, is_surge=surges > 0)
            job.steps.append(step)
            place.patience, place.flop = job.patience, None
            if step.is_surge:
                surges -= 1
                place.successor = job.generation
                place.besides += 1
                self._plan.besides += 1
                self._plan.want(Renew(place))
            else:
                gaps -= 1
                self._plan.cycle(place, now)

    def _next(self, job: Reload) -> Place | None:
        """Give the next place with an old life; None: none, or not yet."""
        under_way = {step.place for step in job.steps}
        while job.units:
            unit = job.units[0]
            is_busy = bool(under_way)
            for place in unit.children.values() if isinstance(unit, Group) else (unit,):
                if place in under_way or not is_old(place, job):
                    continue
                if place.phase is UP and not place.is_condemned:
                    return place
                is_busy |= place.phase is STARTING  # it will be up, or not
            if is_busy:
                return None
            job.units.popleft()
        return None

    def _is_over(self, job: Reload, step: Step, now: float) -> bool:
        """Look how a step has got on."""
        place = step.place
        if place.serial == step.serial:
            return self._is_left(job, step, now)
        if not step.is_through:
            if place.flop == job.generation:
                job.failure = job.failure or Failure(place, place.status)
            elif place.phase is STARTING:
                return False
            elif place.generation == job.generation and place.up_at is not None:
                self._commit(job)
            step.is_through = True
        return not (step.is_surge and place.besides)

    def _is_left(self, job: Reload, step: Step, now: float) -> bool:
        """Whether nothing more will come of a step that has no new life yet."""
        place, group = step.place, step.place.parent
        assert group is not None
        if step.is_surge:
            return not place.besides
        if place.phase is not WAITING:
            return not place.is_wanted
        if place.due is None and place not in group.agenda:
            generation = self._plan.generation if job.failure else job.generation
            self._plan.resume(place, generation, now)
        return False

    def _give_up(self, job: Reload, now: float) -> None:
        for step in job.steps:
            self._drop(step.place)
        if job.outcome is not None:
            return
        if job.due is not None:
            self._try_again(job.due, now)
        elif not job.is_committed:
            self._plan.want(Revert())
        self._settle(job, "failed")

    def _try_again(self, place: Place, now: float) -> None:
        """A recycling has failed; the old life goes on."""
        due = self._due.get(place)
        if due is not None:
            assert isinstance(place.spec, Child)
            due.not_before = now + place.spec.backoff.delay(due.failures, self._chance())
            due.failures += 1

    def _commit(self, job: Reload) -> None:
        if job.due is None and not job.is_committed and job.failure is None:
            job.is_committed = True
            self._plan.generation = job.generation
            self._plan.want(Commit())

    def _drop(self, place: Place) -> None:
        if place.successor is not None:
            place.successor = None
            self._plan.want(Drop(place))

    # ---- the size of a pool ---------------------------------------------------------------

    def _scale(self, job: Scale, now: float) -> bool:
        """Go on with a job; whether it is over."""
        if not job.is_begun:
            if not self._is_there(job.pool):
                self._settle(job, "closed")
                return True
            job.is_begun = True
            self._resize(job, now)
        self._end_leaving(job, now)
        starting = [place for place in job.added if place.is_fresh and place.phase is STARTING]
        lost = [place for place in job.added if place.is_fresh and place.phase is DOWN]
        if lost and job.failure is None and self._is_there(job.pool):
            job.failure = Failure(lost[0], lost[0].status)
            set_count(job.pool, job.before)
            job.leaving, starting = job.added[::-1], []
            self._end_leaving(job, now)
        if starting or any(place.phase is not DOWN for place in job.leaving):
            return False
        for place in job.leaving:
            self._plan.delete(place)
        kind = "done" if self._is_there(job.pool) or not job.added else "closed"
        self._settle(job, kind if job.failure is None else "failed")
        return True

    def _resize(self, job: Scale, now: float) -> None:
        pool = job.pool
        slots = {int(name): place for name, place in pool.children.items()}
        job.before = count_of(pool)
        job.leaving = [
            slots[number] for number in sorted(slots, reverse=True) if number > job.count
        ]
        set_count(pool, job.count)
        for number in range(1, job.count + 1):
            if number not in slots:
                place = self._plan.add_slot(pool, number)
                place.launch = job.launch
                job.added.append(place)
        for place in job.added:
            self._plan.begin(place, now)

    def _end_leaving(self, job: Scale, now: float) -> None:
        for place in job.leaving:
            if place.phase not in (DOWN, STOPPING):
                self._plan.end(place, now)

    def _is_there(self, pool: Group) -> bool:
        return pool.phase is UP and self._plan.places.get(pool.name) is pool


def _lives(place: Place, serial: int) -> bool:
    """Whether a life is the present one of its place, and up."""
    return place.serial == serial and place.phase is UP
