"""A value that is made when somebody looks at it; most that is known of a failure nobody reads.

Runs in: primary
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, final

__all__ = ["Deferred", "settled"]

T = TypeVar("T")

_UNMADE: Final = object()


@final
class Deferred(Generic[T]):
    """Made once.

    Args:
        make: makes it, of the others; all that these keep alive is kept until then.
        args: for ``make``.
    """

    __slots__ = ("_args", "_made", "_make")

    def __init__(self, make: Callable[..., T], *args: Any) -> None:
        self._make = make
        self._args = args
        self._made: Any = _UNMADE

    def value(self) -> T:
        """Give it."""
        if self._made is _UNMADE:
            self._made = self._make(*self._args)
            self._args = ()
        made: T = self._made
        return made

    def __reduce__(self) -> tuple[Callable[[T], T], tuple[T]]:
        """Who copies or pickles it gets the value: what makes it may be of this process alone."""
        return _itself, (self.value(),)


def _itself(value: T) -> T:
    return value


def settled(value: Any) -> Any:
    """Give the value itself, if this stands for one."""
    return value.value() if isinstance(value, Deferred) else value
