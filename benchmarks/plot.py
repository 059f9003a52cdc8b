"""The plot of the targets: each pair's ratio as a dot, with the median and the target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from benchmarks.svg import BAD, GOOD, GREY, Svg, decades

__all__ = ["plot"]

_LEFT: Final = 400
_WIDTH: Final = 1000
_TOP: Final = 50
_LINE: Final = 24


def plot(rows: Sequence[dict[str, Any]]) -> str:
    """Draw the rows that have a mark; see `summed_up` for what they hold.

    Args:
        rows: all of them.
    """
    marked = [row for row in rows if row["bound"] is not None]
    svg = Svg(_WIDTH, _TOP + _LINE * (len(marked) + 2))
    shown = [value for row in marked for value in (row["min"], row["max"], row["bound"])]
    low, high = min([*shown, 0.5]) / 1.3, max([*shown, 2]) * 1.3
    bottom = _TOP + _LINE * len(marked)

    def place(ratio: float) -> float:
        share = math.log(ratio / low) / math.log(high / low)
        return _LEFT + share * (_WIDTH - _LEFT - 30)

    svg.text(10, 20, "actorcluster compared with its peers: ratio of the figures", bold=True)
    svg.text(10, 37, "dots: pairs; thick line: median; dashed: target (green: met)")
    for step in decades(low, high):
        svg.line([(place(step), _TOP), (place(step), bottom)], "#dddddd")
        svg.text(place(step), bottom + 16, f"{step:g}x", anchor="middle")
    svg.line([(place(1), _TOP), (place(1), bottom)], GREY)
    for number, row in enumerate(marked):
        _draw(svg, row, _TOP + _LINE * (number + 0.5), place)
    return str(svg)


def _draw(svg: Svg, row: dict[str, Any], y: float, place: Any) -> None:
    color = GOOD if row["met"] else BAD
    svg.text(_LEFT - 8, y + 4, f"{row['title']}: {row['peer']['who']}", anchor="end")
    svg.line([(place(row["min"]), y), (place(row["max"]), y)], color)
    for ratio in row["ratios"]:
        svg.dot(place(ratio), y, color)
    median, bound = place(row["median"]), place(row["bound"])
    svg.line([(median, y - 8), (median, y + 8)], color, width=3)
    svg.line([(bound, y - 10), (bound, y + 10)], "#333333", width=1.5, dash="3,2")
