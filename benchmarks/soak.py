"""``python -m benchmarks.soak``: mixed load for a long time; memory, descriptors and threads.

The load is in `programs/soak_ours.py` and `programs/soak_clients.py`. This file looks at their
processes from outside, writes down what it sees, draws it, and fails if anything grows.
"""

from __future__ import annotations

import datetime
import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import click

from benchmarks import machine, needs, procfs
from benchmarks.growth import MEASURES, verdicts
from benchmarks.process import ROOT, Program, command, program
from benchmarks.soakplot import soak_page, soak_plot

LEAST_SECONDS: Final = 60.0
"""Shorter runs are not judged: everything grows at first."""

_MOST_SAMPLES: Final = 600
_LEAST_PAUSE: Final = 0.2

Series = dict[str, dict[str, list[float]]]


class Watch:
    """Looks at the primary, at what it has started, and keeps what it sees.

    Attributes:
        seconds: when it looked.
        series: what it saw, by whose it is, then by what it is.
    """

    def __init__(self, primary: int, lasting: int, workers: list[int]) -> None:
        self.seconds: list[float] = []
        self.series: Series = defaultdict(lambda: {name: [] for name in MEASURES})
        self._primary = primary
        helpers = [pid for pid in procfs.descendants(primary) if pid not in workers]
        self._groups = {"primary": [primary], "lasting worker": [lasting], "helpers": helpers}
        self._began = time.monotonic()

    def look(self) -> None:
        """Take one sample of all."""
        self.seconds.append(time.monotonic() - self._began)
        everybody = [self._primary, *procfs.descendants(self._primary)]
        for who, pids in {**self._groups, "all processes": everybody}.items():
            sums = dict.fromkeys(MEASURES, 0)
            for pid in pids:
                for name, value in _facts(pid).items():
                    sums[name] += value
            for name, value in sums.items():
                self.series[who][name].append(value)


def _facts(pid: int) -> dict[str, int]:
    """Look at one process; a worker may just have been killed."""
    try:
        return {
            "rss": procfs.rss(pid),
            "descriptors": procfs.descriptors(pid),
            "threads": procfs.threads(pid),
        }
    except (FileNotFoundError, ProcessLookupError, LookupError):
        return {}


def soak(seconds: float, kill_every: float) -> dict[str, Any]:
    """Run the load for so long; returns what was seen and counted."""
    patience = 2 * seconds + 60
    argv = command("soak_ours.py", {"kill_every": kill_every})
    with program(argv, patience=patience) as primary:
        said = primary.says()
        watch = Watch(primary.pid, said["workers"][0], said["workers"])
        with program(
            command("soak_clients.py", {"port": said["port"]}), patience=patience
        ) as clients:
            _watch(watch, seconds)
            asked = _ended(clients)
        counted = _ended(primary)
    return {
        "seconds": seconds,
        "clients": asked,
        **counted,
        "times": watch.seconds,
        "series": watch.series,
        "wrong": _wrong(asked, counted),
    }


def _watch(watch: Watch, seconds: float) -> None:
    pause = max(_LEAST_PAUSE, seconds / _MOST_SAMPLES)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        watch.look()
        time.sleep(pause)


def _ended(one: Program) -> dict[str, Any]:
    one.tell()
    result = one.says()
    one.ends()
    return result


def _wrong(clients: dict[str, int], counted: dict[str, Any]) -> list[str]:
    """Compare what was sent with what was received, where nobody was killed."""
    counts, lasting = counted["counts"], counted["lasting"]
    pairs = {
        "messages to the lasting worker": (counts["told lasting"], lasting["heard"]),
        "messages of the lasting worker": (lasting["sent"], counts["received lasting"]),
        "clients without any answer": (0, clients["hung"]),
    }
    return [f"{what}: {one}, {other}" for what, (one, other) in pairs.items() if one != other]


@click.command()
@click.option("--seconds", default=1800.0, show_default=True, type=click.FloatRange(min=2))
@click.option("--kill-every", default=1.0, show_default=True, type=click.FloatRange(min=0.05))
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for figures, plot and page; docs/benchmarks/ for the full time, else none.",
)
def main(seconds: float, kill_every: float, out: Path | None) -> None:
    """Run mixed load, and fail if memory, descriptors or threads grow, or anything is lost."""
    began = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
    result: dict[str, Any] = {
        "began": began,
        "machine": machine.facts(),
        "versions": needs.versions(),
    }
    result |= soak(seconds, kill_every)
    result["grown"] = verdicts(result["series"]) if seconds >= LEAST_SECONDS else None
    if out is None and seconds >= 1800:
        out = ROOT / "docs" / "benchmarks"
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "soak.json").write_text(json.dumps(result) + "\n")
        (out / "soak.svg").write_text(soak_plot(result))
        (out / "soak.md").write_text(soak_page(result))
    click.echo(f"clients {result['clients']}, done {result['counts']}")
    problems = result["wrong"] + (result["grown"] or [])
    click.echo("\n".join(problems) or ("flat" if result["grown"] == [] else "too short to judge"))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
