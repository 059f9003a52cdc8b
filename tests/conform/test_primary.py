"""Hostile workers against our own primary: short forms of what `conform --primary` does."""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

import actorcluster
from actorcluster import conform
from actorcluster.conform.frames import frame
from actorcluster.conform.material import requirements
from actorcluster.conform.primary.case import CASES
from actorcluster.conform.primary.fuzz.mutate import Mutator, Piece
from actorcluster.conform.primary.fuzz.sentences import good_frame, tame, vector_burst
from actorcluster.conform.primary.talk import Splitter
from actorcluster.wire._generated import LIMIT_DEFAULTS, Kind

PRIMARY: Final = (sys.executable, "-m", "tests.conform.python_primary")
ROOT: Final = Path(__file__).parents[2]

#: A few of each area, and of each outcome.
SOME: Final = {
    "frames": ("framing.giant", "framing.three-objects", "body.trailing", "channel.unknown"),
    "openings": ("hello.major", "hello.twice", "caps.msg", "state.CONN", "late.READY"),
    "descriptors": ("fds.max", "fds.fewer", "fds.bounced"),
    "mail": ("mail.nobody", "mail.window", "call.reply-twice", "monitor.twice"),
    "ports": ("conn.rejects", "conn.takes-and-dies", "conn.after-stop", "port.twice"),
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


# ---- the table ---------------------------------------------------------------------------------


def test_cases_are_about_sentences_that_there_are() -> None:
    assert len(CASES) >= 150
    for case in CASES.values():
        assert set(case.requirements) <= set(requirements()), case.id
        assert case.text.endswith("."), case.id
        assert case.outcomes, case.id


def test_every_cell_of_the_state_table_that_says_abort_is_played() -> None:
    told = {(case.id, state) for case in CASES.values() for state in case.outcomes}
    for kind in ("HELLO", "WELCOME", "STOP", "CONN", "DOWN", "LISTENING"):
        states = {state for name, state in told if name == f"state.{kind}"}
        assert len(states) >= 4, kind


@pytest.mark.parametrize("only", SOME.values(), ids=SOME)
def test_our_primary_survives(only: tuple[str, ...]) -> None:
    report = tried(*only)
    assert 0 == report.exit_status, "\n".join(report.lines())
    assert set(only) == {one.case.id for one in report.results}


def test_what_is_no_primary_cannot_be_tried() -> None:
    for command in (("/bin/true",), ("echo", "port x"), ("/nowhere/at-all",)):
        with pytest.raises(conform.Unfit):
            tried("framing.noise", command=command)


# ---- by chance ---------------------------------------------------------------------------------


def test_our_primary_survives_by_chance() -> None:
    figures = fuzzed(cases=50, seed=3)
    assert figures.passed, "\n".join(figures.lines())
    assert 50 == figures.cases
    assert len(figures.met) > 50
    assert any("cells met" in line for line in figures.lines())


def burst(number: int) -> list[Piece]:
    """What a case says by chance, of a seed."""
    chance = random.Random(f"8 {number}")
    state = chance.choice(("HANDSHAKE", "STARTING", "ACTIVE", "STOPPING", "CLOSING"))
    facts = {"worker": 1, "next": 5, "calls": [2], "listeners": [3], "said": 1, "handles": 0}
    facts["hello"] = {"versions": [[1, 0]]}
    frames = vector_burst(chance, state) if number % 3 == 0 else []
    frames = frames or [good_frame(chance, state, facts) for _ in range(4)]
    mutator = Mutator(chance, dict(LIMIT_DEFAULTS), functools.partial(tame, place="/tmp/"))
    return mutator.burst(frames)


def test_a_case_of_a_seed_is_always_the_same() -> None:
    cases = [burst(number) for number in range(300)]
    assert cases == [burst(number) for number in range(300)]
    assert len({piece.data for case in cases for piece in case}) > 300


def test_nobody_is_asked_to_listen_where_others_could_see() -> None:
    """Only on loopback, and in the file system only below the given directory."""
    for asked in (
        {"transport": "tcp", "port": 80},
        {"transport": "udp", "host": "::", "port": 0},
        {"transport": "unix", "path": "/run/app.sock"},
    ):
        data = frame(Kind.LISTEN, None, asked, channel=1)
        piece = tame(Piece(data + data, 0), place="/tmp/here/")
        for one in Splitter().feed(piece.data):
            said = one.payload
            assert said.get("host", "127.0.0.1") in ("127.0.0.1", "::1")
            assert 0 == said.get("port", 0)
            assert said.get("path", "/tmp/here/").startswith("/tmp/here/")
            assert "host" in said or "path" in said


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
    report = tried(planted.case, timeout=5.0)  # what is to come never comes
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
