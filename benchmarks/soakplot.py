"""The plot and the page of a soak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from benchmarks.svg import Svg, round_steps

__all__ = ["soak_page", "soak_plot"]

_COLORS: Final = ("#1f5fa8", "#2a7f4f", "#b8860b", "#7a3e9d")
_TITLES: Final = {
    "rss": ("resident memory, MiB", 1024 * 1024),
    "descriptors": ("open descriptors", 1),
    "threads": ("threads", 1),
}
_HEAD: Final = """\
# Mixed load for a long time

Written by `python -m benchmarks.soak`, not by hand; [soak.json](soak.json) has every sample.
Messages both ways, questions, sockets and connections, while workers are killed and started again.
Growth is what the median of the last quarter of the time has over that of the second one.

"""
_WIDTH: Final = 900
_PANEL: Final = 190
_LEFT: Final = 60
_RIGHT: Final = 130
_TOP: Final = 40


def soak_plot(result: Mapping[str, Any]) -> str:
    """Draw a panel for each thing that was watched, with a line for each group of processes."""
    svg = Svg(_WIDTH, _TOP + (_PANEL + 40) * len(_TITLES))
    svg.text(10, 20, f"Mixed load for {result['seconds'] / 60:.1f} minutes", bold=True)
    for number, (name, (title, unit)) in enumerate(_TITLES.items()):
        lines = {who: _scaled(one[name], unit) for who, one in result["series"].items()}
        _panel(svg, _TOP + (_PANEL + 40) * number, title, result["times"], lines)
    return str(svg)


def _scaled(values: Sequence[float], unit: float) -> list[float]:
    return [value / unit for value in values]


def _panel(
    svg: Svg, top: float, title: str, times: Sequence[float], lines: Mapping[str, Sequence[float]]
) -> None:
    high = max(max(values) for values in lines.values()) * 1.05
    right, bottom = _WIDTH - _RIGHT, top + _PANEL

    def place(seconds: float, value: float) -> tuple[float, float]:
        share = seconds / times[-1] if times[-1] else 0.0
        return _LEFT + share * (right - _LEFT), bottom - value / high * (_PANEL - 20)

    svg.text(_LEFT, top + 12, title, bold=True)
    for step in round_steps(high):
        svg.line([place(0, step), place(times[-1], step)], "#dddddd")
        svg.text(_LEFT - 6, place(0, step)[1] + 4, f"{step:g}", anchor="end")
    for step in round_steps(times[-1] / 60, most=6):
        svg.text(place(step * 60, 0)[0], bottom + 16, f"{step:g} min", anchor="middle")
    for number, ((who, values), color) in enumerate(zip(lines.items(), _COLORS, strict=False)):
        svg.line([place(*point) for point in zip(times, values, strict=True)], color, width=1.5)
        svg.line([(right + 8, top + 30 + 18 * number), (right + 22, top + 30 + 18 * number)], color)
        svg.text(right + 28, top + 34 + 18 * number, who)


def soak_page(result: Mapping[str, Any]) -> str:
    """Write the page of a soak."""
    grown = result["grown"]
    flat = "too short to judge" if grown is None else "; ".join(grown) or "nothing grew"
    machine = f"{result['machine']['cpu']}, {result['machine']['cores']} cores"
    lines = [
        f"- began {result['began']}, {result['seconds']:g} s, {machine}",
        f"- growth: {flat}",
        f"- lost: {'; '.join(result['wrong']) or 'nothing'}\n",
        "![memory, descriptors and threads](soak.svg)\n",
        "| done | times |\n|---|--:|",
        *(f"| {what} | {count:,} |" for what, count in sorted(result["counts"].items())),
        *(f"| clients {what} | {count:,} |" for what, count in sorted(result["clients"].items())),
    ]
    return _HEAD + "\n".join([*lines, ""])
