"""The command line, see `tests.differential_otp`."""

from __future__ import annotations

import argparse
import sys
import time

from tests.differential_otp.running import run_seeds


def main(arguments: list[str]) -> int:
    """Compare many seeds and print all the counts; 1 if something differs that may not."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential_otp", allow_abbrev=False)
    parser.add_argument("--seeds", type=int, default=5000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    options = parser.parse_args(arguments)
    begin = time.monotonic()
    totals = run_seeds(range(options.first, options.first + options.seeds))
    for fault in totals.faults[:5]:
        print(fault, end="\n\n")
    for name, count in (*totals.kinds.most_common(), *totals.uses.items()):
        print(f"{name:28} {count}")
    bad = [f"{len(totals.faults)} faults"] if totals.faults else []
    bad += [f"unused: {name}" for name in totals.unused()]
    print(
        f"differential_otp: {', '.join(bad) or 'ok'}"
        f" seeds={totals.seeds} events={totals.events} left_out={totals.left_out}"
        f" seconds={time.monotonic() - begin:.1f}"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
