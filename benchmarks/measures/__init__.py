"""What is measured: each file gives the rows of one thing, ours against each of its peers."""

from __future__ import annotations

from benchmarks.measures import (
    connections,
    handles,
    kill,
    memory,
    oneway,
    restarts,
    roundtrip,
    start,
)
from benchmarks.model import Row, Scale

__all__ = ["MEASURES", "rows"]

MEASURES = {
    "oneway": oneway,
    "roundtrip": roundtrip,
    "handles": handles,
    "connections": connections,
    "start": start,
    "memory": memory,
    "kill": kill,
    "restarts": restarts,
}
"""By name, in the order of the table."""


def rows(scale: Scale) -> list[Row]:
    """Give all rows of the table."""
    return [row for measure in MEASURES.values() for row in measure.rows(scale)]
