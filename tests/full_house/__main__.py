"""The command line, see `tests.full_house`."""

from __future__ import annotations

import argparse
import sys

import trio

from tests.full_house.figures import House, figures
from tests.full_house.house import measure

#: Seconds; a client waits for all that came before it, and longer on a machine that does much else.
PATIENCE = 60.0


def main(arguments: list[str]) -> int:
    """Measure, print each figure with its limit; 1 if one is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.full_house", allow_abbrev=False)
    default = House()
    for name in ("connections", "workers", "limit", "open"):
        parser.add_argument(f"--{name}", type=int, default=getattr(default, name))
    parser.add_argument("--hold", type=float, default=default.hold, help="seconds")
    house = House(**vars(parser.parse_args(arguments)))
    measured = trio.run(measure, house, PATIENCE)
    held = figures(house, measured)
    for figure in held:
        print(figure)
    for failure, count in measured.failed.items():
        print(f"    {failure}: {count}")
    missed = [figure.name for figure in held if not figure.is_met]
    print(
        f"full_house: {'missed: ' + ', '.join(missed) if missed else 'ok'}"
        f" connections={house.connections} ideal={house.ideal:.1f} s"
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
