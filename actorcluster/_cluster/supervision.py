"""Carries out what a plan decides: begins and ends lives, tells what happened, watches the clock.

Runs in: primary

Nothing is decided here. Each call tells the plan one thing and then does all that follows from it,
in one step: whoever looks at the tree between two checkpoints finds it whole.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias, final

import trio

from .._worker.exit import ExitStatus
from .._worker.worker import Worker
from ..errors import ReloadAborted
from . import events
from .jobs import Job, Reload
from .places import (
    Action,
    Adopt,
    Commit,
    Down,
    Drop,
    Finished,
    GaveUp,
    Outcome,
    Phase,
    Place,
    Prepare,
    Renew,
    Restarting,
    Revert,
    Settled,
    Start,
    Stop,
    Switch,
    Up,
)
from .plan import Plan
from .rollout import Rollouts
from .ties import may_return
from .tree import Spec, Supervisor

__all__ = ["Death", "Lives", "Supervision"]

log = logging.getLogger("actorcluster.supervisor")

_STARTING: Final = Phase.STARTING

#: Of one place in a row so many restarts are logged one by one, then each power of two.
_LOGGED: Final = 8


Death: TypeAlias = tuple[Worker, ExitStatus]
"""How a life ended, and whose that was: what the plan hands on as a status."""


class Lives(Protocol):
    """Who begins and ends the lives of places; neither waits nor raises."""

    def begin(self, place: Place) -> None: ...
    def end(self, place: Place) -> None: ...
    def renew(self, place: Place) -> None: ...
    def switch(self, place: Place) -> None: ...
    def adopt(self, place: Place) -> None: ...
    def drop(self, place: Place) -> None: ...
    def prepare(self, patience: float) -> None: ...
    def commit(self) -> None: ...
    def revert(self) -> None: ...
    def look_again(self) -> None: ...
    def tell(self, worker: Worker, kind: type[events.Event], more: dict[str, Any]) -> None: ...


@final
class Supervision:
    """The tree of one primary.

    Args:
        tree: its spec.
        lives: does what has to be done.
        hub: is told.
        on_end: called when the tree has ended.

    Attributes:
        plan: what there is, and what becomes of it.
        rollouts: what is done to lives that are well.
        settled: set once the whole tree is up, or has ended.
        outcome: how the tree ended, once it has.
    """

    def __init__(
        self,
        tree: Supervisor,
        lives: Lives,
        hub: events.EventHub,
        on_end: Callable[[Outcome], None],
    ) -> None:
        self.plan = Plan(tree, random.random)
        self.rollouts = Rollouts(self.plan, random.random)
        self._forks = self.plan.add_forks()
        self.settled = trio.Event()
        self.outcome: Outcome | None = None
        self._lives = lives
        self._hub = hub
        self._on_end = on_end
        self._sleep = trio.CancelScope()
        self._wakes_at = math.inf
        #: what `trio.current_time` asks, without the way there.
        self.now = trio.lowlevel.current_clock().current_time
        self._is_busy = False
        self._changed: trio.Event | None = None

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Start what is due when it is due; until cancelled."""
        while True:
            with trio.CancelScope() as self._sleep:
                self._wakes_at = self._sleep.deadline = self._deadline()
                await trio.sleep_forever()
            now = trio.current_time()
            self.plan.tick(now)
            self.rollouts.tick(now)
            self._carry_out()

    def _deadline(self) -> float:
        first, second = self.plan.deadline(), self.rollouts.deadline()
        return min(first, second) if second < math.inf else first

    # ---- what happens ---------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection
    def start(self) -> None:
        """Start the tree."""
        self.plan.start(trio.current_time())
        self._carry_out()

    @trio.lowlevel.enable_ki_protection
    def stop(self) -> None:
        """Stop the tree, unless it has ended."""
        self.plan.stop(trio.current_time())
        self._carry_out()

    def ready(self, place: Place, since: float | None) -> None:
        """A life is ready."""
        self.rollouts.up(place, self.now() if since is None else since)
        self._carry_out()

    def ended(self, place: Place, death: Death, now: float) -> None:
        """A life has ended, at ``now``."""
        self.plan.ended(place, death[1].reason, death, now)
        self._carry_out()

    def succeeded(self, place: Place) -> None:
        """A successor is ready."""
        self.rollouts.succeeded(place, trio.current_time())
        self._carry_out()

    def successor_ended(self, place: Place, death: Death) -> None:
        """A successor has ended before it was ready."""
        self.rollouts.failed(place, death, trio.current_time())
        self._carry_out()

    def past_ended(self, place: Place) -> None:
        """A life that was replaced, or not wanted any more, has ended."""
        self.plan.gone(place, trio.current_time())
        self._carry_out()

    def prepared(self, error: Exception | None) -> None:
        """New code is there, or never will be."""
        self.rollouts.prepared(error)
        self._carry_out()

    def recycle(self, place: Place, why: str) -> None:
        """The present life of a place has reached a limit."""
        self.rollouts.recycle(place, why, trio.current_time())
        self._carry_out()

    @trio.lowlevel.enable_ki_protection
    def leaving(self, place: Place) -> None:
        """A life was told to end by somebody's hand, and nothing is to follow it."""
        if place.phase is Phase.WAITING:
            self.plan.end(place, trio.current_time())
        else:
            self.plan.leaving(place)
        self._carry_out()

    async def forkable(self) -> None:
        """Wait while what was forked is stopped for a sibling's failure, and comes back."""
        while self._forks.phase is not Phase.UP and may_return(self._forks):
            await self.changes()

    @trio.lowlevel.enable_ki_protection
    def fork(self, spec: Spec, launch: object) -> Place:
        """Start one more child of the last child of the root.

        Raises:
            ValueError: the name is taken.
            trio.ClosedResourceError: it does not run just now, or the tree is stopping.
        """
        if self._forks.phase is not Phase.UP:
            text = "what is forked is stopped just now, with the siblings of one that failed"
            if not may_return(self._forks):
                text = "the supervisor of forked workers is stopping"
            raise trio.ClosedResourceError(text)
        past = self._forks.children.get(spec.name)
        if past is not None and past.phase is Phase.DOWN:
            self.plan.delete(past)  # names are unique among the living
        place = self.plan.add(spec, self._forks)
        place.launch = launch
        self.plan.begin(place, trio.current_time())
        self._carry_out()
        return place

    @trio.lowlevel.enable_ki_protection
    def begin(self, place: Place) -> None:
        """Start a child that is down.

        Raises:
            ValueError: it is not down.
        """
        self.plan.begin(place, trio.current_time())
        self._carry_out()

    @trio.lowlevel.enable_ki_protection
    def end(self, place: Place) -> None:
        """Stop a child by hand."""
        self.plan.end(place, trio.current_time())
        self._carry_out()

    @trio.lowlevel.enable_ki_protection
    def delete(self, place: Place) -> None:
        """Forget a child that is down.

        Raises:
            ValueError: it is not down.
        """
        self.plan.delete(place)
        self._carry_out()

    async def carry_out(self, job: Job) -> None:
        """Have a job done, in its turn, and wait until it is known what came of it.

        Cancellation:
            What was begun goes on.
        """
        self._add(job)
        try:
            while job.outcome is None:
                await self.changes()
        except BaseException:
            self._cancel(job)
            raise

    @trio.lowlevel.enable_ki_protection
    def _add(self, job: Job) -> None:
        self.rollouts.add(job)
        self._carry_out()

    @trio.lowlevel.enable_ki_protection
    def _cancel(self, job: Job) -> None:
        self.rollouts.cancel(job)
        self._carry_out()

    # ---- what is known --------------------------------------------------------------------

    async def changes(self) -> None:
        """Wait until something has changed."""
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()

    def may_return(self, name: str) -> bool:
        """Whether who has that name runs, or will again without being asked to."""
        place = self.plan.places.get(name)
        return place is not None and (place.phase is Phase.STOPPING or may_return(place))

    def is_idle(self) -> bool:
        """Whether nothing runs, and nothing is going to."""
        if self.plan.root.active or self.plan.besides:
            return False
        groups = [place for place in self.plan.places.values() if place.is_group]
        return all(place.phase in (Phase.DOWN, Phase.UP) for place in (*groups, self._forks))

    # ---- carrying out ---------------------------------------------------------------------

    def _carry_out(self) -> None:
        if self._is_busy:
            return  # what we do has led back here: the loop below sees what follows
        plan, rollouts = self.plan, self.rollouts
        if plan.actions or rollouts.is_used:
            self._is_busy = True
            try:
                while actions := plan.take() if plan.actions else self._rolled():
                    for action in actions:
                        self._do(action)
            finally:
                self._is_busy = False
        self._lives.look_again()
        if self._changed is not None:
            self._changed.set()
            self._changed = None
        if plan.timers or rollouts.is_used:
            deadline = self._deadline()
            if deadline < self._wakes_at:
                self._wakes_at = self._sleep.deadline = deadline

    def _rolled(self) -> list[Action]:
        """Give what a rollout wants done next, when nothing else is to be done."""
        if self.rollouts.has_work:
            self.rollouts.proceed(self.now())
        return self.plan.take()

    def _do(self, action: Action) -> None:
        if isinstance(action, Start):
            if action.place.phase is _STARTING:  # else it was told to stop since
                self._lives.begin(action.place)
        elif isinstance(action, Restarting):
            self._tell_restart(action)
        else:
            self._do_rarer(action)

    def _do_rarer(self, action: Action) -> None:
        match action:
            case Stop(place):
                self._lives.end(place)
            case GaveUp(place, death):
                self._tell_gave_up(place, death)
            case Finished(outcome):
                self.outcome = outcome
                self.settled.set()
                self._on_end(outcome)
            case Up(place) if place.parent is None:
                self.settled.set()
            case Up() | Down():
                pass
            case _:
                self._do_rollout(action)

    def _do_rollout(self, action: Action) -> None:
        lives = self._lives
        match action:
            case Renew(place):
                lives.renew(place)
            case Switch(place):
                lives.switch(place)
            case Adopt(place):
                lives.adopt(place)
            case Drop(place):
                lives.drop(place)
            case Prepare(patience):
                lives.prepare(patience)
            case Commit():
                lives.commit()
            case Revert():
                lives.revert()
            case Settled(job):
                self._tell_recycled(job)

    def _tell_recycled(self, job: Job) -> None:
        """What came of a recycling; who asked for anything else hears of it otherwise."""
        if not isinstance(job, Reload) or job.due is None:
            return
        name = job.due.name
        if job.failure is None:
            log.info("%s: replaced, %s", name, job.why)
            return
        worker, status = job.failure.status
        log.warning("%s: to be replaced, %s, but its successor failed: %s", name, job.why, status)
        text = f"{name}: the successor failed: {status}"
        error = ReloadAborted(text, worker=worker, status=status)
        self._lives.tell(worker, events.Error, {"error": error})

    def _tell_restart(self, action: Restarting) -> None:
        name, (worker, status) = action.place.name, action.status
        n = action.attempt
        more = {"name": name, "status": status, "delay": action.delay, "attempt": n}
        self._lives.tell(worker, events.Restart, more)
        if n <= _LOGGED or n & (n - 1) == 0:
            left_out = "" if n <= _LOGGED else ", since the last such line it was not logged"
            log.warning(
                "%s: %s; restart in %.3g s, number %d in a row%s",
                name,
                status,
                action.delay,
                n,
                left_out,
            )

    def _tell_gave_up(self, place: Place, death: Any) -> None:
        worker, status = death
        self._lives.tell(worker, events.GaveUp, {"name": place.name, "status": status})
        log.error("%s: %s; given up", place.name, status)
