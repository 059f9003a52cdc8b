"""Runs all rows, pair after pair, each round all of them, so that each is spread over the run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from benchmarks.model import Pair, Result, Row, Scale, Side, Wrong, summed_up
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
    run_some = functools.partial(_run_some, scale=scale, backwards=number % 2 == 1)
    if not scale.quick:
        for some in _neighbours(rows):
            yield from run_some(some)
        return
    with ThreadPoolExecutor(_QUICK_PAIRS) as pool:  # nobody looks at the figures
        for pairs in pool.map(run_some, _neighbours(rows)):
            yield from pairs


def _neighbours(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Give the rows one by one, or two at a time where one run of our side can serve both.

    It stands between the two peers then, so that each pair is still one right after the other.
    """
    rest = list(rows)
    while rest:
        count = 2 if len(rest) > 1 and rest[0].ours == rest[1].ours else 1
        yield rest[:count]
        del rest[:count]


def _run_some(rows: Sequence[Row], *, scale: Scale, backwards: bool) -> list[Pair | Wrong]:
    """Run our side and the peer of the first row, if there is a second row after its peer."""
    order = [*(row.peer for row in rows[1:]), rows[0].ours, rows[0].peer]
    ours_at = len(rows) - 1
    places = [len(rows), 0][: len(rows)]  # of each row's peer
    if backwards:
        order.reverse()
        ours_at, *places = (len(rows) - place for place in (ours_at, *places))
    results = [_run(side, scale) for side in order]
    return [_pair(results[ours_at], results[at], ours_first=ours_at < at) for at in places]


def _run(side: Side, scale: Scale) -> Result | Wrong:
    try:
        return side.run(scale)
    except Wrong as exc:
        return exc


def _pair(ours: Result | Wrong, peer: Result | Wrong, *, ours_first: bool) -> Pair | Wrong:
    if isinstance(ours, Wrong):
        return ours
    return peer if isinstance(peer, Wrong) else Pair(ours=ours, peer=peer, ours_first=ours_first)
