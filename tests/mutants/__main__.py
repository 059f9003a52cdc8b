"""Try all faults of an area: ``python -m tests.mutants supervision``.

Each is put into a copy of the package of its own, and the test that is named beside it has to
fail. Before that the tests have to pass without any fault. The last line counts; the exit code is
1 if a fault went unnoticed, or its text is no longer there.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.mutants import liveness, parity, rollout, supervision, trace
from tests.mutants.mutant import Mutant, run_all, run_tests

AREAS: dict[str, Sequence[Mutant]] = {
    "liveness": liveness.MUTANTS,
    "parity": parity.MUTANTS,
    "supervision": supervision.MUTANTS + rollout.MUTANTS,
    "trace": trace.MUTANTS,
}


def main(arguments: list[str]) -> int:
    """Do as the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("area", choices=sorted(AREAS))
    parser.add_argument("ids", nargs="*", metavar="id", help="only these (default: all)")
    parser.add_argument("-j", type=int, default=os.cpu_count() or 1, dest="processes")
    options = parser.parse_args(arguments)
    mutants = [
        mutant for mutant in AREAS[options.area] if not options.ids or mutant.id in options.ids
    ]
    if unknown := set(options.ids) - {mutant.id for mutant in mutants}:
        parser.error(f"there is no {', '.join(sorted(unknown))} in {options.area}")
    begin = time.monotonic()
    with TemporaryDirectory(prefix="ac-mutants-") as directory:
        tests = sorted({mutant.test for mutant in mutants})
        if run_tests(tests, Path(directory, "copy")) != 0:
            print("without a fault the tests do not pass")
            return 1
    print(f"without a fault {len(tests)} tests pass", flush=True)
    width = max((len(mutant.id) for mutant in mutants), default=0)
    bad = 0
    for mutant, verdict in run_all(mutants, options.processes):
        bad += not verdict.is_good
        print(f"{mutant.id:{width}}  {mutant.file:22}  {verdict.value}", flush=True)
    seconds = time.monotonic() - begin
    print(f"mutants={len(mutants)} bad={bad} seconds={seconds:.1f}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
