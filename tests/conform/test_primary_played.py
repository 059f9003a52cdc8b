"""Hostile workers against our own primary: short forms of what `conform --primary` does.

Played once in CI: they wait much, for what never comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from actorcluster import conform
from tests.conform.planted import PLANTED, PRIMARY, Planted, find, plant

ALL: Final = conform.Options(command=PRIMARY)

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


def fuzzed(**more: Any) -> Any:
    options = conform.FuzzOptions(
        **{"command": PRIMARY, "minutes": 5.0, "timeout": 60.0, "lanes": 2, **more}
    )
    return conform.fuzz_primary(options, lambda _: None, None)


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
    for command, why in {
        ("/bin/true",): "^/bin/true exited with status 0 and has not said `port NUMBER`",
        ("echo", "port x"): r"^echo says 'port x\\n', and not `port NUMBER`",
        ("/nowhere/at-all",): "cannot be started",
    }.items():
        with pytest.raises(conform.Unfit, match=why):
            tried("framing.noise", command=command)


def test_our_primary_survives_by_chance() -> None:
    figures = fuzzed(cases=50, seed=3)
    assert figures.passed, "\n".join(figures.lines())
    assert 50 == figures.cases
    assert len(figures.met) > 50
    assert any("cells met" in line for line in figures.lines())


# ---- a primary with a fault --------------------------------------------------------------------


@pytest.fixture(params=["max_frame", "max_fds"])
def planted(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: Any) -> Iterator[Planted]:
    """A copy of the package with the fault, for the primary alone."""
    fault = PLANTED[request.param]
    with plant(fault, tmp_path) as environment:
        for name, text in environment.items():
            monkeypatch.setenv(name, text)
        yield fault


def test_a_missing_check_is_found(planted: Planted) -> None:
    report = tried(planted.case, timeout=2.0)  # what is to come never comes
    assert [planted.case] == [one.case.id for one in report.bad]


@pytest.mark.parametrize("planted", ["max_frame"], indirect=True)  # others take their time
@pytest.mark.usefixtures("planted")
def test_a_missing_check_is_found_by_chance(tmp_path: Path) -> None:
    found = find(tmp_path / "found", seed=1, minutes=5.0, lanes=2)
    assert found.is_good, found


@pytest.mark.parametrize("name", PLANTED)
def test_each_check_is_there_to_be_left_out(name: str, tmp_path: Path) -> None:
    with plant(PLANTED[name], tmp_path):
        pass
    assert PLANTED[name].case in {case.id for case in conform.select_primary(ALL)}
