"""The command line, see `tests.node_parity.differential`."""

from __future__ import annotations

import argparse
import sys
import time

from .comparison import DIFFERENCES, compared
from .generator import scenario_of, shrunk
from .scenarios import Scenario, parse, written


def main(arguments: list[str]) -> int:
    """Play and compare; 1 if something differs that may not, or an entry was not needed."""
    parser = argparse.ArgumentParser(prog="python -m tests.node_parity.differential")
    parser.add_argument("--seeds", type=int, default=200, help="how many, beside the written ones")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--steps", help="only these, as in scenarios.toml")
    parser.add_argument("--policy", default="rr", choices=["rr", "none"], help="of --steps")
    parser.add_argument("--node", default="node", help="the program")
    options = parser.parse_args(arguments)
    begin = time.monotonic()
    seeds = range(options.first, options.first + options.seeds)
    scenarios = [*written(), *map(scenario_of, seeds)]
    if options.steps:
        scenarios = [parse("given", options.steps, options.policy)]
    result = compared(scenarios, options.node)
    for scenario, fault in result.faults[:5]:
        print(fault)
        if scenario.name.startswith("seed"):
            print(
                f"  shrunk: --policy {scenario.policy} --steps '{smallest(scenario, options.node)}'"
            )
        print()
    for difference in DIFFERENCES:
        print(f"{result.uses[difference]:5} {difference}")
    bad = [f"{len(result.faults)} faults"] if result.faults else []
    if not options.steps:
        bad += [f"not needed: {one}" for one in result.unused()]
    print(
        f"differential: {', '.join(bad) or 'ok'} scenarios={len(scenarios)} lines={result.lines}"
        f" seconds={time.monotonic() - begin:.1f}"
    )
    return 1 if bad else 0


def smallest(scenario: Scenario, node: str) -> Scenario:
    """Give what is left of a scenario that fails without what it does not need for that."""
    return shrunk(scenario, lambda smaller: bool(compared([smaller], node).faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
