"""What was measured, and what it is held against."""

from __future__ import annotations

from typing import final

import attrs

__all__ = ["Figure", "House", "Measured", "figures"]


@final
@attrs.frozen(kw_only=True)
class House:
    """How large it all is.

    Attributes:
        connections: in total.
        workers: that serve.
        limit: ``max_connections`` of each.
        open: connections of the clients at a time.
        hold: seconds for which one is served.
        backlog: of the port; the clients queue there.
    """

    connections: int = 20_000
    workers: int = 8
    limit: int = 10
    open: int = 1000
    hold: float = 0.1

    @property
    def backlog(self) -> int:
        return self.open

    @property
    def ideal(self) -> float:
        """Seconds that it takes when every worker is full all the while."""
        return self.connections / (self.workers * self.limit) * self.hold


@final
@attrs.frozen(kw_only=True)
class Measured:
    """What came of it.

    Attributes:
        served: connections that were served.
        failed: those that were not, by what happened to them.
        elapsed: seconds from the first connection to the last answer.
        processor: seconds that the primary was at work meanwhile.
        handed_over: connections given to workers, again or for the first time.
        descriptors_before: of the primary, with its workers listening.
        descriptors: the most there were at once.
    """

    served: int
    failed: dict[str, int]
    elapsed: float
    processor: float
    handed_over: int
    descriptors_before: int
    descriptors: int


@final
@attrs.frozen
class Figure:
    """One figure, and the most it may be."""

    name: str
    value: float
    most: float
    unit: str = ""

    @property
    def is_met(self) -> bool:
        return self.value <= self.most

    def __str__(self) -> str:
        word = "ok" if self.is_met else "missed"
        value, most = (f"{number:.6g}{self.unit}" for number in (self.value, self.most))
        return f"{self.name:12} {value:>10}   at most {most:>8}   {word}"


def figures(house: House, measured: Measured) -> list[Figure]:
    """Hold what was measured against what it may be."""
    seconds = measured.elapsed
    room = house.workers * house.limit + house.backlog
    return [
        Figure("failed", house.connections - measured.served, 0),
        Figure("elapsed", round(seconds, 2), round(1.15 * house.ideal, 2), " s"),
        Figure("primary", round(100 * measured.processor / seconds, 2), 10, " %"),
        Figure("hand-overs", round(measured.handed_over / house.connections, 4), 1.05),
        Figure("descriptors", measured.descriptors, measured.descriptors_before + room),
    ]
