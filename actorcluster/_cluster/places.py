"""The places of a tree and what is known of each; what a plan wants done about them.

Runs in: primary
"""

from __future__ import annotations

import enum
import math
from collections import deque
from typing import Any, ClassVar, Final, Literal, TypeAlias, final

import attrs

from .restarts import Budget
from .tree import Pool, RetryAfter, Spec, Strategy, Supervisor

__all__ = [
    "Absence",
    "Action",
    "Adopt",
    "Commit",
    "Down",
    "Drop",
    "Finished",
    "GaveUp",
    "Group",
    "Outcome",
    "Phase",
    "Place",
    "Prepare",
    "Renew",
    "Restarting",
    "Revert",
    "Settled",
    "Start",
    "Stop",
    "Switch",
    "Up",
]


class Phase(enum.IntEnum):
    """What a place is doing."""

    DOWN = 0
    """Nothing runs, and nothing will unless somebody asks for it."""
    WAITING = 1
    """Nothing runs yet: its delay or its turn has not come."""
    STARTING = 2
    UP = 3
    STOPPING = 4


class Absence(enum.Enum):
    """Why a place is down."""

    NEVER = "not started yet"
    FINISHED = "ended by itself, and is not restarted"
    BY_HAND = "somebody stopped it"
    WITH_GROUP = "its supervisor stopped it"
    PARKED = "given up until somebody starts it"
    FAILED = "somebody's start of it failed"


_DOWN: Final = Phase.DOWN
_ALIVE: Final = (0, 0, 1, 1, 1)
_UNSETTLED: Final = (0, 1, 1, 0, 0)
#: What a change of phase, from one to another, adds to ``alive`` and ``unsettled`` above.
_CHANGES: Final = [
    [(_ALIVE[new] - _ALIVE[old], _UNSETTLED[new] - _UNSETTLED[old]) for new in range(5)]
    for old in range(5)
]


@attrs.define(eq=False, repr=False)
class Place:
    """Where one child stands in the tree, whichever life it is in.

    Attributes:
        name: full, e.g. ``mail.smtp``; the root's is its own.
        spec: what is to run here.
        parent: its supervisor or pool; None for the root.
        is_added: by hand, the tree does not know it.
        phase: what it is doing.
        absence: why it is down, while it is.
        is_fresh: it has not been up since its supervisor was started, or it was added: a start
            that fails now is a first start.
        is_told: it stops because it was told to.
        is_condemned: it is to be stopped, in its turn.
        is_wanted: it is to be started again once it is down.
        is_by_hand: somebody began what led to its present start, not its supervisor: until it is
            up, also when a sibling's failure has interrupted that.
        is_new: it has never been up.
        due: when it may start, while a delay of its own keeps it waiting; else None.
        up_at: when its last life was ready; None: that never was.
        streak: failures in a row.
        status: how its last life ended.
        launch: what it runs, for whoever carries the plan out.
        history: how its last lives ended, and when; the last one first.
        serial: counts its lives; a successor counts from when it takes over.
        generation: of the code that its life runs, see `rollout`.
        successor: the generation of a life that starts beside the present one, to replace it.
        besides: how many lives it has beside the present one: a successor, and those that were
            replaced or are not wanted any more, as long as they last.
        flop: the generation of its last start that failed; None: none since a rollout came to it.
        ending: how the present life ended, while others of its still do.
        patience: seconds for the start of a life in a rollout.
        weight: how large its share of connections is, beside others'.
        restart: its restart type. A supervisor comes back unless it ended well.
        is_temporary: it is forgotten once it has ended.
    """

    name: str
    spec: Spec
    parent: Group | None
    is_added: bool = False
    phase: Phase = Phase.DOWN
    absence: Absence = Absence.NEVER
    is_fresh: bool = True
    is_told: bool = False
    is_condemned: bool = False
    is_wanted: bool = False
    is_by_hand: bool = False
    is_new: bool = True
    due: float | None = None
    up_at: float | None = None
    streak: int = 0
    status: Any = None
    launch: Any = None
    history: tuple[Any, ...] = ()
    serial: int = 0
    generation: int = 0
    successor: int | None = None
    besides: int = 0
    flop: int | None = None
    ending: Any = None
    patience: float = math.inf
    weight: float = 1.0
    restart: str = attrs.field(init=False)
    is_temporary: bool = attrs.field(init=False)

    is_group: ClassVar[bool] = False

    def __attrs_post_init__(self) -> None:
        spec = self.spec
        self.restart = "transient" if isinstance(spec, Supervisor) else spec.restart
        self.is_temporary = self.restart == "temporary"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.phase.name}>"

    @property
    def is_forgotten(self) -> bool:
        """Whether it is temporary and has ended; only its supervisor's next start brings it."""
        return self.is_temporary and self.phase is Phase.DOWN and self.absence is not Absence.NEVER

    @property
    def is_significant(self) -> bool:
        """Whether its end may be its supervisor's."""
        return not isinstance(self.spec, Supervisor) and self.spec.significant

    def enter(self, phase: Phase) -> None:
        """Change the phase, and with it the sums of those above."""
        above, was = self.parent, self.phase
        self.phase = phase
        self.due = None
        if above is None:
            return
        alive, unsettled = _CHANGES[was][phase]
        above.alive += alive
        above.unsettled += unsettled
        if not self.is_group and (was is _DOWN) is not (phase is _DOWN):
            change = 1 if was is _DOWN else -1
            group: Group | None = above
            while group is not None:
                group.active += change
                group = group.parent


@final
@attrs.frozen
class Outcome:
    """How a supervisor or pool ended.

    Attributes:
        kind: ``"told"`` to; ``"well"`` by auto-shutdown, or nothing is left to do;
            ``"exhausted"`` too many restarts; ``"start_failed"`` a child could not be started.
        place: of the child that was too much or could not be started.
        status: of that child.
    """

    kind: Literal["told", "well", "exhausted", "start_failed"]
    place: Place | None = None
    status: Any = None


@final
@attrs.define(eq=False, repr=False)
class Group(Place):
    """A supervisor or a pool.

    Attributes:
        children: by their own names, in order of start.
        strategy: as the supervisor's.
        at_once: children start and stop together, in no order.
        is_dynamic: it holds what was forked by hand, and its name is not part of theirs.
        budget: of restarts.
        on_exhausted: as the supervisor's.
        outcome: how it ends or ended, when it does not run.
        victims: children to be stopped, the last first.
        agenda: children to be started, in order.
        not_before: when the agenda may go on.
        alive: how many children start, are up or stop.
        unsettled: how many children are to start, or start.
        active: how many, in the whole tree below, run or are to run, groups left out.
    """

    is_group: ClassVar[bool] = True
    children: dict[str, Place] = attrs.Factory(dict)
    strategy: Strategy = "one_for_one"
    at_once: bool = False
    is_dynamic: bool = False
    budget: Budget = attrs.Factory(lambda: Budget(0, 0.0))
    on_exhausted: Literal["escalate", "park"] | RetryAfter = "escalate"
    outcome: Outcome | None = None
    victims: list[Place] = attrs.Factory(list)
    agenda: deque[Place] = attrs.Factory(deque)
    not_before: float = 0.0
    alive: int = 0
    unsettled: int = 0
    active: int = 0

    def listed(self) -> list[Place]:
        """Give the children that somebody may ask for; temporary ones that ended are forgotten."""
        return [
            child
            for child in self.children.values()
            if not (child.is_forgotten or (isinstance(child, Group) and child.is_unused))
        ]

    @property
    def is_unused(self) -> bool:
        """Whether it is there for what is forked by hand, and nothing is."""
        return self.is_dynamic and not self.children

    def full_name(self, name: str) -> str:
        """Give the full name of a child; the root's own name is not part of it."""
        return name if self.parent is None or self.is_dynamic else f"{self.name}.{name}"

    @property
    def members(self) -> tuple[Spec, ...]:
        """The children its spec names."""
        if isinstance(self.rules, Pool):
            return tuple(map(self.rules.slot, range(1, self.rules.count + 1)))
        return self.rules.children

    @property
    def rules(self) -> Pool | Supervisor:
        """Its spec."""
        assert isinstance(self.spec, (Pool, Supervisor))
        return self.spec


# ---- what a plan wants done -----------------------------------------------------------------


@final
@attrs.define
class Start:
    """Start it. Then say `Plan.up`, or `Plan.ended`."""

    place: Place


@final
@attrs.define
class Stop:
    """Stop it, as its spec says. Then say `Plan.ended`."""

    place: Place


@final
@attrs.define
class Up:
    """A supervisor or pool is up: each child is, or has finished."""

    place: Group


@final
@attrs.define
class Down:
    """A supervisor or pool is down: nothing of it runs."""

    place: Group


@final
@attrs.define
class Restarting:
    """Tell: this place failed and will be started again.

    Attributes:
        place: which failed.
        status: how it ended.
        delay: seconds from now.
        attempt: failures in a row, this one included.
    """

    place: Place
    status: Any
    delay: float
    attempt: int


@final
@attrs.define
class GaveUp:
    """Tell: this place will not be started again by itself.

    Attributes:
        place: a child that is parked, or a supervisor that ends because of one.
        status: how the child ended.
    """

    place: Place
    status: Any


@final
@attrs.define
class Finished:
    """The tree has ended: nothing runs, and nothing will."""

    outcome: Outcome


@final
@attrs.define
class Renew:
    """Start a life beside the present one. Then say `Rollouts.succeeded` or `Rollouts.failed`."""

    place: Place


@final
@attrs.define
class Switch:
    """From now on the successor is the life of this place.

    The one before is told to stop, as its spec says. Then say `Plan.gone`.
    """

    place: Place


@final
@attrs.define
class Adopt:
    """The life has ended: its successor, which still starts, is its restart.

    Go on as after `Start`.
    """

    place: Place


@final
@attrs.define
class Drop:
    """The successor is not wanted any more: kill it. Then say `Plan.gone`."""

    place: Place


@final
@attrs.define
class Prepare:
    """Have the new code ready for lives of a new generation. Then say `Rollouts.prepared`.

    Attributes:
        patience: seconds for that.
    """

    patience: float


@final
@attrs.define
class Commit:
    """The new code is good: all lives that start from now on run it."""


@final
@attrs.define
class Revert:
    """The new code is not used any more."""


@final
@attrs.define
class Settled:
    """It is known what came of a reload, a recycling or a change of size."""

    job: Any


Action: TypeAlias = (
    Start
    | Stop
    | Up
    | Down
    | Restarting
    | GaveUp
    | Finished
    | Renew
    | Switch
    | Adopt
    | Drop
    | Prepare
    | Commit
    | Revert
    | Settled
)
