"""The conformance kit: plays the primary, or hostile workers, against any program, and judges it.

Runs in: both

It shares the numbers of the protocol with the library (`wire._generated`) and nothing else: a
fault of the library is not to be a fault of the kit as well. ``python -m actorcluster conform`` is
its door.
"""

from __future__ import annotations

from .case import Outcome, Result
from .coverage import coverage_lines, uncovered
from .options import Options
from .primary.runner import (
    FuzzOptions,
    Unfit,
    fuzz_primary,
    primary_coverage,
    select_primary,
    try_primary,
)
from .report import Report, write_json, write_junit, write_transcripts
from .runner import select, try_program

__all__ = [
    "FuzzOptions",
    "Options",
    "Outcome",
    "Report",
    "Result",
    "Unfit",
    "coverage_lines",
    "fuzz_primary",
    "primary_coverage",
    "select",
    "select_primary",
    "try_primary",
    "try_program",
    "uncovered",
    "write_json",
    "write_junit",
    "write_transcripts",
]
