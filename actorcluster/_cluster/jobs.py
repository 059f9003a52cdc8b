"""What is done to a tree that is well, as values: reload, recycling, a change of size. Pure.

Runs in: primary

What becomes of them is decided in `rollout`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias, final

import attrs

from .places import Group, Place
from .tree import Child, Pool, Supervisor

__all__ = [
    "Failure",
    "Job",
    "Reload",
    "Scale",
    "Step",
    "count_of",
    "is_old",
    "set_count",
    "units_of",
    "why_no_new_code",
]


@final
@attrs.frozen
class Failure:
    """Why a job failed.

    Attributes:
        place: whose new life failed; None: it did not come to that.
        status: of that life.
        error: why it did not come to that.
    """

    place: Place | None
    status: Any = None
    error: Exception | None = None


@final
@attrs.define(eq=False, repr=False)
class Step:
    """One place whose life is replaced.

    Attributes:
        serial: of that life.
        is_surge: a successor starts first.
        is_through: the new life was ready.
    """

    place: Place
    serial: int
    is_surge: bool
    is_through: bool = False


@final
@attrs.define(eq=False, repr=False, kw_only=True)
class Reload:
    """Replace the lives of some places, one pool or child after another.

    Attributes:
        units: pools and children that are not done, in order.
        max_surge: so many lives more than places.
        max_unavailable: so many places without a life.
        patience: seconds for a start.
        due: of a recycling, whose life is to go; None: somebody wants new code.
        why: of a recycling, because of which limit.
        serial: of a recycling, which life is to go.
        generation: of what it starts.
        steps: under way.
        is_begun: it has the token, or had it.
        is_prepared: the new code is there.
        is_committed: and is that of all starts.
        is_cancelled: nobody wants more of it.
        outcome: once that is known.
        failure: if it has failed.
    """

    units: deque[Place]
    max_surge: int = 1
    max_unavailable: int = 0
    patience: float = math.inf
    due: Place | None = None
    why: str = ""
    serial: int = 0
    generation: int = 0
    steps: list[Step] = attrs.Factory(list)
    is_begun: bool = False
    is_prepared: bool = False
    is_committed: bool = False
    is_cancelled: bool = False
    outcome: Literal["done", "failed"] | None = None
    failure: Failure | None = None


@final
@attrs.define(eq=False, repr=False, kw_only=True)
class Scale:
    """Give a pool another size.

    Attributes:
        pool: which.
        count: how many slots it is to have.
        launch: what a slot runs, for whoever carries the plan out.
        before: how many it had.
        added: slots that are new, in order.
        leaving: slots that go.
        is_begun: whether.
        is_cancelled: nobody waits for it any more.
        outcome: once that is known; ``"closed"``: the pool was stopped meanwhile.
        failure: if a new slot could not be started: then none of them stays.
    """

    pool: Group
    count: int
    launch: Any = None
    before: int = 0
    added: list[Place] = attrs.Factory(list)
    leaving: list[Place] = attrs.Factory(list)
    is_begun: bool = False
    is_cancelled: bool = False
    outcome: Literal["done", "failed", "closed"] | None = None
    failure: Failure | None = None


Job: TypeAlias = Reload | Scale


def why_no_new_code(place: Place) -> str | None:
    """Say why a pool or child can get no new code; None: it can."""
    spec = place.spec
    if isinstance(spec, Supervisor):
        return None
    if spec.run == "task":
        return f"{place.name!r} is a task of this process, which has its code"
    if spec.restart == "temporary":
        return f"{place.name!r} is temporary, it has one life"
    return None


def units_of(top: Place) -> Iterator[Place]:
    """Give the pools and children below a place that can be reloaded, in order of start."""
    if isinstance(top.spec, (Child, Pool)):
        if why_no_new_code(top) is None:
            yield top
    elif isinstance(top, Group):
        for child in top.children.values():
            yield from units_of(child)


def is_old(place: Place, job: Reload) -> bool:
    """Whether the present life of a place is one that a job is to replace."""
    if job.due is not None:
        return place.serial == job.serial
    return place.generation < job.generation


def count_of(pool: Group) -> int:
    assert isinstance(pool.spec, Pool)
    return pool.spec.count


def set_count(pool: Group, count: int) -> None:
    assert isinstance(pool.spec, Pool)
    pool.spec = attrs.evolve(pool.spec, count=count)
