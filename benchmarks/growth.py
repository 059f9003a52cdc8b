"""Whether something grows: arithmetic on samples, and nothing else."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["MEASURES", "grown", "verdicts"]

MEASURES: Final = {
    "rss": (0.05, 1024 * 1024.0),
    "descriptors": (0.1, 2.0),
    "threads": (0.0, 0.0),
}
"""What is watched, and how much of a difference is no growth: a share of it, and so much more.

Descriptors come and go with the connections and sockets that are open at the moment; memory with
what lies in buffers.
"""


def grown(values: Sequence[float], share: float, more: float) -> tuple[float, float] | None:
    """Compare the second quarter of a series with the last one; in the first one it may settle.

    Args:
        values: equally far apart in time, 8 or more.
        share: of the earlier median, that is no growth.
        more: that is no growth either.

    Returns:
        Both medians if it has grown, else None.
    """
    if len(values) < 8:
        raise ValueError(f"{len(values)} samples are too few")
    quarter = len(values) // 4
    earlier = statistics.median(values[quarter : 2 * quarter])
    later = statistics.median(values[-quarter:])
    return (earlier, later) if later > earlier * (1 + share) + more else None


def verdicts(series: Mapping[str, Mapping[str, Sequence[float]]]) -> list[str]:
    """Say in words what has grown.

    Args:
        series: by whose it is, then by what it is, see `MEASURES`.
    """
    return [
        f"{name} of {who} grew from {change[0]:,.0f} to {change[1]:,.0f}"
        for who, measures in series.items()
        for name, values in measures.items()
        if (change := grown(values, *MEASURES[name]))
    ]
