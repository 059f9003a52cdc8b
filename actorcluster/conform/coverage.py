"""Which sentences have a case, and why the others have none.

Runs in: both
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from . import runner as _runner  # noqa: F401  (which fills `CASES`)
from .case import CASES
from .material import Requirement, requirements

__all__ = ["INTERNAL", "coverage_lines", "uncovered"]

#: Sentences that no case tries, and why.
INTERNAL: Final[dict[str, str]] = {}


def _musts() -> list[Requirement]:
    return [
        one
        for one in requirements().values()
        if one.level == "MUST" and one.is_built and one.applies in ("worker", "both")
    ]


def _cases_of(requirement: str) -> list[str]:
    return [one.id for one in CASES.values() if requirement in one.requirements]


def uncovered() -> list[str]:
    """Give the MUSTs that have neither a case nor a reason."""
    return [one.id for one in _musts() if not _cases_of(one.id) and one.id not in INTERNAL]


def coverage_lines() -> Iterator[str]:
    """Say for each MUST that a worker has to keep which cases try it."""
    musts = _musts()
    internal = 0
    for one in musts:
        cases = _cases_of(one.id)
        if cases:
            shown = ", ".join(cases[:6]) + (f" and {len(cases) - 6} more" if cases[6:] else "")
            yield f"{one.id:11} {len(cases):4}  {shown}"
        elif one.id in INTERNAL:
            internal += 1
            yield f"{one.id:11} internal: {INTERNAL[one.id]}"
        else:
            yield f"{one.id:11} NO CASE: {one.text[:80]}"
    share = 100 * internal / len(musts)
    without = len(uncovered())
    yield f"{len(musts)} MUST, {without} without a case, {internal} internal ({share:.0f} %)"
    yield f"{len(CASES)} cases"
