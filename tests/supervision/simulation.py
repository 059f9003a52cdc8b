"""A tree whose processes are lines in a log, in virtual time: what carries out a `Plan` in tests.

``log`` holds what happened, one line each::

    start NAME               it is to start
    up NAME                  a supervisor or pool is up (children: nothing goes without saying)
    fail NAME                its start failed
    exit NAME REASON         it ended by itself
    stop NAME                it is told to stop
    down NAME                a supervisor or pool is down
    restart NAME DELAY N     it will be started again, N failures in a row
    gave up NAME             it will not
    finished KIND [NAME]     the tree has ended, and because of whom
    prepare, commit, revert  what becomes of the new code
    renew NAME               a life is to start beside the present one
    switch NAME              that one is the life of this place now, the other one is to stop
    adopt NAME               the present life has ended, and that one is its restart
    drop NAME                that one is not wanted any more
    flop NAME                that one has failed
    job KIND [NAME]          what came of a reload, a recycling, a change of size
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from actorcluster._cluster.jobs import Job
from actorcluster._cluster.places import (
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
from actorcluster._cluster.plan import Plan
from actorcluster._cluster.rollout import Rollouts
from actorcluster._cluster.tree import Supervisor

__all__ = ["Simulation"]


class Simulation:
    """Carries out what a plan decides, at once unless told otherwise.

    Args:
        spec: the tree.
        chance: as for `Plan`; nothing is added to delays by default.
        slow_to_start: names that are ready only when `ready` says so.
        slow_to_stop: names that are gone only when `gone`, or for a life beside, `left` says so.

    Attributes:
        now: the time; nothing but `advance` and `pass_time` changes it.
        log: see above.
        failing: by name, how many of its next starts fail.
        asked: the job that was asked for last.
        is_slow_to_prepare: new code is there only when `prepared` says so.
        outcome: how the tree ended, once it has.
    """

    def __init__(
        self,
        spec: Supervisor,
        *,
        chance: Callable[[], float] = lambda: 0.0,
        slow_to_start: Iterable[str] = (),
        slow_to_stop: Iterable[str] = (),
    ) -> None:
        self.plan = Plan(spec, chance)
        self.rollouts = Rollouts(self.plan, chance)
        self.now = 0.0
        self.log: list[str] = []
        self.failing: dict[str, int] = {}
        self.slow_to_start = set(slow_to_start)
        self.slow_to_stop = set(slow_to_stop)
        self.outcome: Outcome | None = None
        self.is_slow_to_prepare = False
        self.asked: Job | None = None
        self._todo: deque[Action] = deque()

    # ---- what a test does -----------------------------------------------------------------

    def start(self) -> list[str]:
        """Start the tree; as all of these, gives what that led to without time passing."""
        self.plan.start(self.now)
        return self.settle()

    def stop(self) -> list[str]:
        """Stop the tree."""
        self.plan.stop(self.now)
        return self.settle()

    def exit(self, name: str, reason: str = "signal") -> list[str]:
        """Let a child that runs end by itself."""
        place = self.place(name)
        assert place.phase in (Phase.UP, Phase.STARTING, Phase.STOPPING), place
        self.log.append(f"exit {name} {reason}")
        self.plan.ended(place, reason, (name, reason), self.now)
        return self.settle()

    def ready(self, name: str) -> list[str]:
        """Let a start that takes time succeed."""
        self.rollouts.up(self.place(name), self.now)
        return self.settle()

    def fail(self, name: str, reason: str = "exit") -> list[str]:
        """Let a start that takes time fail."""
        self.log.append(f"fail {name}")
        self.plan.ended(self.place(name), reason, (name, reason), self.now)
        return self.settle()

    def gone(self, name: str, reason: str = "shutdown") -> list[str]:
        """Let a stop that takes time succeed."""
        assert self.place(name).phase is Phase.STOPPING
        self.plan.ended(self.place(name), reason, (name, reason), self.now)
        return self.settle()

    def ask(self, job: Job) -> list[str]:
        """Ask for a job."""
        self.rollouts.add(job)
        return self.settle()

    def recycle(self, name: str) -> list[str]:
        """Let a life have reached a limit."""
        self.rollouts.recycle(self.place(name), "max_rss", self.now)
        return self.settle()

    def prepared(self, error: Exception | None = None) -> list[str]:
        """Let new code that takes time be there, or never come."""
        self.rollouts.prepared(error)
        return self.settle()

    def succeed(self, name: str) -> list[str]:
        """Let a successor whose start takes time be ready."""
        self.rollouts.succeeded(self.place(name), self.now)
        return self.settle()

    def flop(self, name: str) -> list[str]:
        """Let a successor whose start takes time fail."""
        self._flop(self.place(name))
        return self.settle()

    def left(self, name: str) -> list[str]:
        """Let a life that was replaced, or dropped, and takes time end."""
        assert self.place(name).besides
        self.plan.gone(self.place(name), self.now)
        return self.settle()

    def advance(self, seconds: float) -> list[str]:
        """Let time pass."""
        begin = len(self.log)
        until = self.now + seconds
        while self.deadline() <= until:
            self._tick()
        self.now = until
        return self.log[begin:]

    def deadline(self) -> float:
        """When something is due."""
        return min(self.plan.deadline(), self.rollouts.deadline())

    def _tick(self) -> None:
        self.now = max(self.now, self.deadline())
        self.plan.tick(self.now)
        self.rollouts.tick(self.now)
        self.settle()

    def pass_time(self) -> list[str]:
        """Let time pass until nothing waits for it any more."""
        begin = len(self.log)
        while self.deadline() < float("inf"):
            self._tick()
        return self.log[begin:]

    # ---- what a test sees -----------------------------------------------------------------

    def place(self, name: str) -> Place:
        """Look up a place; ``root`` is the root."""
        return self.plan.root if name == "root" else self.plan.places[name]

    def running(self) -> list[str]:
        """Who is up, in the order of the tree."""
        return [
            name
            for name, place in self.plan.places.items()
            if place.phase is Phase.UP and not hasattr(place, "children")
        ]

    # ---- carrying out ---------------------------------------------------------------------

    def settle(self) -> list[str]:
        """Carry out everything that needs no time; gives the new lines of the log."""
        begin = len(self.log)
        while self._next_todo():
            self._carry_out(self._todo.popleft())
        return self.log[begin:]

    def _next_todo(self) -> bool:
        self._todo.extend(self.plan.take())
        if not self._todo:
            self.rollouts.proceed(self.now)
            self._todo.extend(self.plan.take())
        return bool(self._todo)

    def _carry_out(self, action: Action) -> None:
        match action:
            case Start(place):
                self.log.append(f"start {place.name}")
                self._start(place)
            case Stop(place):
                self.log.append(f"stop {place.name}")
                if place.name not in self.slow_to_stop:
                    self.plan.ended(place, "shutdown", (place.name, "shutdown"), self.now)
            case Up(place):
                self.log.append(f"up {place.name}")
            case Down(place):
                self.log.append(f"down {place.name}")
            case Restarting(place, _, delay, attempt):
                self.log.append(f"restart {place.name} {delay:g} {attempt}")
            case GaveUp(place, _):
                self.log.append(f"gave up {place.name}")
            case Finished(outcome):
                self.outcome = outcome
                because = f" {outcome.place.name}" if outcome.place is not None else ""
                self.log.append(f"finished {outcome.kind}{because}")
            case Settled(job):
                whose = None if job.failure is None else job.failure.place
                because = f" {whose.name}" if whose is not None else ""
                self.log.append(f"job {job.outcome}{because}")
            case _:
                self._carry_out_rollout(action)

    def _carry_out_rollout(self, action: Action) -> None:
        words = [type(action).__name__.lower()]
        if isinstance(action, (Adopt, Drop, Renew, Switch)):
            words.append(action.place.name)
        self.log.append(" ".join(words))
        match action:
            case Prepare(_):
                if not self.is_slow_to_prepare:
                    self.rollouts.prepared(None)
            case Renew(place):
                self._renew(place)
            case Switch(place) | Drop(place):
                if place.name not in self.slow_to_stop:
                    self.plan.gone(place, self.now)
            case Adopt():  # its start goes on; it takes time, or it would be over
                pass
            case Commit() | Revert():
                pass

    def _renew(self, place: Place) -> None:
        if self.failing.get(place.name, 0):
            self.failing[place.name] -= 1
            self._flop(place)
        elif place.name not in self.slow_to_start:
            self.rollouts.succeeded(place, self.now)

    def _flop(self, place: Place) -> None:
        self.log.append(f"flop {place.name}")
        self.rollouts.failed(place, (place.name, "exit"), self.now)

    def _start(self, place: Place) -> None:
        if place.phase is not Phase.STARTING:
            return  # told to stop before it came to that
        if self.failing.get(place.name, 0):
            self.failing[place.name] -= 1
            self.log.append(f"fail {place.name}")
            self.plan.ended(place, "exit", (place.name, "exit"), self.now)
        elif place.name not in self.slow_to_start:
            self.rollouts.up(place, self.now)
