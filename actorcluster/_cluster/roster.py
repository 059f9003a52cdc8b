"""Which places a tree has: made from its spec, added and removed by hand. Pure.

Runs in: primary
"""

from __future__ import annotations

from typing import Final

from .places import Absence, Group, Place
from .ties import below, check_down, make_group
from .tree import Child, Pool, Spec, Supervisor

__all__ = ["Roster"]

#: Its own name appears in reports only.
_FORKS: Final = Supervisor("forks")
_NAMELESS: Final = ""


class Roster:
    """All places of one tree.

    Args:
        spec: the root.

    Attributes:
        root: its place.
        places: all children by their full names.
    """

    def __init__(self, spec: Supervisor) -> None:
        self.root = make_group(spec, spec.name, None)
        self.places: dict[str, Place] = {}
        self._settle(self.root)

    def add_forks(self) -> Group:
        """Give the root a last child, for what is forked by hand; before it is started."""
        forks = make_group(_FORKS, _FORKS.name, self.root)
        forks.at_once = forks.is_dynamic = True
        self.root.children[_NAMELESS] = forks
        return forks

    def add(self, spec: Spec, under: Group) -> Place:
        """Give a new child a place behind its siblings; `Plan.begin` starts it.

        Raises:
            ValueError: the name is taken.
        """
        if under.full_name(spec.name) in self.places:
            raise ValueError(f"name {under.full_name(spec.name)!r} is taken")
        place = self._place(spec, under)
        place.is_added = True
        if _NAMELESS in under.children:
            under.children[_NAMELESS] = under.children.pop(_NAMELESS)
        return place

    def add_slot(self, pool: Group, number: int) -> Place:
        """Give a pool one more slot; `Plan.begin` starts it."""
        assert isinstance(pool.spec, Pool)
        return self._place(pool.spec.slot(number), pool)

    def delete(self, place: Place) -> None:
        """Forget a child that is down; if it is not: ValueError."""
        check_down(place)
        self._remove(place)

    def _settle(self, group: Group) -> None:
        """Give each child of the spec its place."""
        for spec in group.members:
            self._place(spec, group)

    def _place(self, spec: Spec, parent: Group) -> Place:
        name = parent.full_name(spec.name)
        place = (
            Place(name, spec, parent) if isinstance(spec, Child) else make_group(spec, name, parent)
        )
        parent.children[spec.name] = self.places[name] = place
        if isinstance(place, Group):
            self._settle(place)
        return place

    def _forget(self, place: Place) -> None:
        """Forget what was added by hand, unless somebody may want to start it again."""
        group = place.parent
        assert group is not None
        is_over = group.is_dynamic and place.absence in (Absence.FINISHED, Absence.BY_HAND)
        if place.is_added and (place.is_temporary or place.is_new or is_over):
            self._remove(place)

    def _remove(self, place: Place) -> None:
        if self.places.get(place.name) is not place:
            return  # it has gone already, and the name may be another's
        if place.parent is not None:
            del place.parent.children[place.spec.name]
        for gone in below(place):
            del self.places[gone.name]
