"""Text and equality of a value, written once for many classes.

Runs in: both

attrs writes both anew for every class and compiles them: two thirds of the price of a class, which
every process pays at its start. These loop over the fields instead, for classes that are shown and
compared in logs and tests only.
"""

from __future__ import annotations

import attrs

__all__ = ["Fact", "Shown"]


@attrs.define(eq=False, repr=False)
class Shown:
    """Gives attrs classes that are made with ``eq=False, repr=False`` their text."""

    def __repr__(self) -> str:
        fields = [field for field in attrs.fields(type(self)) if field.repr]
        values = [f"{f.name}={getattr(self, f.name)!r}" for f in fields]
        return f"{type(self).__name__}({', '.join(values)})"


@attrs.define(eq=False, repr=False)
class Fact(Shown):
    """Gives them equality by value, too."""

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        names = [field.name for field in attrs.fields(type(self))]
        return all(getattr(self, name) == getattr(other, name) for name in names)

    __hash__ = None  # type: ignore[assignment]  # unless a class that never changes says otherwise
