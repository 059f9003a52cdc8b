"""Hostile workers against our own primary: short forms of what `conform --primary` does.

Played once in CI: they wait much, for what never comes.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

import actorcluster
from actorcluster import conform

PRIMARY: Final = (sys.executable, "-m", "tests.conform.python_primary")
ROOT: Final = Path(__file__).parents[2]

#: A few of each area, and of each outcome; they are played against one primary.
SOME: Final[dict[str, tuple[str, ...]]] = {
    "frames": ("framing.giant", "framing.three-objects", "body.trailing", "channel.unknown"),
    "openings": ("hello.major", "hello.twice", "caps.msg", "state.CONN", "late.READY"),
    "descriptors": ("fds.max", "fds.fewer", "fds.bounced"),
    "mail": ("mail.nobody", "mail.window", "call.reply-twice", "monitor.twice"),
    "ports": ("conn.rejects", "conn.takes-and-dies", "conn.after-stop", "port.twice"),
    "memory files": ("bulk.taken", "bulk.unsealed", "bulk.too-large"),
    "two of them": ("duty.identity", "mail.held-back", "monitor.ends"),
    "duties": ("duty.first-byte", "duty.in-flight"),
    "ends": ("bomb.array", "goodbye.at-once", "abort.more", "stop.ignored"),
}


def tried(*only: str, command: tuple[str, ...] = PRIMARY, **more: Any) -> conform.Report:
    options = conform.Options(**{"command": command, "only": only, "timeout": 60.0, **more})
    return conform.try_primary(options, lambda _: None)


def fuzzed(directory: Path | None = None, **more: Any) -> Any:
    options = conform.FuzzOptions(
        **{"command": PRIMARY, "minutes": 5.0, "timeout": 60.0, "lanes": 2, **more}
    )
    return conform.fuzz_primary(options, lambda _: None, str(directory) if directory else None)


# ---- the table and chance ----------------------------------------------------------------------


def test_our_primary_survives() -> None:
    only = {name for names in SOME.values() for name in names}
    report = tried(*only)
    assert 0 == report.exit_status, "\n".join(report.lines())
    assert only == {one.case.id for one in report.results}


def test_our_primary_lets_in_nobody_else() -> None:
    """Over a path and a token."""
    report = tried("hello.token", "hello.door-closed", command=(*PRIMARY, "unix"))
    assert 0 == report.exit_status, "\n".join(report.lines())


def test_what_is_no_primary_cannot_be_tried() -> None:
    for command in (("/bin/true",), ("echo", "port x"), ("/nowhere/at-all",)):
        with pytest.raises(conform.Unfit):
            tried("framing.noise", command=command)


def test_our_primary_survives_by_chance() -> None:
    figures = fuzzed(cases=50, seed=3)
    assert figures.passed, "\n".join(figures.lines())
    assert 50 == figures.cases
    assert len(figures.met) > 50
    assert any("cells met" in line for line in figures.lines())


# ---- a primary with a fault --------------------------------------------------------------------


@attrs.frozen
class Planted:
    """One check that is not there."""

    file: str
    old: str
    new: str
    case: str
    seed: int


PLANTED: Final = {
    "max_frame": Planted(
        "wire/frames.py",
        "    if length > limit:",
        "    if length > limit << 8:",
        "framing.giant",
        1,
    ),
    "max_fds": Planted(
        "wire/descriptors.py", "if count > self.max_fds:", "if count > 255:", "fds.max", 1
    ),
}


@pytest.fixture(params=PLANTED)
def planted(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: Any) -> Planted:
    """A copy of the package with the fault, for the primary alone."""
    fault: Planted = PLANTED[request.param]
    package = Path(actorcluster.__file__).parent
    ignore = shutil.ignore_patterns("__pycache__", "vectors")
    shutil.copytree(package, tmp_path / "actorcluster", ignore=ignore)
    path = tmp_path / "actorcluster" / fault.file
    text = path.read_text()
    assert 1 == text.count(fault.old)
    path.write_text(text.replace(fault.old, fault.new))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    return fault


def test_a_missing_check_is_found(planted: Planted) -> None:
    report = tried(planted.case, timeout=2.0)  # what is to come never comes
    assert [planted.case] == [one.case.id for one in report.bad]


@pytest.mark.parametrize("planted", ["max_frame"], indirect=True)  # the other takes its time
def test_a_missing_check_is_found_by_chance(planted: Planted, tmp_path: Path) -> None:
    vectors = tmp_path / "found"
    figures = fuzzed(vectors, seed=planted.seed, findings=1, timeout=10.0)
    assert figures.findings
    found = figures.findings[0].case
    (vector,) = json.loads((vectors / f"fuzz.{planted.seed}.{found}.json").read_text())
    assert "stream" == vector["kind"]
    assert vector["reads"]
    again = fuzzed(seed=planted.seed, only=found, timeout=10.0)
    assert [found] == [one.case for one in again.findings]
