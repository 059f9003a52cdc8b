"""``python -m benchmarks``: measures, prints the table, writes the page, plot and figures."""

from __future__ import annotations

import datetime
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs

try:
    import click
except ImportError:
    sys.exit("the benchmarks need click: pip install click")

from benchmarks import machine, measures, needs
from benchmarks.model import Row, Scale
from benchmarks.plot import plot
from benchmarks.process import ROOT
from benchmarks.run import Outcome, run
from benchmarks.table import page, programs, written

QUICK: Final = Scale(pairs=1, seconds=0.05, warmup=0.02, quick=True)


@click.command()
@click.option("--quick", is_flag=True, help="Only whether all works, in under a minute.")
@click.option("--only", multiple=True, metavar="NAME", help="Rows whose names begin so.")
@click.option("--pairs", type=click.IntRange(min=1), help="Of each row, 7 if not said.")
@click.option(
    "--seconds", type=click.FloatRange(min=0.01), help="Each side of each, 1 if not said."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for page, plot and figures; docs/ for a whole run, else nothing is written.",
)
@click.option("--render", is_flag=True, help="Only write page and plot anew from the figures.")
def main(
    *,
    quick: bool,
    only: tuple[str, ...],
    pairs: int | None,
    seconds: float | None,
    out: Path | None,
    render: bool,
) -> None:
    """Compare actorcluster with its peers, side by side, each pair one right after the other.

    Exits 0 if every program did what it was to do; targets that are missed are in the table.
    """
    scale = QUICK if quick else Scale()
    scale = attrs.evolve(scale, pairs=pairs or scale.pairs, seconds=seconds or scale.seconds)
    if render or (scale == Scale() and not only):
        out = out or ROOT / "docs"
    if render:
        assert out is not None
        _write(out, json.loads((out / "benchmarks" / "raw.json").read_text()))
        return
    rows = _chosen(measures.rows(scale), only)
    outcome = _measure(rows, scale, out)
    if not quick:
        summaries = outcome.summaries()
        click.echo("\n".join(["", *programs(summaries), "", *written(summaries), ""]))
        click.echo(", ".join(f"{name} {version}" for name, version in needs.versions().items()))
    click.echo(
        f"{len(outcome.summaries())} rows right, {len(outcome.failed)} wrong,"
        f" {len(outcome.left_out)} left out"
    )
    sys.exit(1 if outcome.failed else 0)


def _chosen(rows: list[Row], only: tuple[str, ...]) -> list[Row]:
    if not only:
        return rows
    chosen = [row for row in rows if row.name.startswith(only)]
    if not chosen:
        names = "\n  ".join(row.name for row in rows)
        raise click.UsageError(f"no row's name begins so; there are:\n  {names}")
    return chosen


def _measure(rows: list[Row], scale: Scale, out: Path | None) -> Outcome:
    keep = _keeper(scale, out)
    return run(rows, scale, tell=click.echo, keep=keep)


def _keeper(scale: Scale, out: Path | None) -> Callable[[Outcome], None]:
    """Make what writes down how things stand after each round."""
    began = time.monotonic()
    facts = {
        "began": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "machine": machine.facts(),
        "versions": needs.versions(),
        "scale": attrs.asdict(scale),
    }

    def keep(outcome: Outcome) -> None:
        if out is None:
            return
        rest = {"rows": outcome.summaries(), "left_out": outcome.left_out, "failed": outcome.failed}
        raw = {**facts, "took": time.monotonic() - began, **rest}
        (out / "benchmarks").mkdir(parents=True, exist_ok=True)
        (out / "benchmarks" / "raw.json").write_text(json.dumps(raw, indent=1) + "\n")
        _write(out, raw)

    return keep


def _write(out: Path, raw: dict[str, Any]) -> None:
    (out / "benchmarks" / "ratios.svg").write_text(plot(raw["rows"]))
    (out / "benchmarks.md").write_text(page(raw))


if __name__ == "__main__":
    main()
