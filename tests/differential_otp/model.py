"""A scenario run by our plan: all that it wants is done at once, in virtual time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from actorcluster._cluster.places import (
    Action,
    Down,
    Finished,
    GaveUp,
    Group,
    Phase,
    Place,
    Restarting,
    Start,
    Stop,
    Up,
)
from actorcluster._cluster.plan import Plan

from . import scenarios
from .scenarios import Actor, Add, ByHand, Exit, Fail, Pass, Scenario, Step

__all__ = ["Books", "Run", "run_model"]

#: What the script does to a child, as the reason of an `ExitStatus`. Nobody told it to.
_REASONS: Final = {"normal": "normal", "shutdown": "shutdown", "boom": "error", "killed": "signal"}
#: Why a child ended whose start failed.
_FAILED: Final = "failed"
_TOO_OFTEN: Final = 1000


@attrs.frozen
class Books:
    """What somebody has done by hand so far, as far as it still holds.

    Attributes:
        stopped: stopped, or a start by hand failed.
        deleted: of those that the tree names.
        added: of those that it does not.
    """

    stopped: frozenset[str] = frozenset()
    deleted: frozenset[str] = frozenset()
    added: frozenset[str] = frozenset()


@attrs.frozen
class Run:
    """What happened, by steps.

    Attributes:
        events: of each step.
        books: before each step.
    """

    events: list[list[str]]
    books: list[Books]


def run_model(scenario: Scenario) -> Run:
    """Run a scenario."""
    model = _Model(scenario)
    events: list[list[str]] = []
    books: list[Books] = []
    for step in scenario.steps:
        books.append(Books(*map(frozenset, (model.stopped, model.deleted, model.added))))
        events.append(list(model.step(step)))
    return Run(events, books)


class _Model:
    """Carries out a plan, and a script upon it."""

    def __init__(self, scenario: Scenario) -> None:
        self.specs = scenario.specs
        self.plan = Plan(scenarios.group_of(scenario.tree), lambda: 0.0)
        self.now = 0.0
        self.failing: dict[str, Fail] = {}
        self.is_over = False
        self.stopped: set[str] = set()
        self.deleted: set[str] = set()
        self.added: set[str] = set()

    def step(self, step: Step) -> Iterator[str]:
        """Do one step and all that follows from it."""
        if self.is_over:
            return
        for event in self._script(step):
            self._note(event)
            yield event

    def _note(self, event: str) -> None:
        match event.split():
            case ["start" | "up", name]:
                self.stopped.discard(name)

    # ---- the script -----------------------------------------------------------------------

    def _script(self, step: Step) -> Iterator[str]:
        match step:
            case scenarios.Start():
                self.plan.start(self.now)
            case scenarios.Stop():
                self.plan.stop(self.now)
            case Exit(name, reason):
                yield from self._exit(name, reason)
            case Fail():
                self.failing[step.name] = step
            case ByHand() | Add():
                yield from self._by_hand(step)
            case Pass(seconds):
                self.now += seconds
        yield from self._settle()
        for _ in range(_TOO_OFTEN):
            if self.plan.deadline() == float("inf"):
                return
            self.now = max(self.now, self.plan.deadline())
            self.plan.tick(self.now)
            yield from self._settle()
        raise AssertionError("it never comes to rest")

    def _exit(self, name: str, reason: str) -> Iterator[str]:
        place = self.plan.places.get(name)
        if place is None or place.phase is not Phase.UP or isinstance(place, Group):
            yield "reply nobody"
            return
        yield f"exit {name} {reason}"
        self.plan.ended(place, _REASONS[reason], (name, reason), self.now)

    def _by_hand(self, step: ByHand | Add) -> Iterator[str]:
        parent = scenarios.parent_of(step.name)
        group = self.plan.root if parent == "root" else self.plan.places.get(parent)
        if not isinstance(group, Group) or group.phase is not Phase.UP:
            yield "reply noproc"
        elif isinstance(step, Add):
            yield from self._add(step, group)
        elif step.name not in self.plan.places:
            yield "reply not_found"
        else:
            yield from self._wish(step, self.plan.places[step.name])

    def _wish(self, step: ByHand, place: Place) -> Iterator[str]:
        if step.wish == "terminate_child":
            self.stopped.add(place.name)
            self.plan.end(place, self.now)
            yield from self._settle()
            yield "reply ok"
        elif place.phase is not Phase.DOWN:
            yield "reply running"
        elif step.wish == "restart_child":
            yield from self._begin(place)
        else:
            if not place.is_added:
                self.deleted.add(place.name)
            self.stopped.discard(place.name)
            self.plan.delete(place)
            yield "reply ok"

    def _add(self, step: Add, group: Group) -> Iterator[str]:
        if step.name in self.plan.places:
            yield "reply taken"
            return
        self.added.add(step.name)
        yield from self._begin(self.plan.add(scenarios.spec_of(step.child), group))

    def _begin(self, place: Place) -> Iterator[str]:
        self.plan.begin(place, self.now)
        yield from self._settle()
        if place.phase is Phase.UP:
            yield "reply ok"
        else:
            self.stopped.add(place.name)
            yield "reply failed"

    # ---- carrying out ---------------------------------------------------------------------

    def _settle(self) -> Iterator[str]:
        while actions := self.plan.take():
            for action in actions:
                yield from self._carry_out(action)

    def _carry_out(self, action: Action) -> Iterator[str]:
        match action:
            case Start(place):
                yield f"start {place.name}"
                yield from self._start(place)
            case Stop(place):
                reason = self._told(place.name)
                yield f"stop {place.name} {reason}"
                self.plan.ended(place, reason, (place.name, reason), self.now)
            case Up(group):
                yield f"up {group.name}"
            case Down(group):
                # None: it was told to end, for a sibling, and is already starting again.
                kind = group.outcome.kind if group.outcome is not None else "told"
                reason = "failed" if kind == "start_failed" else "shutdown"
                yield f"down {group.name} {reason}"
            case Restarting(place, status):
                yield from _failed(place, status)
            case GaveUp(Group(outcome=outcome) as group, status):
                assert outcome is not None
                assert outcome.place is not None
                yield from _failed(outcome.place, status)
                yield f"gave-up {group.name}"
            case Finished():
                self.is_over = True

    def _start(self, place: Place) -> Iterator[str]:
        fail = self.failing.get(place.name)
        if fail is not None and fail.times:
            self.failing[place.name] = attrs.evolve(fail, times=fail.times - 1)
            yield f"fail {place.name}"
            reason = _REASONS[fail.reason]
            self.plan.ended(place, reason, (place.name, _FAILED), self.now)
        else:
            self.plan.up(place, self.now)

    def _told(self, name: str) -> str:
        actor = self.specs[name]
        assert isinstance(actor, Actor)
        if actor.shutdown == "brutal_kill" or actor.manners == "stubborn":
            return "killed"
        return "normal" if actor.manners == "polite" else "shutdown"


def _failed(place: Place, status: tuple[str, str]) -> Iterator[str]:
    """What a supervisor says of an end; that a start failed has been said."""
    if isinstance(place, Group):
        assert place.outcome is not None
        if place.outcome.kind == "exhausted":
            yield f"failed {place.name} shutdown"
    elif status[1] != _FAILED:
        yield f"failed {place.name} {status[1]}"
