"""Any tree, and anything that can happen to it, at any moment; and what holds whatever happens."""

from __future__ import annotations

import itertools
from typing import TypeVar

import attrs
import pytest
from hypothesis import Phase as Phases
from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from actorcluster._cluster.places import Group, Phase, Place
from actorcluster._cluster.restarts import Backoff
from actorcluster._cluster.tree import Child, Pool, RetryAfter, Spec, Supervisor
from tests.supervision.machine import (
    RARE,
    REACHED,
    RUNNING,
    STARTED,
    World,
    goes_on,
    groups,
    leaves,
)
from tests.supervision.rolling import RollingWorld, is_waited_for, look_beside

ThingT = TypeVar("ThingT")

# Powers of two: sums and differences of times are exact.
BACKOFFS = [
    Backoff(min=0.25, max=1, jitter=1, reset_after=4),
    Backoff(min=1, max=4, jitter=0, reset_after=2),
    Backoff(min=0, max=0),
    Backoff(min=2, max=2, jitter=1, reset_after=0),
]
KINDS = [
    {"restart": restart, "significant": significant, "backoff": backoff}
    for backoff in BACKOFFS
    for restart, significant in [
        ("permanent", False),
        ("permanent", False),
        ("transient", False),
        ("transient", True),
        ("temporary", True),
        ("temporary", False),
    ]
]
CHILDREN = [Child("x", "m:f", **kind) for kind in KINDS]  # type: ignore[arg-type]  # drawn from the words that there are
POOLS = [
    Pool("x", "m:f", **kind, **rules)  # type: ignore[arg-type]  # drawn from the words that there are
    for kind, rules in itertools.product(
        KINDS[:6],
        [
            {"count": 0},
            {"count": 1, "max_restarts": 0},
            {"count": 2, "max_restarts": 1, "within": 4, "on_exhausted": "park"},
            {"count": 3, "max_restarts": 1, "within": 1},
            {"count": 2, "max_restarts": 0, "on_exhausted": RetryAfter(2)},
        ],
    )
]
SUPERVISORS = [
    Supervisor(
        "x",
        strategy=strategy,  # type: ignore[arg-type]  # drawn from the words that there are
        max_restarts=max_restarts,
        within=within,
        on_exhausted=on_exhausted,  # type: ignore[arg-type]  # drawn from the words that there are
        auto_shutdown=auto_shutdown,  # type: ignore[arg-type]  # drawn from the words that there are
    )
    for strategy, max_restarts, within, on_exhausted, auto_shutdown in itertools.product(
        ["rest_for_one", "one_for_all", "one_for_one"],
        [1, 0, 3, 0],
        [2.0, 16.0],
        ["escalate", "park", RetryAfter(4)],
        ["any_significant", "all_significant", "never"],
    )
]
SMALL = Supervisor(
    "x",
    max_restarts=1,
    children=[attrs.evolve(CHILDREN[0], name="a"), attrs.evolve(CHILDREN[3], name="b")],
)
REASONS = "signal normal error shutdown killed exit protocol lost start_timeout".split()

EXAMPLES_AT_ONCE = 1000
UNSETTLED = (Phase.WAITING, Phase.STARTING)

indexes = st.integers(0, 60)
#: None: a supervisor.
kinds = st.sampled_from([*CHILDREN, *CHILDREN, *POOLS, *[None] * 12])


def named(name: str, kind: Child | Pool, rules: Spec) -> Child | Pool:
    """A child of its kind, as far as its supervisor may have one."""
    is_allowed = isinstance(rules, Supervisor) and rules.auto_shutdown != "never"
    return attrs.evolve(kind, name=name, significant=kind.significant and is_allowed)


@st.composite
def trees(draw: st.DrawFn, name: str = "root", levels: int | None = None) -> Supervisor:
    """A supervisor, three levels of them at most; where there is one alone, all happens there."""
    if levels is None:
        levels = draw(st.integers(0, 2))
    rules = draw(st.sampled_from(SUPERVISORS))
    children: list[Spec] = []
    for index, kind in enumerate(draw(st.lists(kinds, min_size=1, max_size=4))):
        if kind is not None:
            children.append(named(f"c{index}", kind, rules))
        elif levels:
            children.append(draw(trees(f"s{index}", levels - 1)))
    return attrs.evolve(rules, name=name, children=tuple(children))


# ---- what holds after each step ----------------------------------------------------------------


def look(world: World) -> None:
    """Whatever happened, this is so."""
    plan = world.plan
    timers = {(place, due) for due, _, place in plan.timers}
    for group in groups(plan.root):
        children = group.children.values()
        phases = [child.phase for child in children]
        assert group.alive == sum(phase in RUNNING for phase in phases), group
        assert group.unsettled == sum(phase in UNSETTLED for phase in phases), group
        assert group.phase in RUNNING or not group.alive, group
        for child in children:
            look_at_child(world, group, child, timers)
        if not group.at_once:
            look_at_order(world, group)
    look_beside(world)
    running = [
        place for place in leaves(plan.root) if place.phase in RUNNING and place.ending is None
    ]
    assert len(running) == len(world.lives), "a life outside the tree"
    if world.outcome is not None:
        assert not world.lives
        assert plan.deadline() == float("inf")
        assert all(place.phase is Phase.DOWN for place in plan.places.values())


def look_at_child(
    world: World, group: Group, child: Place, timers: set[tuple[Place, float]]
) -> None:
    if not isinstance(child, Group):
        life = world.lives.get(child)
        doing = life.phase.upper() if life is not None else None
        is_running = child.phase in RUNNING and child.ending is None
        assert doing == (child.phase.name if is_running else None), child
        assert child.ending is None or (child.phase is Phase.STOPPING and child.besides), child
    if child.phase is Phase.WAITING:
        assert group.phase in STARTED, child
        has_time = child in group.agenda or (child, child.due) in timers
        has_time = has_time or is_waited_for(world, child)
        # What is to be stopped starts nothing; it is told so in its turn.
        assert has_time or not goes_on(group), "it waits for nothing"
    if child in world.by_hand or child in world.given_up:
        assert child.phase is not Phase.WAITING, child
        assert child.phase not in STARTED or child.is_condemned, child


def look_at_order(world: World, group: Group) -> None:
    """One child after another is stopped, the last first, but for what somebody does between."""
    condemned = [child for child in group.children.values() if child.is_condemned]
    assert all(child.phase in RUNNING for child in condemned), condemned
    condemned = [child for child in condemned if child not in world.begun]
    told = [child for child in condemned if child.is_told and child not in world.told]
    told = [child for child in told if child.ending is None]
    assert len(told) <= 1, told
    assert not told or told == condemned[-1:], condemned


# ---- what can happen ---------------------------------------------------------------------------


class Trees(RuleBasedStateMachine):
    """One world after another: a tree that has ended is planted again."""

    world: RollingWorld

    @initialize(
        tree=trees(),
        chance=st.sampled_from([0.0, 0.5]),
        slow=st.integers(0, 9),
        settles=st.booleans(),
    )
    def plant(self, tree: Supervisor, chance: float, slow: int, settles: bool) -> None:
        self.tree, self.chance, self.slow = tree, chance, slow
        self.world = RollingWorld(tree, chance, look)
        if settles:
            self.world.settle()

    @precondition(lambda self: self.world.outcome is not None)
    @rule()
    def plant_again(self) -> None:
        self.world = RollingWorld(self.tree, self.chance, look)
        self.world.settle()

    # ---- what happens by itself -----------------------------------------------------------

    @precondition(lambda self: self.world.in_phase("starting"))
    @rule(index=indexes, reason=st.sampled_from(["", "", "exit", "protocol", "normal"]))
    def answer(self, index: int, reason: str) -> None:
        """A start succeeds or fails."""
        place = pick(self.world.in_phase("starting"), index)
        if reason:
            self.world.ends(place, reason)
        else:
            self.world.ready(place)

    @precondition(lambda self: self.world.in_phase("stopping"))
    @rule(index=indexes, reason=st.sampled_from(REASONS))
    def gone(self, index: int, reason: str) -> None:
        self.world.ends(pick(self.world.in_phase("stopping"), index), reason)

    @precondition(lambda self: self.world.in_phase("up"))
    @rule(index=indexes, reason=st.sampled_from(REASONS))
    def crash(self, index: int, reason: str) -> None:
        self.world.ends(pick(self.world.in_phase("up"), index), reason)

    @precondition(lambda self: self.up_amid_a_start())
    @rule(index=indexes)
    def crash_amid_a_start(self, index: int) -> None:
        self.world.ends(pick(self.up_amid_a_start(), index), "signal")

    @precondition(lambda self: self.world.in_phase("up"))
    @rule(index=indexes, times=st.integers(1, 4), fails=st.booleans())
    def crash_again_and_again(self, index: int, times: int, fails: bool) -> None:
        """The same child, until its supervisor has had enough; or its starts fail."""
        place = pick(self.world.in_phase("up"), index)
        for _ in range(times):
            life = self.world.lives.get(place)
            if life is not None:
                self.world.ends(place, "signal" if life.phase == "up" else "exit")
            self.world.settle(place if fails else self.slow_one())
            if self.world.deadline() < float("inf"):
                self.world.wait()

    @precondition(lambda self: self.world.in_phase("starting", "stopping"))
    @rule()
    def settle(self) -> None:
        self.world.settle(self.slow_one())

    @precondition(lambda self: self.world.deadline() < float("inf"))
    @rule()
    def wait(self) -> None:
        self.world.wait()

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, 16.0]), tick=st.booleans())
    def let_pass(self, seconds: float, tick: bool) -> None:
        self.world.let_pass(seconds, tick=tick)

    # ---- what somebody does ---------------------------------------------------------------

    @precondition(lambda self: self.every(3))
    @rule(index=indexes)
    def end(self, index: int) -> None:
        places = [*self.world.plan.places.values()]
        if places:
            self.world.end(pick(places, index))

    @precondition(lambda self: self.every(2))
    @rule(index=indexes)
    def leave(self, index: int) -> None:
        places = [*leaves(self.world.plan.root)]
        if places:
            self.world.leave(pick(places, index))

    @precondition(lambda self: self.beginnable())
    @rule(index=indexes, settles=st.booleans())
    def begin(self, index: int, settles: bool) -> None:
        place = pick(self.beginnable(), index)
        self.world.begin(place)
        if settles and place in self.world.lives:
            self.world.answer_well(place)

    @precondition(lambda self: self.growing()[1:])
    @rule(index=indexes)
    def begin_anew(self, index: int) -> None:
        """A supervisor or pool, whatever goes on in it."""
        group = pick(self.growing()[1:], index)
        self.world.end(group)
        self.world.settle(self.slow_one())
        if group.phase is Phase.DOWN and group in self.beginnable():
            self.world.begin(group)

    @precondition(lambda self: self.every(2) and self.growing())
    @rule(index=indexes, kind=kinds, name=st.sampled_from("uvw"))
    def add(self, index: int, kind: Child | Pool | None, name: str) -> None:
        group = pick(self.growing(), index)
        spec: Spec = attrs.evolve(SMALL, name=name) if kind is None else kind
        if isinstance(group.spec, Pool):
            spec = group.spec.slot(7)
        elif kind is not None:
            spec = named(name, kind, group.spec)
        if group.full_name(spec.name) not in self.world.plan.places:
            self.world.add(spec, group)

    @precondition(lambda self: self.every(4) and self.beginnable())
    @rule(index=indexes)
    def delete(self, index: int) -> None:
        self.world.delete(pick(self.beginnable(), index))

    @precondition(lambda self: self.every(6))
    @rule()
    def stop(self) -> None:
        self.world.stop()

    # ---- what is done to lives that are well ----------------------------------------------

    @precondition(lambda self: self.world.outcome is None)
    @rule(index=indexes, ways=st.sampled_from([(1, 0), (1, 0), (2, 0), (0, 1), (1, 1), (0, 2)]))
    def reload(self, index: int, ways: tuple[int, int]) -> None:
        places = [self.world.plan.root, *self.world.plan.places.values()]
        self.world.reload(pick(places, index), *ways)

    @precondition(lambda self: self.every(2) and self.pools())
    @rule(index=indexes, count=st.integers(0, 4))
    def scale(self, index: int, count: int) -> None:
        self.world.scale(pick(self.pools(), index), count)

    @precondition(lambda self: self.recyclable())
    @rule(index=indexes)
    def recycle(self, index: int) -> None:
        self.world.recycle(pick(self.recyclable(), index))

    @precondition(lambda self: self.world.jobs)
    @rule(index=indexes)
    def cancel(self, index: int) -> None:
        self.world.cancel(pick(self.world.jobs, index))

    @precondition(lambda self: self.world.is_preparing)
    @rule(is_there=st.sampled_from([True, True, False]))
    def prepared(self, is_there: bool) -> None:
        self.world.prepared(None if is_there else RuntimeError())

    @precondition(lambda self: self.world.beside)
    @rule(index=indexes, is_well=st.sampled_from([True, True, False]))
    def answer_beside(self, index: int, is_well: bool) -> None:
        self.world.answer_beside(pick(self.world.beside, index), is_well=is_well)

    @precondition(lambda self: self.world.beside)
    @rule(index=indexes, reason=st.sampled_from(REASONS))
    def crash_amid_a_rollout(self, index: int, reason: str) -> None:
        place = pick(self.world.beside, index).place
        if place in self.world.lives:
            self.world.ends(place, reason)

    # ---- small ----------------------------------------------------------------------------

    def pools(self) -> list[Group]:
        return [group for group in groups(self.world.plan.root) if isinstance(group.spec, Pool)]

    def recyclable(self) -> list[Place]:
        return [place for place in self.world.in_phase("up") if not place.is_temporary]

    def slow_one(self) -> Place | None:
        """One child of the tree answers only when it is told to."""
        places = [*leaves(self.world.plan.root)]
        return places[self.slow] if self.slow < len(places) else None

    def up_amid_a_start(self) -> list[Place]:
        """Whose group is not up yet."""
        return [
            place
            for place in self.world.in_phase("up")
            if place.parent is not None and place.parent.phase is Phase.STARTING
        ]

    def every(self, times: int) -> bool:
        """What happens rarely; all rules are equally likely otherwise."""
        return self.world.outcome is None and self.world.steps % times == 0

    def growing(self) -> list[Group]:
        """Groups in which something may be started by hand."""
        return [group for group in groups(self.world.plan.root) if goes_on(group)]

    def beginnable(self) -> list[Place]:
        return [
            place
            for group in self.growing()
            for place in group.children.values()
            if place.phase is Phase.DOWN
        ]

    def teardown(self) -> None:
        world: World | None = getattr(self, "world", None)
        if world is None:
            return
        try:
            if world.is_sound:
                world.come_to_rest()
            if world.is_sound and world.outcome is None:
                world.end_all()
        finally:
            if not world.is_sound:
                note("\n".join(world.log))


def pick(things: list[ThingT], index: int) -> ThingT:
    return things[index % len(things)]


def test_whatever_happens_to_a_tree(capsys: pytest.CaptureFixture[str]) -> None:
    REACHED.clear()
    is_long = settings.get_current_profile_name() == "long"
    # To make a failure small takes minutes, which only the long run has.
    phases = Phases if is_long else [Phases.reuse, Phases.generate]
    examples = settings().max_examples
    # Hypothesis remembers all examples of a run, 40 kB each.
    for _ in range(max(1, examples // EXAMPLES_AT_ONCE)):
        at_once = min(examples, EXAMPLES_AT_ONCE)
        run_state_machine_as_test(
            Trees,
            settings=settings(max_examples=at_once, stateful_step_count=50, phases=list(phases)),
        )
    with capsys.disabled():
        print("\nreached:", ", ".join(f"{what} {REACHED[what]}" for what in RARE))
    if is_long:
        assert [] == [what for what in RARE if REACHED[what] < 100]
