"""How often in a second a worker that exits as soon as it runs is started again."""

from __future__ import annotations

from benchmarks.measures.peers import ANY_NODE, sides
from benchmarks.model import Mark, Result, Row, Scale, check

__all__ = ["rows"]


def rows(scale: Scale) -> list[Row]:
    """Give the one row."""
    ours, theirs = sides("restarts", ANY_NODE, {}, _judge)
    row = Row(
        name="restarts-node",
        measure="restarts",
        title="restarts of a process that exits at once",
        unit="/s",
        ours=ours,
        peer=theirs,
        mark=Mark(bound=10, at_least=True),
    )
    return [row]


def _judge(result: Result, scale: Scale) -> float:
    check(result, least=scale.seconds)
    rate: float = result["received"] / result["seconds"]
    return rate
