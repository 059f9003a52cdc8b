"""The world of `machine`, in which lives are also replaced while they are well.

A place may have another life beside its own there: a successor that starts, or one that was
replaced or dropped and still ends. Like all others it answers only when somebody says so.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Literal

import attrs

from actorcluster._cluster.jobs import Job, Reload, Scale, units_of
from actorcluster._cluster.places import (
    Action,
    Adopt,
    Commit,
    Drop,
    Group,
    Phase,
    Place,
    Prepare,
    Renew,
    Revert,
    Settled,
    Start,
    Stop,
    Switch,
)
from actorcluster._cluster.rollout import Rollouts
from actorcluster._cluster.tree import Pool, Supervisor
from tests.supervision.machine import REACHED, RUNNING, Life, World

__all__ = ["Beside", "RollingWorld", "is_waited_for", "look_beside"]


@attrs.define(eq=False)
class Beside:
    """A life beside the present one of its place."""

    place: Place
    phase: Literal["starting", "stopping"] = "starting"


class RollingWorld(World):
    """Such a world.

    Attributes:
        beside: the lives that are no place's own, the oldest first.
        jobs: those whose outcome is not known.
        is_preparing: new code is not there yet.
    """

    def __init__(self, spec: Supervisor, chance: float, look: object) -> None:
        self.beside: list[Beside] = []
        self.jobs: list[Job] = []
        self.is_preparing = False
        self._cycled: set[Place] = set()
        self.rollouts: Rollouts | None = None
        super().__init__(spec, chance, look)  # type: ignore[arg-type]  # draws like the simulation's own
        self.rollouts = Rollouts(self.plan, lambda: chance)

    @property
    def engine(self) -> Rollouts:
        assert self.rollouts is not None
        return self.rollouts

    # ---- what happens by itself -----------------------------------------------------------

    def ready(self, place: Place) -> None:
        self._cycled.discard(place)
        super().ready(place)

    def ends(self, place: Place, reason: str) -> None:
        by_itself = self.lives[place].phase != "stopping" and not place.is_condemned
        if by_itself and any(other.place is place for other in self.beside):
            REACHED["reload overlapping a crash"] += 1
        super().ends(place, reason)

    def prepared(self, error: Exception | None) -> None:
        """New code is there, or never will be."""
        self._say(f"prepared {error}")
        self.is_preparing = False
        self.engine.prepared(error)
        self._went_on()

    def answer_beside(self, beside: Beside, *, is_well: bool) -> None:
        """A life beside another does what it is asked for, or ends."""
        self._say(f"beside {beside.place.name} {beside.phase} {is_well}")
        if beside.phase == "starting" and is_well:
            self.engine.succeeded(beside.place, self.now)
        else:
            self.beside.remove(beside)
            if beside.phase == "starting":
                self.engine.failed(beside.place, "flop", self.now)
            else:
                self.plan.gone(beside.place, self.now)
        self._went_on()

    def tick(self) -> None:
        self.plan.tick(self.now)
        assert self.plan.deadline() > self.now
        self.engine.tick(self.now)

    def deadline(self) -> float:
        return min(self.plan.deadline(), self.engine.deadline())

    # ---- what somebody does ---------------------------------------------------------------

    def reload(self, top: Place, max_surge: int, max_unavailable: int) -> None:
        """Replace what runs in a place and below."""
        self._say(f"reload {top.name} {max_surge} {max_unavailable}")
        units = deque(units_of(top))
        self._ask(Reload(units=units, max_surge=max_surge, max_unavailable=max_unavailable))

    def scale(self, pool: Group, count: int) -> None:
        """Give a pool another size."""
        self._say(f"scale {pool.name} {count}")
        self._ask(Scale(pool=pool, count=count))

    def _ask(self, job: Job) -> None:
        self.jobs.append(job)
        self.engine.add(job)
        self._went_on()

    def recycle(self, place: Place) -> None:
        """A life has reached a limit."""
        self._say(f"recycle {place.name}")
        self.engine.recycle(place, "max_rss", self.now)
        self._went_on()

    def cancel(self, job: Job) -> None:
        """Nobody waits for a job any more."""
        self._say("cancel")
        self.engine.cancel(job)
        if job in self.jobs and not job.is_begun:
            self.jobs.remove(job)
        self._went_on()

    # ---- the end of it --------------------------------------------------------------------

    def settle_one(self, slow: Place | None) -> bool:
        if self.is_preparing:
            self.prepared(None)
            return True
        if super().settle_one(slow):
            return True
        for beside in self.beside:
            if beside.place is not slow or beside.phase == "stopping":
                self.answer_beside(beside, is_well=True)
                return True
        return False

    def settle_beside(self) -> None:
        if self.is_preparing:
            self.prepared(None)
        while self.beside:
            self.answer_beside(self.beside[0], is_well=True)

    @property
    def is_rolling(self) -> bool:  # type: ignore[override]  # a field there, worked out here
        return self.engine.job is not None or bool(self.beside)

    def come_to_rest(self) -> None:
        super().come_to_rest()
        self.is_sound = False
        assert self.engine.job is None
        assert [] == self.jobs, "nobody hears what became of it"
        assert self.plan.besides == 0
        self.is_sound = True

    def is_under_way(self, place: Place) -> bool:
        group = place.parent
        is_starting = any(one.place is place and one.phase == "starting" for one in self.beside)
        return is_starting and group is not None and group.strategy == "one_for_one"

    # ---- what the plan does ---------------------------------------------------------------

    def _next_actions(self) -> list[Action]:
        actions = self.plan.take()
        if not actions and self.rollouts is not None:
            self.rollouts.proceed(self.now)
            actions = self.plan.take()
            self._expect_of_job(actions)
        return actions

    def _expect_of_job(self, actions: list[Action]) -> None:
        """What the engine stops and starts, it may."""
        job = self.engine.job
        for action in actions:
            if isinstance(action, Start) and action.place.is_by_hand:
                self._begun_by_job(action.place)
            elif isinstance(action, Stop) and isinstance(job, Reload):
                assert any(one.place is action.place and not one.is_surge for one in job.steps)
                assert len([one for one in job.steps if not one.is_surge]) <= job.max_unavailable
                self._cycled.add(action.place)
                self.told.add(action.place)
            elif isinstance(action, Stop):
                assert isinstance(job, Scale)
                assert action.place in job.leaving
        if isinstance(job, Scale):
            for place in job.leaving:
                self.by_hand.add(place)
                if place.phase in RUNNING:
                    self.told.add(place)

    def _begun_by_job(self, place: Place) -> None:
        self.by_hand.discard(place)
        self.given_up.discard(place)
        self.begun.add(place)
        self._asked.add(place)
        self._veterans.discard(place)
        self._due.pop(place, None)

    def _do(self, action: Action) -> None:
        match action:
            case Prepare():
                assert not self.is_preparing
                self.is_preparing = True
            case Renew(place):
                self._renew(place)
            case Switch(place):
                starting = self._successor(place)
                assert self.lives[place].phase == "up"
                starting.phase = "stopping"
                self.lives[place] = Life("up", self.now)
            case Adopt(place):
                self.beside.remove(self._successor(place))
                self._started(place)
            case Drop(place):
                self._successor(place).phase = "stopping"
            case Settled(job):
                assert job.outcome is not None
                if job in self.jobs:
                    self.jobs.remove(job)
            case Commit() | Revert():
                assert not self.is_preparing

    def _renew(self, place: Place) -> None:
        job = self.engine.job
        assert isinstance(job, Reload)
        assert place in self.lives
        assert not any(one.place is place for one in self.beside), "three lives of one place"
        self.beside.append(Beside(place))
        unit = place.parent if place.parent and isinstance(place.parent.spec, Pool) else place
        ours = [one for one in self.beside if unit in (one.place, one.place.parent)]
        assert len(ours) <= job.max_surge, "too many lives"

    def _successor(self, place: Place) -> Beside:
        (found,) = (one for one in self.beside if one.place is place and one.phase == "starting")
        return found


def is_waited_for(world: World, place: Place) -> bool:
    """Whether a place that waits will be started by who stopped it to start it again."""
    if not isinstance(world, RollingWorld) or world.rollouts is None:
        return False
    job = world.rollouts.job
    return isinstance(job, Reload) and any(
        step.place is place and not step.is_surge for step in job.steps
    )


def look_beside(world: World) -> None:
    """What holds of the lives beside others, whatever happened."""
    if not isinstance(world, RollingWorld) or world.rollouts is None:
        return
    assert world.plan.besides == len(world.beside)
    for place in {one.place for one in world.beside} | set(world.plan.places.values()):
        ours = [one for one in world.beside if one.place is place]
        assert place.besides == len(ours) <= 1 + (place.phase is Phase.DOWN), place
        starting = [one for one in ours if one.phase == "starting"]
        assert (place.successor is not None) is bool(starting), place
        assert not starting or place.phase is Phase.UP, place
    if world.rollouts.job is None:
        assert not world.beside, "it goes on without the token"
        assert world.jobs == [], "jobs wait, and nothing is done"
    assert world.deadline() > -math.inf
