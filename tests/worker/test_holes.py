"""Free places are filled, so that new objects lie side by side."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from tests.require import require

_PAGE = 4096


def pages(before: str, options: Sequence[str] = (), *, size: int = 100) -> int:
    """On how many pages new objects lie, in a program that has left holes everywhere."""
    code = f"""
from actorcluster._worker.holes import fill_holes
every = [bytes({size}) for _ in range(20_000)]
del every[::40]
{before}
print(len({{id(one) // {_PAGE} for one in [bytes({size}) for _ in range(300)]}}))
"""
    command = [sys.executable, *options, "-c", code]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def test_new_objects_lie_side_by_side() -> None:
    few = 300 * 144 / _PAGE + 4
    assert pages("") > 3 * few  # else there is nothing to see
    assert few >= pages("assert fill_holes() > 300")


@require("glibc")
def test_large_objects_lie_side_by_side() -> None:
    few = 300 * 750 / _PAGE + 4
    assert pages("", size=700) > 3 * few
    assert few >= pages("assert fill_holes() > 500", size=700)


def test_another_allocator_is_left_alone() -> None:
    assert pages("assert fill_holes() == 0", ["-X", "dev"]) > 0
