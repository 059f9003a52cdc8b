"""What the places of a tree have to do with each other: whom a failure concerns, who comes back.

Runs in: primary
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from .places import Absence, Group, Phase, Place
from .restarts import Budget
from .tree import Pool, Supervisor

__all__ = [
    "below",
    "check_down",
    "check_startable",
    "comes_back",
    "condemn",
    "ends_with",
    "is_over",
    "last_of",
    "lose",
    "make_group",
    "may_return",
    "take_out",
    "tied_to",
    "waits_for",
]


def make_group(spec: Supervisor | Pool, name: str, parent: Group | None) -> Group:
    is_pool = isinstance(spec, Pool)
    return Group(
        name,
        spec,
        parent,
        strategy=spec.strategy if isinstance(spec, Supervisor) else "one_for_one",
        at_once=is_pool,
        budget=Budget(spec.max_restarts, spec.within),
        on_exhausted=spec.on_exhausted,
    )


def waits_for(place: Place, due: float) -> bool:
    """Whether a timer still means something."""
    if place.phase is Phase.WAITING:
        return place.due == due
    return isinstance(place, Group) and bool(place.agenda) and place.not_before == due


def tied_to(place: Place, group: Group) -> list[Place]:
    """Whom the strategy ties to a place, in order, itself included."""
    if group.strategy == "one_for_one":
        return [place]
    children: Iterable[Place] = group.children.values()
    if group.strategy == "rest_for_one":
        children = itertools.dropwhile(lambda child: child is not place, children)
    return list(children)


def condemn(group: Group, children: Iterable[Place]) -> None:
    """Have what runs of some children stopped, the last first."""
    for child in children:
        if child.phase in (Phase.STARTING, Phase.UP, Phase.STOPPING):
            child.is_condemned = True
    group.victims = [child for child in group.children.values() if child.is_condemned]


def comes_back(place: Place) -> bool:
    """Whether a sibling's failure starts this one again, once it is down."""
    if place.absence in (Absence.BY_HAND, Absence.PARKED):
        return False
    if place.is_temporary:  # it comes, if it has not been there yet
        return place.phase is Phase.WAITING
    return place.phase is not Phase.DOWN or place.absence is Absence.FINISHED


def lose(place: Place) -> None:
    """What a sibling's failure stops and does not bring back has ended for good."""
    if place.phase is not Phase.DOWN and place.absence is Absence.NEVER:
        place.absence = Absence.FINISHED


def ends_with(place: Place, group: Group) -> bool:
    """Whether a child that has finished was the last reason for its group to go on."""
    children = group.children.values()
    rules = group.rules
    if isinstance(rules, Pool):
        if group.alive or group.unsettled:
            return False
        return all(child.absence is Absence.FINISHED and not child.phase for child in children)
    if rules.auto_shutdown == "never" or not place.is_significant:
        return False
    return rules.auto_shutdown == "any_significant" or not any(map(_is_left, children))


def _is_left(place: Place) -> bool:
    """Whether a significant child is still there, or may come back."""
    is_here = place.phase is not Phase.DOWN or place.absence is Absence.PARKED
    return is_here and place.is_significant


def take_out(place: Place) -> None:
    """Nothing but somebody's hand is to start it."""
    place.absence = Absence.BY_HAND
    place.is_wanted = False
    if place.parent is not None and place in place.parent.agenda:
        place.parent.agenda.remove(place)


def may_return(place: Place) -> bool:
    """Whether a place has a life or may get one without anybody's help."""
    if place.phase in (Phase.WAITING, Phase.STARTING, Phase.UP) or place.is_wanted:
        return True
    group = place.parent
    if group is None:  # the root ends once
        return False
    if place.is_group and place.phase is Phase.STOPPING and not place.is_told:
        return group.phase is not Phase.STOPPING  # it gave up; its parent will decide
    if group.phase in (Phase.STARTING, Phase.UP):
        return False  # what it starts is waiting for that by now
    comes = place.absence in (Absence.WITH_GROUP, Absence.NEVER, Absence.FINISHED)
    return comes and may_return(group)


def is_over(place: Place) -> bool:
    """Whether nothing of a place is left, and nothing will come without anybody's help."""
    if isinstance(place, Group) and not all(map(is_over, place.children.values())):
        return False
    is_empty = place.is_group and place.phase is Phase.UP
    return is_empty or (place.phase is Phase.DOWN and not may_return(place))


def last_of(place: Place) -> Place | None:
    """Who brought a group down that is over, or was the last of it to end; None: nobody was there.

    Of whom gave up its status is known; a single place speaks for itself.
    """
    if place.phase is Phase.DOWN and place.status is not None:
        return place
    if not isinstance(place, Group):
        return None
    ends = [last for last in map(last_of, place.children.values()) if last is not None]
    return max(ends, key=lambda last: last.history[0][2] if last.history else 0.0, default=None)


def check_down(place: Place) -> None:
    if place.phase is not Phase.DOWN:
        raise ValueError(f"{place.name} is {place.phase.name.lower()}")


def check_startable(place: Place) -> None:
    check_down(place)
    group = place.parent
    if group is not None and group.phase not in (Phase.STARTING, Phase.UP):
        raise ValueError(f"{group.name} is {group.phase.name.lower()}")


def below(place: Place) -> Iterator[Place]:
    yield place
    if isinstance(place, Group):
        for child in place.children.values():
            yield from below(child)
