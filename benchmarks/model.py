"""What a benchmark is made of, and the arithmetic of its ratios. No processes here."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import attrs

__all__ = [
    "AT_LEAST",
    "Mark",
    "Pair",
    "Result",
    "Row",
    "Scale",
    "Side",
    "Wrong",
    "check",
    "summed_up",
]

AT_LEAST = "≥"
"""Before a bound from below."""

Result = Mapping[str, Any]
"""What one side of one pair gave: the JSON line of its program, and ``value``."""


class Wrong(Exception):
    """A program did not do what it was to do, so its figures are worth nothing."""


@attrs.frozen(kw_only=True)
class Scale:
    """How much is measured.

    Attributes:
        pairs: how often both sides of each row are run.
        seconds: that each side of each pair measures, at least.
        warmup: seconds before that, discarded.
        quick: only whether it works is asked, the figures are not.
    """

    pairs: int = 7
    seconds: float = 1.0
    warmup: float = 0.3
    quick: bool = False


@attrs.frozen(kw_only=True)
class Mark:
    """What was asked of a row, as a bound of the median ratio.

    Attributes:
        bound: of the median.
        at_least: whether it is the lower bound.
        none_of: something that our side's results count, and of which there may be none.
    """

    bound: float
    at_least: bool
    none_of: str | None = None

    def __str__(self) -> str:
        text = f"{AT_LEAST if self.at_least else '≤'} {self.bound:g}"
        return text if self.none_of is None else f"{text}, 0 {self.none_of}"

    def is_met(self, median: float, ours: Sequence[Result]) -> bool:
        """Whether it is met by this median, and by these results of our side."""
        if self.none_of is not None and any(result[self.none_of] for result in ours):
            return False
        return median >= self.bound if self.at_least else median <= self.bound


@attrs.frozen(kw_only=True)
class Side:
    """One of the two that are compared.

    Attributes:
        who: its name in tables.
        files: its programs, as paths in `benchmarks/programs`.
        arguments: what the program is given beside times.
        needs: programs and modules without which it cannot run, see `benchmarks/needs.py`.
        run: runs it once, and gives its result.
    """

    who: str
    files: tuple[str, ...]
    arguments: Mapping[str, object]
    needs: tuple[str, ...] = ()
    run: Callable[[Scale], Result] = attrs.field(eq=False, repr=False)


@attrs.frozen(kw_only=True)
class Row:
    """One line of the table: two programs, one figure of each, their ratio.

    Attributes:
        name: of the row, unique.
        measure: what is measured, see `benchmarks/measures`.
        title: the same in words.
        unit: of the figure: ``"/s"``, ``"s"`` or ``"bytes"``.
        ours: our side.
        peer: the other one.
        mark: what was asked of the ratio, ours to the peer's.
        remark: what else there is to say about a side's results, in a few words.
    """

    name: str
    measure: str
    title: str
    unit: Literal["/s", "s", "bytes"]
    ours: Side
    peer: Side
    mark: Mark | None = None
    remark: Callable[[Sequence[Result]], str] | None = attrs.field(
        default=None, eq=False, repr=False
    )


@attrs.frozen(kw_only=True)
class Pair:
    """Both sides, one right after the other."""

    ours: Result
    peer: Result
    ours_first: bool

    @property
    def ratio(self) -> float:
        """Ours to the peer's."""
        ours: float = self.ours["value"]
        peer: float = self.peer["value"]
        return ours / peer


def summed_up(row: Row, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Sum up the pairs of a row, in the form in which it is kept and shown."""
    ratios = [pair.ratio for pair in pairs]
    ours = [pair.ours for pair in pairs]
    peers = [pair.peer for pair in pairs]
    median = statistics.median(ratios)
    return {
        "name": row.name,
        "measure": row.measure,
        "title": row.title,
        "unit": row.unit,
        "median": median,
        "min": min(ratios),
        "max": max(ratios),
        "ratios": ratios,
        "mark": None if row.mark is None else str(row.mark),
        "bound": None if row.mark is None else row.mark.bound,
        "met": None if row.mark is None else row.mark.is_met(median, ours),
        "ours": _side(row.ours, ours, row.remark),
        "peer": _side(row.peer, peers, row.remark),
        "pairs": [attrs.asdict(pair, recurse=False) for pair in pairs],
    }


def _side(
    side: Side, results: Sequence[Result], remark: Callable[[Sequence[Result]], str] | None
) -> dict[str, Any]:
    return {
        "who": side.who,
        "files": list(side.files),
        "arguments": dict(side.arguments),
        "median": statistics.median(result["value"] for result in results),
        "count": sum(result["received"] for result in results),
        "remark": "" if remark is None else remark(results),
    }


def check(result: Result, *, checksum: float | None = None, least: float = 0) -> None:
    """Compare what a program counted with what it must be.

    Args:
        result: the program's.
        checksum: what looking at every message must give.
        least: seconds that must have been measured.

    Raises:
        Wrong: they differ.
    """
    if result["sent"] != result["received"] or not result["received"]:
        raise Wrong(f"sent {result['sent']}, received {result['received']}")
    if checksum is not None and result["checksum"] != checksum:
        raise Wrong(f"the checksum is {result['checksum']}, it must be {checksum}")
    if result["seconds"] < least:
        raise Wrong(f"measured {result['seconds']} s, that is less than {least} s")
