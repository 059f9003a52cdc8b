"""A world in which anything may happen to a tree, and what must hold after whatever has happened.

`World` carries out what a `Plan` wants, but answers nothing by itself: each start and each stop
is under way until somebody says how it went. It remembers in its own, dumb way what may come
back, how often and when, and compares that with what the plan does. ``REACHED`` counts how often
the rare things have happened.
"""

from __future__ import annotations

import collections
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias

import attrs

from actorcluster._cluster.places import (
    Absence,
    Action,
    Down,
    Finished,
    GaveUp,
    Group,
    Outcome,
    Phase,
    Place,
    Restarting,
    Start,
    Stop,
    Up,
)
from actorcluster._cluster.plan import Plan
from actorcluster._cluster.restarts import Backoff
from actorcluster._cluster.ties import below
from actorcluster._cluster.tree import RetryAfter, Spec, Supervisor

__all__ = ["RARE", "REACHED", "RUNNING", "STARTED", "Life", "World", "goes_on", "groups", "leaves"]

RARE = (
    "nested give-up",
    "restart during stop",
    "start failure in mid-restart",
    "significant shutdown",
    "reload overlapping a crash",
)
REACHED: collections.Counter[str] = collections.Counter()

MANY = 1000
"""More steps than a tree of this size ever needs to come to rest."""

RUNNING = (Phase.STARTING, Phase.UP, Phase.STOPPING)
STARTED = (Phase.STARTING, Phase.UP)

#: What the end of a child leads to: nothing, as it was told to; somebody's start failed; the
#: group's start failed; it has finished; so the group has; it stays down; it comes back; its group
#: gives up.
Fate: TypeAlias = Literal[
    "told", "failed", "group fails", "finish", "well", "park", "again", "escalate"
]


@attrs.define(eq=False)
class Life:
    """One life of a child: what it does, and since when it is ready."""

    phase: Literal["starting", "up", "stopping"] = "starting"
    up_at: float | None = None


class World:
    """A tree, its processes and the time.

    Args:
        spec: the tree.
        chance: for the jitter of delays.
        look: finds out whether all is as it should be; called after whatever happens.

    Attributes:
        now: the time.
        lives: of children, as long as they last.
        outcome: how the tree ended, once it has.
        is_sound: nothing has been found wrong.
        log: what happened.
        told: whose life somebody ends.
        begun: whose life somebody began.
        by_hand: who is down until somebody begins it.
        given_up: who is down until somebody begins it, or its group starts again.
    """

    def __init__(self, spec: Supervisor, chance: float, look: Callable[[World], None]) -> None:
        self.plan = Plan(spec, lambda: chance)
        self._look = look
        self.now = 0.0
        self.lives: dict[Place, Life] = {}
        self.outcome: Outcome | None = None
        self.is_sound = True
        self.log: list[str] = []
        self.told: set[Place] = set()
        self.begun: set[Place] = set()
        self.by_hand: set[Place] = set()
        self.given_up: set[Place] = set()
        self._veterans: set[Place] = set()  # up since their group started, or somebody began it
        self._asked: set[Place] = set()  # somebody began it; it has not been up since
        self._up_at: dict[Place, float] = {}  # of groups
        self._last_up_at: dict[Place, float | None] = {}  # in the life that ended last
        self._streaks: collections.Counter[Place] = collections.Counter()
        self._going: set[Place] = set()  # who runs, groups included
        self._stops: list[Place] = []  # in order
        self._due: dict[Place, float] = {}  # when it may be started again
        self._restarts: collections.defaultdict[Place, list[float]] = collections.defaultdict(list)
        self._happened: list[Action] = []
        self._say("start root")
        self.plan.start(self.now)
        self._went_on()

    def in_phase(self, *phases: str) -> list[Place]:
        """Whose life is in one of some phases, the oldest first."""
        return [place for place, life in self.lives.items() if life.phase in phases]

    @property
    def steps(self) -> int:
        """How much has happened."""
        return len(self.log)

    # ---- what happens by itself -----------------------------------------------------------

    def ready(self, place: Place) -> None:
        """A start succeeds."""
        self._say(f"ready {place.name}")
        life = self.lives[place]
        life.phase, life.up_at = "up", self.now
        self._veterans.add(place)
        self._asked.discard(place)
        self.plan.up(place, self.now)
        self._went_on()

    def ends(self, place: Place, reason: str) -> None:
        """A life ends, whatever it was doing."""
        self._say(f"ends {place.name} {reason}")
        group = place.parent
        assert group is not None
        fate = self._expect(place, group, reason)
        life = self.lives.pop(place)
        self._going.discard(place)
        self.begun.discard(place)
        self.told.discard(place)
        self._last_up_at[place] = life.up_at
        self._count(group, fate, life)
        condemned = {child for child in group.children.values() if child.is_condemned}
        self.plan.ended(place, reason, reason, self.now)
        self._went_on()
        self.is_sound = False
        self._compare(place, group, fate)
        if fate in ("again", "park"):
            self._compare_ties(place, group, condemned)
        self.is_sound = True

    def let_pass(self, seconds: float, *, tick: bool = True) -> None:
        """Time passes; without a tick whoever carries the plan out is late."""
        self._say(f"{seconds:g} seconds")
        self.now += seconds
        if tick and self.deadline() <= self.now:
            self.tick()
        self._went_on()

    def wait(self) -> None:
        """Time passes until something is due."""
        self.let_pass(max(0.0, self.deadline() - self.now))

    def tick(self) -> None:
        """Say that something is due."""
        self.plan.tick(self.now)
        assert self.plan.deadline() > self.now

    def deadline(self) -> float:
        """When something is due."""
        return self.plan.deadline()

    # ---- what somebody does ---------------------------------------------------------------

    def stop(self) -> None:
        """Stop everything."""
        self._say("stop root")
        self._count_stop(self.plan.root)
        self.plan.stop(self.now)
        self._went_on()

    def end(self, place: Place) -> None:
        """Stop a child by hand."""
        self._say(f"end {place.name}")
        self._count_stop(place)
        self._take_out(place)
        self.plan.end(place, self.now)
        self._went_on()

    def leave(self, place: Place) -> None:
        """A child is told to stop, past the plan; if it runs."""
        self._say(f"leave {place.name}")
        if place in self.lives:
            self._take_out(place)
            self.lives[place].phase = "stopping"
        self.plan.leaving(place)
        self._went_on()

    def begin(self, place: Place) -> None:
        """Start a child by hand."""
        self._say(f"begin {place.name}")
        self.by_hand.discard(place)
        self.given_up.discard(place)
        self._veterans.discard(place)
        for one in below(place):
            self._streaks[one] = 0
        if place.absence is Absence.PARKED and place.parent is not None:
            self._restarts[place.parent] = []
        self._due.pop(place, None)
        self.begun.add(place)
        self._asked.add(place)
        self.plan.begin(place, self.now)
        self._went_on()

    def add(self, spec: Spec, under: Group) -> None:
        """Add a child and start it."""
        self.begin(self.plan.add(spec, under))

    def delete(self, place: Place) -> None:
        """Forget a child."""
        self._say(f"delete {place.name}")
        self.plan.delete(place)
        self._went_on()

    # ---- the end of it --------------------------------------------------------------------

    def answer_well(self, place: Place) -> None:
        """What is under way succeeds."""
        if self.lives[place].phase == "starting":
            self.ready(place)
        else:
            self.ends(place, "shutdown")

    def settle(self, slow: Place | None = None) -> None:
        """Every start and stop that is under way succeeds, the oldest first, but the slow one's."""
        for _ in range(MANY):
            if not self.settle_one(slow):
                return
        raise AssertionError("starts and stops without end")

    def settle_one(self, slow: Place | None) -> bool:
        """One of them succeeds, if there is one."""
        busy = [place for place in self.in_phase("starting", "stopping") if place is not slow]
        if busy:
            self.answer_well(busy[0])
        return bool(busy)

    def come_to_rest(self) -> None:
        """Let everything go well, and time pass: who is wanted is up then, and nothing waits."""
        for _ in range(MANY):
            self.settle()
            if self.deadline() == math.inf:
                break
            self.wait()
        self.is_sound = False
        assert self.deadline() == math.inf
        for group in groups(self.plan.root):
            assert group.phase in (Phase.UP, Phase.DOWN), group
            assert not group.agenda, group
            for child in group.children.values():
                if group.phase is Phase.DOWN:
                    assert child.phase is Phase.DOWN, child
                elif child.phase is not Phase.UP:
                    assert child.phase is Phase.DOWN, child
                    assert child.absence not in (Absence.NEVER, Absence.WITH_GROUP), child
        self.is_sound = True

    def end_all(self) -> None:
        """Stop the tree, with everything that goes well; in which order is looked at."""
        in_order = not self.in_phase("stopping") and not self.is_rolling
        expected = [place for place in leaves(self.plan.root) if place in self.lives]
        self._stops.clear()
        self.stop()
        while self.lives:
            ending = self.in_phase("stopping")
            assert ending, "nobody is told to stop"
            self.ends(ending[0], "shutdown")
            self.settle_beside()
        self.is_sound = False
        if in_order:
            assert expected[::-1] == self._stops
        assert self.outcome is not None
        assert self.plan.root.phase is Phase.DOWN
        self.is_sound = True

    def settle_beside(self) -> None:
        """What has no place of its own ends."""

    is_rolling = False
    """Whether lives are replaced just now."""

    def is_under_way(self, place: Place) -> bool:
        """Whether the restart of a place is starting already."""
        return False

    # ---- the dumb memory ------------------------------------------------------------------

    def _take_out(self, place: Place) -> None:
        self.by_hand.add(place)
        if place.phase in RUNNING:
            self.told.add(place)

    def _expect(self, place: Place, group: Group, reason: str) -> Fate:
        """Say what the end of a child should lead to."""
        life = self.lives[place]
        if life.phase == "stopping" or place.is_condemned:
            return "told"
        if life.up_at is None and place not in self._veterans:
            is_its_groups = group.phase is Phase.STARTING and place not in self._asked
            return "group fails" if is_its_groups else "failed"
        is_well = life.up_at is not None and reason in ("normal", "shutdown", "killed")
        if place.restart == "temporary" or (place.restart == "transient" and is_well):
            return "well" if self._is_last(place, group) else "finish"
        if reason == "protocol":
            return "park"
        if len(self._window(group)) < group.rules.max_restarts:
            return "again"
        rule = group.rules.on_exhausted
        return "again" if isinstance(rule, RetryAfter) else rule

    def _is_last(self, place: Place, group: Group) -> bool:
        """Whether the group has finished when this child has."""
        others = [other for other in group.children.values() if other is not place]
        if not isinstance(group.rules, Supervisor):
            return all(
                other.phase is Phase.DOWN and other.absence is Absence.FINISHED for other in others
            )
        return place.is_significant and (
            group.rules.auto_shutdown == "any_significant"
            or not any(
                other.is_significant
                and (other.phase is not Phase.DOWN or other.absence is Absence.PARKED)
                for other in others
            )
        )

    def _compare(self, place: Place, group: Group, fate: Fate) -> None:
        """Compare that with what it led to."""
        told = [action for action in self._happened if isinstance(action, (Restarting, GaveUp))]
        first = told[0] if told else None
        if fate == "again":
            assert isinstance(first, Restarting), first
            assert first.place is place
        elif fate in ("park", "escalate"):
            assert isinstance(first, GaveUp), first
            assert first.place is (place if fate == "park" else group)
        else:
            assert first is None or first.place is not place, first
        kind = {"group fails": "start_failed", "well": "well", "escalate": "exhausted"}.get(fate)
        if kind is not None:
            assert group.phase is Phase.STOPPING or Down(group) in self._happened, group
            # Where nobody has to be waited for it may have been started again by now.
            assert group.outcome is None or group.outcome.kind == kind, group.outcome
        elif fate != "told":
            assert group.phase in STARTED, group
        if fate == "finish":
            assert place.absence is Absence.FINISHED, place
        if fate == "well" and isinstance(group.spec, Supervisor):
            REACHED["significant shutdown"] += 1

    def _compare_ties(self, place: Place, group: Group, before: set[Place]) -> None:
        """A failure stops nobody whom it does not concern."""
        children = [*group.children.values()]
        rest = children[children.index(place) :]
        tied = {"one_for_one": [place], "rest_for_one": rest, "one_for_all": children}
        condemned = {child for child in children if child.is_condemned}
        assert condemned - before <= {*tied[group.strategy]}, condemned

    def _window(self, group: Place) -> list[float]:
        assert isinstance(group, Group)
        horizon = self.now - group.rules.within
        return [then for then in self._restarts[group] if then >= horizon]

    # ---- what the plan does ---------------------------------------------------------------

    def _next_actions(self) -> list[Action]:
        return self.plan.take()

    def _went_on(self) -> None:
        self._happened = []
        while actions := self._next_actions():
            begin = len(self._happened)
            self._happened += actions
            self._carry_out(begin)
        self._look(self)
        for group in groups(self.plan.root):
            if group.phase in RUNNING:
                self.given_up.update(filter(_is_parked, group.children.values()))
        self.is_sound = True

    def _carry_out(self, begin: int) -> None:
        for index, action in enumerate(self._happened[begin:], begin):
            self._say(f"    {action}")
            match action:
                case Start(place):
                    self._started(place)
                case Stop(place):
                    self._stopped(place)
                case Up(group):
                    self._up_at[group] = self.now
                    self._veterans.add(group)
                    self._goes(group)
                case Down(group):
                    self._went_down(group)
                case Restarting(place, _, delay, attempt):
                    self._restarts_again(place, delay, attempt)
                case GaveUp(place):
                    self._gave_up(place, self._happened[max(0, index - 1)], action)
                case Finished(outcome):
                    assert self.outcome is None
                    self.outcome = outcome
                case _:
                    self._do(action)

    def _do(self, action: Action) -> None:
        raise AssertionError(action)

    def _say(self, line: str) -> None:
        self.is_sound = False
        self.log.append(line)

    def _started(self, place: Place) -> None:
        assert self.outcome is None
        assert place not in self.lives
        assert place.phase is Phase.STARTING
        for parent in above(place):
            if parent.is_condemned and not parent.is_told and parent is not place:
                break  # a group goes on until it is its turn to stop
            assert parent.phase in STARTED, parent
            assert parent not in self.by_hand | self.given_up, parent
        self._goes(place)
        assert self._due.pop(place, 0.0) <= self.now, "too early"
        self.lives[place] = Life()

    def _goes(self, place: Place) -> None:
        """In a group with an order nobody starts before its turn, but for a hand."""
        for starts in above(place):
            group = starts.parent
            is_first = starts not in self._going and starts not in self.begun
            if is_first and group is not None and not group.at_once:
                self._has_its_turn(starts, group)
            self._going.add(starts)

    def _has_its_turn(self, place: Place, group: Group) -> None:
        children = group.children.values()
        assert not any(child.is_condemned for child in children), group
        # They come back each on its own.
        alone = self._veterans if group.strategy == "one_for_one" else set()
        for before in itertools.takewhile(lambda child: child is not place, children):
            if not alone & {place, before} and before not in self.begun:
                assert before.phase not in (Phase.WAITING, Phase.STARTING), before

    def _stopped(self, place: Place) -> None:
        assert place in self.told or place.is_condemned
        assert place.phase is Phase.STOPPING
        assert self.lives[place].phase != "stopping"
        self.lives[place].phase = "stopping"
        self._stops.append(place)

    def _went_down(self, group: Group) -> None:
        self._going.discard(group)
        self.begun.discard(group)
        self._last_up_at[group] = self._up_at.pop(group, None)
        self._restarts[group].clear()
        self.told.discard(group)
        for child in group.children.values():
            assert child not in self.lives, child
            self._veterans.discard(child)
            self._due.pop(child, None)
            self.given_up.discard(child)
            self._asked.discard(child)

    def _restarts_again(self, place: Place, delay: float, attempt: int) -> None:
        group = place.parent
        assert group is not None
        rules = group.rules
        window = self._window(group)
        backoff = Backoff() if isinstance(place.spec, Supervisor) else place.spec.backoff
        up_at = self._last_up_at[place]
        is_retry = len(window) >= rules.max_restarts
        if not is_retry and up_at is not None and self.now - up_at >= backoff.reset_after:
            self._streaks[place] = 0
        is_under_way = self.is_under_way(place)
        assert delay == 0 or not is_under_way
        if is_retry:
            assert isinstance(rules.on_exhausted, RetryAfter), "too many restarts"
            assert is_under_way or delay == rules.on_exhausted.seconds
            self._restarts[group].clear()
        else:
            self._restarts[group] = [*window, self.now]
            grown = min(backoff.max, backoff.min * backoff.factor ** self._streaks[place])
            least, most = grown / (1 + backoff.jitter), grown * (1 + backoff.jitter)
            assert is_under_way or least <= delay <= most
            assert is_under_way or backoff.min <= delay <= backoff.max
        self._veterans.add(place)
        if group.strategy != "one_for_one":  # the last failure's delay is that of all
            for other in group.children.values():
                self._due.pop(other, None)
        self._due[place] = self.now + delay
        self._streaks[place] += 1
        assert attempt == self._streaks[place]

    def _gave_up(self, place: Place, before: Action, action: GaveUp) -> None:
        is_parked = not isinstance(place, Group) or (
            isinstance(before, Down) and before.place is place
        )
        group = place.parent if is_parked else place
        assert isinstance(group, Group)
        if not isinstance(place, Group) and action.status == "protocol":
            return
        assert len(self._window(group)) >= group.rules.max_restarts
        assert group.rules.on_exhausted == ("park" if is_parked else "escalate")
        self._restarts[group].append(self.now)
        if not is_parked and group.parent is not None and isinstance(group.spec, Supervisor):
            REACHED["nested give-up"] += 1

    # ---- what is counted ------------------------------------------------------------------

    def _count(self, group: Group, fate: Fate, life: Life) -> None:
        is_ordered = not group.at_once and group.strategy != "one_for_one"
        if is_ordered and life.up_at is None and fate in ("again", "escalate"):
            REACHED["start failure in mid-restart"] += 1
        if fate in ("again", "escalate") and not goes_on(group):
            REACHED["restart during stop"] += 1

    def _count_stop(self, place: Place) -> None:
        if isinstance(place, Group) and any(map(self._is_restarting, groups(place))):
            REACHED["restart during stop"] += 1

    def _is_restarting(self, group: Group) -> bool:
        if group.phase is not Phase.UP:
            return False
        children = group.children.values()
        return bool(group.victims) or any(child.phase is Phase.WAITING for child in children)


# ---- who is where ----------------------------------------------------------------------------


def _is_parked(place: Place) -> bool:
    return place.absence is Absence.PARKED and place.phase is not Phase.WAITING


def above(place: Place) -> Iterator[Place]:
    """A place and all whose part it is."""
    at: Place | None = place
    while at is not None:
        yield at
        at = at.parent


def goes_on(group: Group) -> bool:
    """Whether neither it nor what it is part of stops, or waits for its turn to."""
    return all(parent.phase in STARTED and not parent.is_condemned for parent in above(group))


def groups(group: Group) -> Iterator[Group]:
    """A group and all in it."""
    yield group
    for child in group.children.values():
        if isinstance(child, Group):
            yield from groups(child)


def leaves(group: Group) -> Iterator[Place]:
    """All children in a group that have none themselves, in order."""
    for child in group.children.values():
        if isinstance(child, Group):
            yield from leaves(child)
        else:
            yield child
