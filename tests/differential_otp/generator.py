"""Scenarios from seeds: trees that hold for a while, scripts that get them into trouble."""

from __future__ import annotations

import random
from typing import Final

from actorcluster._cluster.tree import AutoShutdown, Restart, Strategy

from .scenarios import (
    Actor,
    Add,
    ByHand,
    Exit,
    Fail,
    Group,
    Manners,
    Pass,
    Reason,
    Scenario,
    Shutdown,
    Start,
    Step,
    Stop,
    Tree,
    full_name,
    parent_of,
)

__all__ = ["scenario_of"]

_DEEPEST: Final = 3
_LONG: Final = 5000.0
"""Seconds after which every restart is forgotten, whatever the period."""

_REASONS: Final[tuple[Reason, ...]] = ("boom", "killed", "normal", "shutdown")
_STRATEGIES: Final[tuple[Strategy, ...]] = ("one_for_one", "one_for_all", "rest_for_one")
_AUTOS: Final[tuple[AutoShutdown, ...]] = ("any_significant", "all_significant")
_RESTARTS: Final[tuple[Restart, ...]] = ("permanent", "transient", "temporary")
_MANNERS: Final[tuple[Manners, ...]] = ("plain", "polite", "stubborn")
_SHUTDOWNS: Final[tuple[Shutdown, ...]] = (5000, "infinity", "brutal_kill")


def scenario_of(seed: int) -> Scenario:
    """Make the scenario of a seed."""
    maker = _Maker(random.Random(seed))
    kinds = (maker.anything, maker.inside_a_group, maker.edge, maker.delays, maker.short_stop)
    (kind,) = maker.random.choices(kinds, (60, 28, 4, 4, 4))
    tree, steps = kind()
    return Scenario(seed, tree, (*steps, Stop()))


class _Maker:
    """Makes one scenario."""

    def __init__(self, chance: random.Random) -> None:
        self.random = chance
        self.room = 12

    def likely(self, probability: float) -> bool:
        return self.random.random() < probability

    # ---- kinds of scenarios ---------------------------------------------------------------

    def anything(self) -> tuple[Group, list[Step]]:
        """Any tree, and anything may happen to it."""
        tree = self.group("root", 1)
        script = _Script(self, tree)
        if self.likely(0.08):
            script.fail(script.actor())
        script.steps.append(Start())
        for _ in range(self.random.randint(4, 12)):
            script.trouble()
        return tree, script.steps

    def inside_a_group(self) -> tuple[Group, list[Step]]:
        """Somebody meddles with the children of a supervisor, which then starts anew."""
        inner = self.group("s1", 2)
        siblings = tuple(self.actor(name, "never") for name in "ab"[: self.random.randint(0, 2)])
        children: list[Tree] = [inner, *siblings]
        self.random.shuffle(children)
        tree = Group("root", self.strategy(), children=tuple(children))
        script = _Script(self, tree)
        script.steps.append(Start())
        names = [name for name in script.names if parent_of(name) == "s1"]
        for _ in range(self.random.randint(1, 3)):
            script.meddle(self.random.choice(names), "s1")
        if self.likely(0.5):
            script.pound(self.random.choice([name for name in script.actors if "." in name]), 5)
        else:
            script.steps += [ByHand("terminate_child", "s1"), ByHand("restart_child", "s1")]
        for _ in range(self.random.randint(1, 6)):
            script.trouble()
        return tree, script.steps

    def edge(self) -> tuple[Group, list[Step]]:
        """One restart too many, or not: the first is as old as the window, or a little older."""
        period = self.random.randint(2, 20)
        intensity = self.random.randint(1, 3)
        tree = Group("root", self.strategy(), intensity, period, children=(Actor("a"), Actor("b")))
        first = self.random.choice((0.0, 0.25, 0.5))
        later = self.random.choice((0.0, 0.25, 0.5, 0.75, 1.0))
        steps: list[Step] = [Start(), Pass(first), Exit("a", "boom")]
        steps += [Pass(period - 0.5), *[Exit("b", "boom")] * (intensity - 1)]
        steps += [Pass(0.5 + later), Exit("a", "killed"), Exit("b", "boom")]
        return tree, steps

    def delays(self) -> tuple[Group, list[Step]]:
        """Starts fail that ours does not try again before its window has moved on."""
        period = self.random.randint(1, 5)
        intensity = self.random.randint(0, 2)
        slow = Actor("a", backoff=period + 1.0)
        tree = Group("root", self.strategy(), intensity, period, children=(slow, Actor("b")))
        times = self.random.randint(1, 4)
        return tree, [Start(), Fail("a", times), Exit("a", "boom")]

    def short_stop(self) -> tuple[Group, list[Step]]:
        """A supervisor with less time to stop than its child takes."""
        inner = Group("s1", shutdown=1, children=(Actor("a", manners="stubborn"),))
        tree = Group("root", self.strategy(), children=(Actor("b"), inner, Actor("c")))
        steps: list[Step] = [Start(), Exit(self.random.choice("bc"), "boom")]
        if self.likely(0.7):
            steps += [ByHand("terminate_child", "s1"), Exit("b", "boom")]
        return tree, steps

    # ---- trees ----------------------------------------------------------------------------

    def strategy(self) -> Strategy:
        return self.random.choice(_STRATEGIES)

    def group(self, name: str, depth: int) -> Group:
        auto: AutoShutdown = "never"
        if self.likely(0.15 if depth == 1 else 0.45):
            auto = self.random.choice(_AUTOS)
        (intensity,) = self.random.choices(range(4), (1, 2, 4, 6) if depth == 1 else (2, 3, 3, 2))
        children = tuple(
            self.child(index, depth, auto) for index in range(self.random.randint(1, 4))
        )
        return Group(name, self.strategy(), intensity, auto=auto, children=children)

    def child(self, index: int, depth: int, auto: AutoShutdown) -> Tree:
        self.room -= 1
        if depth < _DEEPEST and self.room > 0 and self.likely(0.35):
            return self.group(f"s{index}", depth + 1)
        return self.actor("abcd"[index], auto)

    def actor(self, name: str, auto: AutoShutdown) -> Actor:
        (restart,) = self.random.choices(_RESTARTS, (5, 3, 2))
        (manners,) = self.random.choices(_MANNERS, (16, 2, 1))
        (shutdown,) = self.random.choices(_SHUTDOWNS, (6, 2, 2))
        if manners == "stubborn" and shutdown != "brutal_kill":
            shutdown = 1
        is_significant = auto != "never" and restart != "permanent" and self.likely(0.6)
        return Actor(name, restart, is_significant, shutdown, manners)


class _Script:
    """A script that is being written."""

    def __init__(self, maker: _Maker, tree: Group) -> None:
        self.maker = maker
        self.random = maker.random
        self.tree = tree
        self.steps: list[Step] = []
        self.specs = dict(Scenario(0, tree, ()).specs)
        self.touched: list[str] = []

    @property
    def names(self) -> list[str]:
        """All that may run in the tree, or may have run."""
        return [name for name in self.specs if name != "root"]

    @property
    def actors(self) -> list[str]:
        return [name for name in self.names if isinstance(self.specs[name], Actor)]

    def actor(self) -> str:
        return self.random.choice(self.actors)

    def trouble(self) -> None:
        """Write a few steps."""
        actions = (self.exit, self.pounding, self.failure, self.by_hand, self.add, self.time)
        (action,) = self.random.choices(actions, (40, 8, 12, 28, 8, 4))
        action()

    def exit(self) -> None:
        (reason,) = self.random.choices(_REASONS, (4, 2, 3, 1))
        self.steps.append(Exit(self.actor(), reason))

    def pounding(self) -> None:
        self.pound(self.actor(), self.random.randint(2, 4))

    def pound(self, name: str, times: int) -> None:
        """End the same child again and again."""
        self.steps += [Exit(name, "boom")] * times

    def failure(self) -> None:
        """Let the next starts of a child fail, and see to it that there is one."""
        name = self.actor()
        self.fail(name)
        if self.maker.likely(0.8):
            self.steps.append(Exit(self.actor() if self.maker.likely(0.3) else name, "boom"))

    def fail(self, name: str) -> None:
        (times,) = self.random.choices((1, 2, 3), (6, 3, 1))
        self.steps.append(Fail(name, times, self.random.choice(_REASONS)))

    def by_hand(self) -> None:
        self.meddle(self.random.choice(self.names), None)

    def meddle(self, name: str, group: str | None) -> None:
        """Ask something of the supervisor of a child, or of another that was asked before."""
        (wish,) = self.random.choices(("stop", "restart", "delete", "add"), (10, 5, 4, 5))
        if wish == "add":
            self.add(group)
            return
        if wish != "stop" and self.touched and self.maker.likely(0.7):
            name = self.random.choice(self.touched)
        if wish != "restart":
            self.touched.append(name)
            self.steps.append(ByHand("terminate_child", name))
        if wish == "restart":
            if isinstance(self.specs[name], Actor) and self.maker.likely(0.3):
                self.steps.append(Fail(name, 1))
            self.steps.append(ByHand("restart_child", name))
        elif wish == "delete":
            self.steps.append(ByHand("delete_child", name))

    def add(self, group: str | None = None) -> None:
        """Start a child that is not in the tree, or one that was added before once more."""
        groups = [name for name, spec in self.specs.items() if isinstance(spec, Group)]
        parent = group or self.random.choice(groups)
        added = [step for step in self.steps if isinstance(step, Add)]
        if added and self.maker.likely(0.3):
            self.steps.append(self.random.choice(added))
            return
        child: Tree
        if self.maker.likely(0.2):
            child = self.maker.group("s9", _DEEPEST)
        else:
            child = self.maker.actor(self.random.choice("xyz"), self._auto(parent))
        name = full_name(parent, child)
        step = Add(parent, self.specs.get(name, child))
        if isinstance(child, Actor) and self.maker.likely(0.2):
            self.steps += [Fail(name, 1), step]
        self.steps.append(step)
        self.specs.update(Scenario(0, self.tree, (step,)).specs)

    def _auto(self, name: str) -> AutoShutdown:
        group = self.specs[name]
        assert isinstance(group, Group)
        return group.auto

    def time(self) -> None:
        """So much that everything is forgotten, or nothing."""
        self.steps.append(Pass(self.random.choice((1.0, _LONG))))
