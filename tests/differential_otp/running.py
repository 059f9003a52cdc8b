"""Many seeds: made, run twice, compared, added up."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable

import attrs

from .comparison import compare
from .differences import DIFFERENCES
from .generator import scenario_of
from .model import run_model
from .otp import run_otp

__all__ = ["Totals", "run_seeds"]

_AT_A_TIME = 1000


@attrs.define
class Totals:
    """What many seeds gave.

    Attributes:
        seeds: how many.
        events: of both sides, how many were compared.
        left_out: how many came after a difference that changes the tree.
        uses: of each allowed difference.
        kinds: how many events of each kind Erlang's side gave.
        faults: each with its scenario and both logs.
    """

    seeds: int = 0
    events: int = 0
    left_out: int = 0
    uses: Counter[str] = attrs.Factory(lambda: Counter({one.id: 0 for one in DIFFERENCES}))
    kinds: Counter[str] = attrs.Factory(Counter)
    faults: list[str] = attrs.Factory(list)

    def unused(self) -> list[str]:
        """The allowed differences that no scenario shows."""
        return [name for name, uses in self.uses.items() if not uses]


def run_seeds(seeds: Iterable[int]) -> Totals:
    """Compare all of them."""
    totals = Totals()
    remaining = iter(seeds)
    while chunk := list(itertools.islice(remaining, _AT_A_TIME)):
        scenarios = list(map(scenario_of, chunk))
        logs = run_otp(scenarios)
        for scenario in scenarios:
            otp = logs[scenario.seed]
            result = compare(scenario, otp, run_model(scenario))
            totals.seeds += 1
            totals.events += result.events
            totals.left_out += result.left_out
            totals.uses.update(result.uses)
            totals.kinds.update(event.split()[0] for events in otp for event in events)
            if result.fault:
                totals.faults.append(result.fault)
    return totals
