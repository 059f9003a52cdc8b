"""Run tests again and again: ``python -m tests.repeat -n 50 tests/e2e``.

Each run is a pytest of its own. With ``--shuffle`` each has another order, which the number of the
run makes again: ``--shuffle=7`` for pytest itself is the order of run 7. A failing run's output is
shown; the last line counts: ``runs=50 failures=0 seconds=412.3``. The exit code is 1 if any failed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time


def main(arguments: list[str]) -> int:
    """Repeat as the arguments say; what it does not know goes to pytest."""
    parser = argparse.ArgumentParser(prog="python -m tests.repeat", allow_abbrev=False)
    parser.add_argument("-n", type=int, default=50, dest="runs", help="how often (default 50)")
    parser.add_argument("--shuffle", action="store_true", help="in another order each time")
    options, pytest_arguments = parser.parse_known_args(arguments)
    command = [sys.executable, "-m", "pytest", "-q", *pytest_arguments]
    failures = 0
    begin = time.monotonic()
    for run in range(1, options.runs + 1):
        order = [f"--shuffle={run}"] * options.shuffle
        done = subprocess.run(
            [*command, *order],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        failures += done.returncode != 0
        summary = done.stdout.rstrip().rpartition("\n")[2]
        print(f"run {run}: {done.stdout if done.returncode else summary}", flush=True)
    seconds = time.monotonic() - begin
    print(f"runs={options.runs} failures={failures} seconds={seconds:.1f}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
