"""Runs all rows, pair after pair, each round all of them, so that each is spread over the run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from benchmarks.model import Pair, Row, Scale, Wrong, summed_up
from benchmarks.needs import lack

__all__ = ["Outcome", "run"]

_QUICK_PAIRS: Final = 4
"""Pairs at a time in a quick run."""


class Outcome:
    """What has come of a run so far.

    Attributes:
        pairs: of each row that was run.
        left_out: rows that were not, and why.
        failed: rows whose programs did something wrong, and what.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.left_out = {row.name: why for row in rows if (why := _lack(row))}
        self.pairs: dict[str, list[Pair]] = {
            row.name: [] for row in rows if row.name not in self.left_out
        }
        self.failed: dict[str, str] = {}
        self._rows = {row.name: row for row in rows}

    def rows(self) -> list[Row]:
        """Give the rows that can be run, and have not failed."""
        return [self._rows[name] for name in self.pairs if name not in self.failed]

    def summaries(self) -> list[dict[str, Any]]:
        """Sum up the rows that have been run."""
        return [summed_up(row, self.pairs[row.name]) for row in self.rows() if self.pairs[row.name]]


def _lack(row: Row) -> str | None:
    needs = (*row.ours.needs, *row.peer.needs)
    return next((why for name in needs if (why := lack(name))), None)


def run(
    rows: Sequence[Row],
    scale: Scale,
    *,
    tell: Callable[[str], None],
    keep: Callable[[Outcome], None],
) -> Outcome:
    """Run so many pairs of each row, a pair of each in turn; who begins changes each time.

    Args:
        rows: what to run.
        scale: how much of it.
        tell: called with a line of text for each pair.
        keep: called after each round, so that not all is lost if a later one does not come.
    """
    outcome = Outcome(rows)
    for name, why in outcome.left_out.items():
        tell(f"{name}: left out, {why}")
    for number in range(scale.pairs):
        rows = outcome.rows()
        for row, pair in zip(rows, _round(rows, scale, number), strict=True):
            where = f"{number + 1}/{scale.pairs} {row.name}"
            if isinstance(pair, Wrong):
                outcome.failed[row.name] = str(pair)
                tell(f"{where}: WRONG, {pair}")
            else:
                outcome.pairs[row.name].append(pair)
                tell(f"{where}: {'right' if scale.quick else f'{pair.ratio:.2f}'}")
        keep(outcome)
    return outcome


def _round(rows: Sequence[Row], scale: Scale, number: int) -> Iterator[Pair | Wrong]:
    run_one = functools.partial(_run_pair, scale=scale, ours_first=number % 2 == 0)
    if not scale.quick:
        yield from map(run_one, rows)
        return
    with ThreadPoolExecutor(_QUICK_PAIRS) as pool:  # nobody looks at the figures
        yield from pool.map(run_one, rows)


def _run_pair(row: Row, scale: Scale, *, ours_first: bool) -> Pair | Wrong:
    """Run both sides of a row, one right after the other."""
    first, second = (row.ours, row.peer) if ours_first else (row.peer, row.ours)
    try:
        results = [first.run(scale), second.run(scale)]
    except Wrong as exc:
        return exc
    ours, peer = results if ours_first else reversed(results)
    return Pair(ours=ours, peer=peer, ours_first=ours_first)
