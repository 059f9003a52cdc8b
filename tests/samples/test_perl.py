"""The worker in examples/workers/perl, which was written from the specification alone: the kit."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from actorcluster import conform
from tests.require import require

WORKER: Final = Path(__file__).parents[2] / "examples" / "workers" / "perl" / "worker.pl"


@require("perl")
def test_the_kit_finds_no_fault() -> None:
    options = conform.Options(command=("perl", str(WORKER)), jobs=4, timeout=60)
    report = conform.try_program(options)
    assert 0 == report.exit_status, "\n".join(report.lines())
    assert report.badge().startswith("L1 conformant: ")
