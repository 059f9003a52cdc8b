"""The kit, tried by tests: the Python worker, and a way to call it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from actorcluster import conform

__all__ = ["PYTHON_WORKER", "tried"]

PYTHON_WORKER = (sys.executable, "-m", "tests.conform.python_worker")


def tried(command: Sequence[str] = PYTHON_WORKER, **options: Any) -> conform.Report:
    """Try a program; by default with much time for each wait."""
    return conform.try_program(
        conform.Options(command=tuple(command), **{"timeout": 60.0, "jobs": 2, **options})
    )
