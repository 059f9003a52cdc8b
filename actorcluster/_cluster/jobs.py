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
from .tree import Child, Pool

__all__ = [
    "Failure",
    "Job",
    "Reload",
    "Scale",
    "Step",
    "count_of",
    "is_old",
    "is_replaceable",
    "set_count",
    "units_of",
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


def is_replaceable(place: Place) -> bool:
    """Whether a place may get a new life while its present one is well."""
    return isinstance(place.spec, Child) and not place.is_temporary


def units_of(top: Place) -> Iterator[Place]:
    """Give the pools and children below a place that can be reloaded, in order of start."""
    if not isinstance(top, Group):
        if is_replaceable(top):
            yield top
    elif isinstance(top.spec, Pool):
        yield top
    else:
        for child in top.children.values():
            yield from units_of(child)


def is_old(place: Place, job: Reload) -> bool:
    if not is_replaceable(place):
        return False
    if job.due is not None:
        return place.serial == job.serial
    return place.generation < job.generation


def count_of(pool: Group) -> int:
    assert isinstance(pool.spec, Pool)
    return pool.spec.count


def set_count(pool: Group, count: int) -> None:
    assert isinstance(pool.spec, Pool)
    pool.spec = attrs.evolve(pool.spec, count=count)
