"""From options to a report: all cases against one primary, or a campaign by chance.

Runs in: both
"""

from __future__ import annotations

import fnmatch
import functools
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

import trio

from ..case import Case as KitCase
from ..case import Result
from ..options import Options
from . import cases as _cases  # noqa: F401  (which fills `CASES`)
from .case import CASES, Case
from .fuzz.campaign import FuzzOptions, fuzz
from .fuzz.episode import Finding
from .fuzz.figures import Figures
from .lives import Life
from .play import play
from .report import PrimaryReport, coverage, kit_case, result_of, vector_of, write
from .stage import open_stage
from .subject import Unfit

__all__ = ["FuzzOptions", "Unfit", "fuzz_primary", "primary_coverage", "select_primary",
           "try_primary"]  # fmt: skip

T = TypeVar("T")

#: What a finding by chance is about, whatever it is: to go by the tables, and to live on.
_OF_CHANCE: Final = ("AWP-ST-8", "AWP-FR-6", "AWP-LM-2")


def _chosen(options: Options) -> list[Case]:
    return [
        case
        for case in CASES.values()
        if (options.slow or not case.slow or options.only)
        and (
            not options.only
            or any(
                fnmatch.fnmatch(name, pattern)
                for name in (case.id, *case.requirements)
                for pattern in options.only
            )
        )
    ]


def select_primary(options: Options) -> list[KitCase]:
    """Give the cases that these options ask for."""
    return [kit_case(case) for case in _chosen(options)]


def try_primary(options: Options, progress: Callable[[Result], None]) -> PrimaryReport:
    """Play hostile workers against a primary.

    Args:
        progress: is told of each case that was played.

    Raises:
        Unfit: the program is no primary that can be tried.
    """
    return _run(functools.partial(_try, options, progress))


async def _try(options: Options, progress: Callable[[Result], None]) -> PrimaryReport:
    results: list[Result] = []
    chosen = _chosen(options)
    left = [case.id for case in chosen]
    # One is played; another is there for cases that need two.
    async with open_stage(options.command, lanes=2, patience=options.timeout) as stage:
        for case in chosen:
            if stage.subject.status is not None:
                break
            played = await play(stage, case, options.seed)
            left.remove(case.id)
            results.append(result_of(played, "" if played.passed else stage.subject.tail()))
            progress(results[-1])
    return PrimaryReport(options=options, claims=None, results=results, not_run=left)


def fuzz_primary(
    options: FuzzOptions, progress: Callable[[str], None], directory: str | None
) -> Figures:
    """Play hostile workers by chance.

    Args:
        progress: is told of each finding, in words.
        directory: each finding becomes a vector there; None: nowhere.

    Raises:
        Unfit: the program is no primary that can be tried.
    """

    def report(finding: Finding, life: Life) -> None:
        progress(f"case {finding.case}, {finding.state}: {finding.text}")
        if directory is not None:
            name = f"fuzz.{options.seed}.{finding.case}"
            comment = f"{finding.state}: {finding.text}"
            vector = vector_of(name, _OF_CHANCE, comment, life.log, finding.before)
            write(Path(directory, f"{name}.json"), json.dumps([vector], indent=1) + "\n")

    return _run(functools.partial(fuzz, options, report))


def _run(main: Callable[[], Awaitable[T]]) -> T:
    """Run it; that the program is unfit is raised by itself."""
    try:
        return trio.run(main)
    except BaseExceptionGroup as group:
        unfit: BaseException | None = group.subgroup(Unfit)
        while isinstance(unfit, BaseExceptionGroup):
            unfit = unfit.exceptions[0]
        if unfit is None:
            raise
        raise unfit from None


def primary_coverage() -> tuple[list[str], list[str]]:
    """See `report.coverage`."""
    return coverage()
