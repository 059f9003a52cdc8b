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
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from actorcluster._cluster.places import (
    Action,
    Down,
    Finished,
    GaveUp,
    Outcome,
    Phase,
    Place,
    Restarting,
    Start,
    Stop,
    Up,
)
from actorcluster._cluster.plan import Plan
from actorcluster._cluster.tree import Supervisor

__all__ = ["Simulation"]


class Simulation:
    """Carries out what a plan decides, at once unless told otherwise.

    Args:
        spec: the tree.
        chance: as for `Plan`; nothing is added to delays by default.
        slow_to_start: names that are ready only when `ready` says so.
        slow_to_stop: names that are gone only when `gone` says so.

    Attributes:
        now: the time; nothing but `advance` and `pass_time` changes it.
        log: see above.
        failing: by name, how many of its next starts fail.
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
        self.now = 0.0
        self.log: list[str] = []
        self.failing: dict[str, int] = {}
        self.slow_to_start = set(slow_to_start)
        self.slow_to_stop = set(slow_to_stop)
        self.outcome: Outcome | None = None
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
        self.plan.up(self.place(name), self.now)
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

    def advance(self, seconds: float) -> list[str]:
        """Let time pass."""
        begin = len(self.log)
        until = self.now + seconds
        while self.plan.deadline() <= until:
            self.now = max(self.now, self.plan.deadline())
            self.plan.tick(self.now)
            self.settle()
        self.now = until
        return self.log[begin:]

    def pass_time(self) -> list[str]:
        """Let time pass until nothing waits for it any more."""
        begin = len(self.log)
        while self.plan.deadline() < float("inf"):
            self.now = max(self.now, self.plan.deadline())
            self.plan.tick(self.now)
            self.settle()
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
        self._todo.extend(self.plan.take())
        while self._todo:
            self._carry_out(self._todo.popleft())
            self._todo.extend(self.plan.take())
        return self.log[begin:]

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

    def _start(self, place: Place) -> None:
        if place.phase is not Phase.STARTING:
            return  # told to stop before it came to that
        if self.failing.get(place.name, 0):
            self.failing[place.name] -= 1
            self.log.append(f"fail {place.name}")
            self.plan.ended(place, "exit", (place.name, "exit"), self.now)
        elif place.name not in self.slow_to_start:
            self.plan.up(place, self.now)
