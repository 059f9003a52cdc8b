"""What is run twice: a tree and a script, for our plan as specs, for Erlang as terms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, TypeAlias

import attrs

from actorcluster._cluster.restarts import Backoff
from actorcluster._cluster.tree import AutoShutdown, Child, Restart, Strategy, Supervisor

__all__ = [
    "Actor",
    "Add",
    "ByHand",
    "Exit",
    "Fail",
    "Group",
    "Manners",
    "Pass",
    "Reason",
    "Scenario",
    "Shutdown",
    "Start",
    "Step",
    "Stop",
    "Tree",
    "full_name",
    "group_of",
    "parent_of",
    "spec_of",
    "term_of",
]

Manners: TypeAlias = Literal["plain", "polite", "stubborn"]
"""What a child does when it is told to stop: dies of that, ends by itself, or nothing."""

Shutdown: TypeAlias = int | Literal["brutal_kill", "infinity"]
"""How long a child may take for that, in milliseconds."""

Reason: TypeAlias = Literal["normal", "shutdown", "boom", "killed"]
Wish: TypeAlias = Literal["terminate_child", "restart_child", "delete_child"]


@attrs.frozen
class Actor:
    """A child; its ``backoff`` is in seconds, and unknown to Erlang."""

    name: str
    restart: Restart = "permanent"
    significant: bool = False
    shutdown: Shutdown = 5000
    manners: Manners = "plain"
    backoff: float = 0.0


@attrs.frozen
class Group:
    """A supervisor; a ``shutdown`` other than ``"infinity"`` is unknown to ours."""

    name: str
    strategy: Strategy = "one_for_one"
    intensity: int = 3
    period: int = 1000
    auto: AutoShutdown = "never"
    shutdown: int | Literal["infinity"] = "infinity"
    children: tuple[Tree, ...] = ()


Tree: TypeAlias = Actor | Group


@attrs.frozen
class Start:
    """Start the tree."""


@attrs.frozen
class Stop:
    """Stop the tree."""


@attrs.frozen
class Exit:
    """A child ends by itself."""

    name: str
    reason: Reason


@attrs.frozen
class Fail:
    """The next starts of a child will fail, because it ends before it is ready."""

    name: str
    times: int
    reason: Reason = "boom"


@attrs.frozen
class ByHand:
    """Somebody asks the supervisor of a child for something."""

    wish: Wish
    name: str


@attrs.frozen
class Add:
    """Somebody has a supervisor start a child that is not in its spec."""

    parent: str
    child: Tree

    @property
    def name(self) -> str:
        """The child's full name."""
        return full_name(self.parent, self.child)


@attrs.frozen
class Pass:
    """Time passes."""

    seconds: float


Step: TypeAlias = Start | Stop | Exit | Fail | ByHand | Add | Pass


@attrs.frozen
class Scenario:
    """One seed's tree and script."""

    seed: int
    tree: Group
    steps: tuple[Step, ...]
    specs: dict[str, Tree] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        specs = {"root": self.tree, **dict(_walk("root", self.tree))}
        for step in self.steps:
            if isinstance(step, Add):
                specs[step.name] = step.child
                specs.update(_walk(step.name, step.child))
        object.__setattr__(self, "specs", specs)

    def clock(self) -> list[float]:
        """What time it is after each step, if only the script lets time pass."""
        now, times = 0.0, []
        for step in self.steps:
            now += step.seconds if isinstance(step, Pass) else 0.0
            times.append(now)
        return times

    def term(self) -> str:
        """For `otp.escript`, and to be read where something is wrong."""
        clock = [0.0, *self.clock()]
        steps = []
        for step, before, now in zip(self.steps, clock, clock[1:], strict=False):
            whole = math.floor(now) - math.floor(before)
            steps.append(_step_term(step, whole))
        script = ",\n  ".join(steps)
        return f"{{scenario, {self.seed},\n {term_of(self.tree)},\n [{script}]}}.\n"


def parent_of(name: str) -> str:
    """The full name of a child's supervisor."""
    return name.rpartition(".")[0] or "root"


def full_name(parent: str, child: Tree) -> str:
    """The full name of a child; the root's is not part of it."""
    return child.name if parent == "root" else f"{parent}.{child.name}"


def _walk(name: str, tree: Tree) -> Iterator[tuple[str, Tree]]:
    for child in tree.children if isinstance(tree, Group) else ():
        full = full_name(name, child)
        yield full, child
        yield from _walk(full, child)


# ---- for our plan -----------------------------------------------------------------------------


def spec_of(tree: Tree) -> Child | Supervisor:
    """The same in our words."""
    if isinstance(tree, Group):
        return group_of(tree)
    seconds: float | Literal["brutal_kill"]
    if tree.shutdown == "brutal_kill":
        seconds = "brutal_kill"
    else:
        seconds = math.inf if tree.shutdown == "infinity" else tree.shutdown / 1000
    return Child(
        tree.name,
        "tests:nobody",
        restart=tree.restart,
        significant=tree.significant,
        shutdown=seconds,
        backoff=Backoff(min=tree.backoff, max=tree.backoff, jitter=0),
    )


def group_of(tree: Group) -> Supervisor:
    """The same in our words."""
    return Supervisor(
        tree.name,
        strategy=tree.strategy,
        max_restarts=tree.intensity,
        within=tree.period,
        auto_shutdown=tree.auto,
        children=tuple(map(spec_of, tree.children)),
    )


# ---- for Erlang -------------------------------------------------------------------------------


def term_of(tree: Tree) -> str:
    """The same in Erlang's words."""
    match tree:
        case Actor(name, restart, significant, shutdown, manners):
            flag = str(significant).lower()
            return f'{{actor,"{name}",{restart},{flag},{shutdown},{manners}}}'
        case Group(name, strategy, intensity, period, auto, shutdown, children):
            inside = ",".join(map(term_of, children))
            rules = f"{strategy},{intensity},{period},{auto},{shutdown}"
            return f'{{group,"{name}",{rules},[{inside}]}}'


def _step_term(step: Step, whole_seconds: int) -> str:
    match step:
        case Start():
            return "start"
        case Stop():
            return "stop"
        case Exit(name, reason):
            return f'{{exit,"{name}",{reason}}}'
        case Fail(name, times, reason):
            return f'{{fail,"{name}",{times},{reason}}}'
        case ByHand(wish, name):
            own = name.rpartition(".")[2]
            return f'{{by_hand,{wish},"{parent_of(name)}","{own}"}}'
        case Add(parent, child):
            return f'{{add,"{parent}",{term_of(child)}}}'
        case Pass():
            return f"{{pass,{whole_seconds}}}"
