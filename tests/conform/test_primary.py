"""Cases and mutations of `conform --primary`, without a primary: that is test_primary_played."""

from __future__ import annotations

import functools
import random

from actorcluster.conform.frames import frame
from actorcluster.conform.material import requirements
from actorcluster.conform.primary.case import CASES
from actorcluster.conform.primary.fuzz.mutate import Mutator, Piece
from actorcluster.conform.primary.fuzz.sentences import good_frame, tame, vector_burst
from actorcluster.conform.primary.report import INTERNAL
from actorcluster.conform.primary.runner import primary_coverage
from actorcluster.conform.primary.talk import Splitter
from actorcluster.wire._generated import LIMIT_DEFAULTS, Kind

# ---- the table ---------------------------------------------------------------------------------


def test_cases_are_about_sentences_that_there_are() -> None:
    assert len(CASES) >= 150
    for case in CASES.values():
        assert set(case.requirements) <= set(requirements()), case.id
        assert case.text.endswith("."), case.id
        assert case.outcomes, case.id


def test_every_must_has_a_case_or_a_reason() -> None:
    lines, missing = primary_coverage()
    assert [] == missing
    musts = {
        one.id: one
        for one in requirements().values()
        if one.level == "MUST" and one.is_built and one.applies in ("primary", "both")
    }
    assert set(INTERNAL) <= set(musts)
    assert all(INTERNAL.values())
    assert len(INTERNAL) <= len(musts) // 10
    assert any(f"{len(INTERNAL)} internal" in line for line in lines)
    tried = {name for case in CASES.values() for name in case.requirements}
    assert set() == tried & set(INTERNAL)


def test_every_cell_of_the_state_table_that_says_abort_is_played() -> None:
    told = {(case.id, state) for case in CASES.values() for state in case.outcomes}
    for kind in ("HELLO", "WELCOME", "STOP", "CONN", "DOWN", "LISTENING"):
        states = {state for name, state in told if name == f"state.{kind}"}
        assert len(states) >= 4, kind


# ---- by chance ---------------------------------------------------------------------------------


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
