"""Just enough SVG for the plots: text, lines, circles; no library."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

__all__ = ["BAD", "GOOD", "GREY", "Svg", "decades", "round_steps"]

GOOD: Final = "#2a7f4f"
BAD: Final = "#c0392b"
GREY: Final = "#888888"

_STYLE: Final = "font-family:sans-serif;font-size:12px;fill:#333333"


class Svg:
    """A picture of a given size, on white."""

    def __init__(self, width: float, height: float) -> None:
        self.width = width
        self.height = height
        self._parts = [f'<rect width="{width:g}" height="{height:g}" fill="white"/>']

    def text(
        self, x: float, y: float, text: str, *, anchor: str = "start", bold: bool = False
    ) -> None:
        """Write something; y is where the letters stand."""
        weight = ' font-weight="bold"' if bold else ""
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'
        )

    def line(
        self, points: Sequence[tuple[float, float]], color: str, *, width: float = 1, dash: str = ""
    ) -> None:
        """Draw a line through some points."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        stroke = f'stroke="{color}" stroke-width="{width:g}"{dashes}'
        self._parts.append(f'<polyline points="{path}" fill="none" {stroke}/>')

    def dot(self, x: float, y: float, color: str, *, radius: float = 2.5) -> None:
        """Draw a dot that lets others shine through."""
        self._parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{color}" fill-opacity="0.5"/>'
        )

    def __str__(self) -> str:
        """Give the whole file."""
        size = f'width="{self.width:g}" height="{self.height:g}"'
        box = f'viewBox="0 0 {self.width:g} {self.height:g}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {box} style="{_STYLE}">'
        return "\n".join([head, *self._parts, "</svg>", ""])


def decades(low: float, high: float) -> list[float]:
    """Give 1, 2 and 5 of each power of ten between two positive numbers, for a logarithmic axis."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (step * 10.0**power for power in range(first, last + 1) for step in (1, 2, 5))
    return [step for step in steps if low <= step <= high]


def round_steps(high: float, most: int = 5) -> Iterator[float]:
    """Give round numbers from 0 to this one, and not many of them, for an ordinary axis."""
    rough = max(high, 1e-9) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    for number in range(int(high / step) + 1):
        yield number * step
