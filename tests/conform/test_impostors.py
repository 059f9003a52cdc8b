"""What is no worker does not pass, however it fails to be one."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

from actorcluster import conform
from actorcluster.conform.report import Report

IMPOSTORS = {
    "true": ["/bin/true"],
    "cat": ["cat"],
    "sleep": ["sleep", "1000"],
    "yes": ["yes"],
}


def tried(command: Sequence[str], **options: object) -> Report:
    defaults: dict[str, object] = {"timeout": 1.0, "jobs": 2}
    return conform.try_program(conform.Options(command=tuple(command), **{**defaults, **options}))  # type: ignore[arg-type]


@pytest.mark.parametrize("command", IMPOSTORS.values(), ids=IMPOSTORS)
def test_what_says_nothing_of_the_kind_does_not_pass(command: Sequence[str]) -> None:
    report = tried(command)
    assert 1 == report.exit_status
    assert ["hs.hello"] == [one.case.id for one in report.of(conform.Outcome.FAIL)]
    assert report.badge().startswith("not conformant")


def test_a_worker_passes() -> None:
    worker = [sys.executable, "-m", "tests.conform.python_worker"]
    report = tried(worker, only=("hs.*",), timeout=20.0)
    assert 0 == report.exit_status, "\n".join(report.lines())
