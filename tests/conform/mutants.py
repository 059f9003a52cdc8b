"""Put faults into workers that pass: ``python -m tests.conform.mutants``.

Each goes into a copy of its worker's source, which is built and tried with the whole kit. The case
that is named beside it has to fail, and three others at most. Before that each worker is tried
without any fault; what fails then is nobody's catch. ``--quick`` plays only cases of the same area.
"""

from __future__ import annotations

import argparse
import enum
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from tests.conform.bases import BASES, Base
from tests.conform.faults import FAULTS, Fault

__all__ = ["Verdict", "applies", "main", "run_all"]

MOST_OTHERS = 3
SECONDS = 1200.0


class Verdict(enum.Enum):
    """What became of a fault."""

    CAUGHT = "caught"
    SURVIVED = "SURVIVED"
    LOUD = "TOO LOUD"
    BROKEN = "BROKEN: it cannot be built or tried"
    NOT_APPLIED = "NOT APPLIED: its text is not there once"

    @property
    def is_good(self) -> bool:
        """Whether the kit is as good as it should be."""
        return self is Verdict.CAUGHT


@attrs.frozen
class Catch:
    """What became of a fault, and which other cases failed."""

    verdict: Verdict
    others: tuple[str, ...] = ()


def applies(fault: Fault) -> bool:
    """Whether its text occurs exactly once, and something else comes in its place."""
    path = BASES[fault.base].source / fault.file
    occurs = path.read_text().count(fault.old) if path.is_file() else 0
    return occurs == 1 and fault.old != fault.new


def failing(base: Base, place: Path, patterns: Sequence[str]) -> frozenset[str] | None:
    """Try a worker in its copy; give the cases that fail, None if it cannot be tried."""
    results = place / "results.json"
    only = [word for pattern in patterns for word in ("--only", pattern)]
    only += ["--preload", base.preload] if base.preload else []
    only += ["--lane", base.lane] if base.lane else []
    done = subprocess.run(
        [sys.executable, "-m", "actorcluster", "conform", "--jobs", "4", "--timeout", "30",
         *only, "--json", str(results), "--", *base.command],
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )  # fmt: skip
    if done.returncode not in (0, 1) or not results.is_file():
        print(done.stdout)
        return None
    cases = json.loads(results.read_text())["cases"]
    return frozenset(one["id"] for one in cases if one["outcome"] in ("fail", "non-strict"))


def prepared(base: Base, place: Path, fault: Fault | None = None) -> bool:
    """Copy a worker's source, put the fault in, build it; False if that does not work."""
    generated = shutil.ignore_patterns(
        "__pycache__", "node_modules", "target", "dist", "*.o", "tests"
    )
    shutil.copytree(base.source, place, ignore=generated)
    if fault is not None:
        path = place / fault.file
        path.write_text(path.read_text().replace(fault.old, fault.new))
    if not base.build:
        return True
    done = subprocess.run(
        base.build, cwd=place, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if done.returncode != 0:
        print(done.stdout, done.stderr)
    return done.returncode == 0


def run_all(
    faults: Sequence[Fault], processes: int, *, quick: bool = False
) -> Iterator[tuple[Fault, Catch]]:
    """Try each in a copy of its own; give them in order."""
    with TemporaryDirectory(prefix="ac-conform-") as directory:
        usual = {
            name: _usual(BASES[name], Path(directory, f"base-{name}"), faults, quick=quick)
            for name in dict.fromkeys(fault.base for fault in faults)
        }

        def tried(index: int) -> Catch:
            fault = faults[index]
            return _try(fault, Path(directory, str(index)), usual[fault.base], quick=quick)

        with ThreadPoolExecutor(processes) as pool:
            yield from zip(faults, pool.map(tried, range(len(faults))), strict=True)


def _usual(
    base: Base, place: Path, faults: Sequence[Fault], *, quick: bool
) -> frozenset[str] | None:
    if not prepared(base, place):
        return None
    patterns = {pattern for fault in faults for pattern in _patterns(fault, quick=quick)}
    return failing(base, place, sorted(patterns))


def _patterns(fault: Fault, *, quick: bool) -> list[str]:
    return [f"{fault.case.partition('.')[0]}.*"] if quick else []


def _try(fault: Fault, place: Path, usual: frozenset[str] | None, *, quick: bool) -> Catch:
    if not applies(fault):
        return Catch(Verdict.NOT_APPLIED)
    base = BASES[fault.base]
    if usual is None or not prepared(base, place, fault):
        return Catch(Verdict.BROKEN)
    failed = failing(base, place, _patterns(fault, quick=quick))
    shutil.rmtree(place)
    if failed is None:
        return Catch(Verdict.BROKEN)
    others = tuple(sorted(failed - usual - {fault.case}))
    if fault.case not in failed or fault.case in usual:
        return Catch(Verdict.SURVIVED, others)
    return Catch(Verdict.LOUD if len(others) > MOST_OTHERS else Verdict.CAUGHT, others)


def missing_tools(fault: Fault) -> list[str]:
    """Give the programs that its worker needs and that are not here."""
    return [tool for tool in BASES[fault.base].tools if shutil.which(tool) is None]


def main(arguments: list[str]) -> int:
    """Do as the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tests.conform.mutants")
    parser.add_argument("ids", nargs="*", metavar="id", help="only these, or of this worker")
    parser.add_argument("--quick", action="store_true", help="only cases of the same area")
    parser.add_argument(
        "-j", type=int, default=max(1, (os.cpu_count() or 1) // 2), dest="processes"
    )
    options = parser.parse_args(arguments)
    wanted = [
        fault
        for fault in FAULTS
        if not options.ids or fault.id in options.ids or fault.base in options.ids
    ]
    if not wanted:
        parser.error("there is no such fault")
    faults = [fault for fault in wanted if not missing_tools(fault)]
    begin = time.monotonic()
    bad = 0
    for fault, catch in run_all(faults, options.processes, quick=options.quick):
        bad += not catch.verdict.is_good
        others = f"  also: {', '.join(catch.others)}" if catch.others else ""
        print(f"{fault.id:36} {fault.case:24} {catch.verdict.value}{others}", flush=True)
    seconds = time.monotonic() - begin
    skipped = len(wanted) - len(faults)
    print(f"mutants={len(faults)} bad={bad} skipped={skipped} seconds={seconds:.1f}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
