"""Where our supervision means to differ from Erlang's, as data; anything else is a fault.

Each difference has an entry of its name in docs/explanation/supervision.md. Its judge looks at the
first events that are not equal and at what led to them, and decides whether they are just this
difference. If so, what follows is compared without the child that only one side runs, or no more,
because from there on both sides decide about different trees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import attrs

from .model import Books
from .scenarios import Actor, Add, ByHand, Exit, Group, Scenario, Step, parent_of

__all__ = ["DIFFERENCES", "Cut", "Difference", "Forget", "Past", "Point", "Verdict"]


@attrs.frozen
class Forget:
    """Go on without the events of one child, or of all of a supervisor.

    Attributes:
        name: whose.
        and_reply: this step's answers are not compared either.
    """

    name: str
    and_reply: bool = False


@attrs.frozen
class Cut:
    """Go on with the next scenario: from here on the trees differ in more than one child."""


Verdict: TypeAlias = Forget | Cut


@attrs.frozen
class Past:
    """An event on which both sides agreed, or which was forgiven.

    Attributes:
        when: by the script's clock.
        index: of the step.
        step: in which it happened.
        event: of Erlang's log.
    """

    when: float
    index: int
    step: Step
    event: str


@attrs.frozen
class Point:
    """Where the logs part.

    Attributes:
        scenario: whose logs these are.
        index: of the step.
        step: the step.
        now: by the script's clock.
        books: before the step.
        past: all before.
        otp: the first event that is not the same, or nothing.
        ours: the same.
    """

    scenario: Scenario
    index: int
    step: Step
    now: float
    books: Books
    past: list[Past]
    otp: str
    ours: str

    def is_up(self, group: str) -> bool:
        """Whether a supervisor has started, and not ended since, by Erlang's log."""
        states = (("up", group), ("down", group))
        words = (tuple(past.event.split()[:2]) for past in reversed(self.past))
        return next((state for state in words if state in states), states[1]) == states[0]

    def group(self, name: str) -> Group:
        """The supervisor of that name."""
        group = self.scenario.specs[name]
        assert isinstance(group, Group)
        return group

    def has_failed_in(self, group: str) -> bool:
        """Whether this step made a child of this supervisor fail, or a start of one."""
        words = (past.event.split() for past in self.past if past.index == self.index)
        return any(word[0] in ("fail", "failed") and parent_of(word[1]) == group for word in words)

    def is_asked_for(self, name: str) -> bool:
        """Whether this step is about this child."""
        return isinstance(self.step, ByHand) and self.step.name == name

    def has_ended_since_added(self) -> bool:
        """Whether the supervisor of this step's child has, since the child was added."""
        assert isinstance(self.step, (Add, ByHand))
        name = self.step.name
        adds = [isinstance(past.step, Add) and past.step.name == name for past in self.past]
        since = len(adds) - adds[::-1].index(True) if any(adds) else 0
        words = (past.event.split()[:2] for past in self.past[since:])
        return ["down", parent_of(name)] in words

    def last(self) -> str:
        """The event before this point."""
        return self.past[-1].event if self.past else ""


@attrs.frozen
class Difference:
    """An allowed difference.

    Attributes:
        id: the name of its entry in the docs.
        text: what Erlang does; what ours does.
        judge: whether this is it.
    """

    id: str
    text: str
    judge: Callable[[Point], Verdict | None]


def _started(at: Point, event: str, names: frozenset[str]) -> list[str]:
    """Who of some names is being started, the outermost first, but whom the script starts."""
    match event.split():
        case ["start" | "up", full]:
            parts = full.split(".")
            chain = (".".join(parts[: length + 1]) for length in range(len(parts)))
            return [name for name in chain if name in names and not at.is_asked_for(name)]
    return []


def _with_its_group(at: Point, event: str, names: frozenset[str]) -> Forget | None:
    """One of some names that is started because its supervisor is."""
    started = _started(at, event, names)
    return next((Forget(name) for name in started if not at.is_up(parent_of(name))), None)


# ---- the judges -----------------------------------------------------------------------------


def _hand_stopped_siblings(at: Point) -> Verdict | None:
    for name in _started(at, at.otp, at.books.stopped):
        group = parent_of(name)
        if at.is_up(group) and at.has_failed_in(group):
            return Forget(name) if at.group(group).strategy != "one_for_one" else None
    return None


def _hand_stopped_stay_stopped(at: Point) -> Verdict | None:
    return _with_its_group(at, at.otp, at.books.stopped)


def _deleted_stay_deleted(at: Point) -> Verdict | None:
    return _with_its_group(at, at.otp, at.books.deleted)


def _dynamic_children_survive(at: Point) -> Verdict | None:
    if isinstance(at.step, (Add, ByHand)) and "reply" in (at.otp[:5], at.ours[:5]):
        # It was stopped by hand when its supervisor ended: only now somebody asks for it.
        is_unknown = at.otp == "reply not_found" or at.ours == "reply taken"
        was_lost = at.step.name in at.books.added & at.books.stopped and at.has_ended_since_added()
        return Forget(at.step.name, and_reply=True) if is_unknown and was_lost else None
    return _with_its_group(at, at.ours, at.books.added)


def _give_up_is_failure(at: Point) -> Verdict | None:
    match at.ours.split():
        case ["failed", name, "shutdown"] if isinstance(at.scenario.specs[name], Group):
            gave_up = any(past.event == f"gave-up {name}" for past in at.past)
            is_transient = at.group(name).auto != "never"
            if gave_up and is_transient and at.last() == f"down {name} shutdown":
                return Cut()
    return None


def _temporary_specs_stay(at: Point) -> Verdict | None:
    if not isinstance(at.step, ByHand) or at.otp != "reply not_found":
        return None
    spec, added = at.scenario.specs[at.step.name], at.books.added
    is_temporary = isinstance(spec, Actor) and spec.restart == "temporary"
    if not is_temporary or at.step.name in added:
        return None
    return Forget(at.step.name, and_reply=True)


def _failed_restart_retry(at: Point) -> Verdict | None:
    match at.otp.split(), at.last().split(), at.ours.split():
        case ["gave-up", group], ["fail", name], ["start", again] if name == again:
            actor, rules = at.scenario.specs[name], at.group(group)
            assert isinstance(actor, Actor)
            return Cut() if actor.backoff * rules.intensity > rules.period else None
    return None


def _whole_second_window(at: Point) -> Verdict | None:
    match at.otp.split():
        case ["gave-up", name]:
            rules = at.group(name)
            times = list(_restarts(at, name))
            now = math.floor(at.now)
            whole = sum(now - math.floor(when) <= rules.period for when in times)
            exact = sum(at.now - when <= rules.period for when in times)
            return Cut() if exact <= rules.intensity < whole else None
    return None


def _restarts(at: Point, group: str) -> Iterator[float]:
    """When a supervisor that has never been down itself restarted children, or tried again to."""
    for past in at.past:
        match past.event.split():
            case ["failed", name, _] if parent_of(name) == group:
                yield past.when
            case ["fail", name] if parent_of(name) == group and isinstance(past.step, Exit):
                yield past.when


def _supervisor_finite_shutdown(at: Point) -> Verdict | None:
    match at.otp.split():
        case ["down", name, "killed"] if at.group(name).shutdown != "infinity":
            return Forget(name)
    return None


DIFFERENCES: Final = (
    Difference(
        "hand-stopped-siblings",
        "A child that somebody stopped, or whose start by hand failed: Erlang starts it again when"
        " a sibling's failure restarts it too (one_for_all, rest_for_one); ours leaves it down.",
        _hand_stopped_siblings,
    ),
    Difference(
        "hand-stopped-stay-stopped",
        "A child that somebody stopped: Erlang has forgotten that when its supervisor has been"
        " started again, ours has not.",
        _hand_stopped_stay_stopped,
    ),
    Difference(
        "deleted-stay-deleted",
        "A child of the tree that somebody deleted: Erlang has it again when its supervisor has"
        " been started again, ours has not.",
        _deleted_stay_deleted,
    ),
    Difference(
        "dynamic-children-survive",
        "A permanent or transient child that somebody added: Erlang forgets it with the end of its"
        " supervisor, ours starts it again with it.",
        _dynamic_children_survive,
    ),
    Difference(
        "temporary-specs-stay",
        "A temporary child of the tree that has ended: Erlang knows it no more, ours can start it"
        " again by hand.",
        _temporary_specs_stay,
    ),
    Difference(
        "give-up-is-failure",
        "A supervisor with auto-shutdown that has given up: for Erlang it ended well, which a"
        " transient child may; for ours it failed, and its supervisor restarts it or gives up.",
        _give_up_is_failure,
    ),
    Difference(
        "failed-restart-retry",
        "A restart whose start fails: Erlang tries again at once until that is too often, ours"
        " waits in between, so that the window moves on.",
        _failed_restart_retry,
    ),
    Difference(
        "whole-second-window",
        "A restart that is older than the window by less than a second: it may still count for"
        " Erlang, whose seconds are whole; not for ours.",
        _whole_second_window,
    ),
    Difference(
        "supervisor-finite-shutdown",
        "A supervisor that is to stop within a time: Erlang kills it then, and what it was stopping"
        " runs on; ours has the time of all its children.",
        _supervisor_finite_shutdown,
    ),
)
