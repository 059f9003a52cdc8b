"""What a campaign by chance says of itself in the end, and when it has passed."""

from __future__ import annotations

import pytest

from actorcluster.conform.primary.fuzz.episode import Finding
from actorcluster.conform.primary.fuzz.figures import SLOPE, WARM, Figures, slope
from actorcluster.wire._generated import KINDS, State


def played(seconds: int = 600, growth: float = 0) -> Figures:
    """Good ones, of a primary that grows by so many bytes a minute, and has a garbage collector."""
    memory = [
        (float(now), int((30 << 20) + growth * now / 60 + (now % 7) * 100_000))
        for now in range(seconds)
    ]
    return Figures(seed=3, cases=100 * seconds, seconds=seconds, memory=memory)


def test_growth_is_that_of_the_line_through_all_points() -> None:
    assert 3 == pytest.approx(slope([(x, 5 + 3 * x) for x in range(10)]))
    assert 0 == slope([(1, 7)])
    assert SLOPE / 2 == pytest.approx(played(growth=SLOPE / 2).growth, rel=0.05)


def test_the_first_minute_does_not_count() -> None:
    figures = played(int(2 * WARM) + 1)
    figures.memory[:60] = [(now, 0) for now, _ in figures.memory[:60]]
    assert figures.growth == pytest.approx(0, abs=SLOPE / 10)
    assert played(int(2 * WARM)).growth is None
    assert "memory of the primary after the first minute: too short to say" in list(
        played(60).lines()
    )


def test_what_it_must_not_have() -> None:
    assert played().passed
    assert not played(growth=1.2 * SLOPE).passed
    for name, value in (
        ("findings", [Finding(1, "text", "ACTIVE", 2)]),
        ("crashes", ["it ended"]),
        ("failed", 1),
        ("left", "3 descriptors left behind"),
        ("cases", 0),
    ):
        figures = played()
        setattr(figures, name, value)
        assert not figures.passed, name
        assert list(figures.lines())[-1].startswith("FAILED"), name


def test_cells_that_were_never_met_are_named() -> None:
    figures = played()
    names = [info.name for info in KINDS.values() if info.status == "built"]
    states = [state.name for state in State if state is not State.CLOSED]
    figures.met.update((name, state) for name in names for state in states)
    count = len(names) * len(states)
    assert f"cells met: {count} of {count}" in list(figures.lines())
    assert not any("never met" in line for line in figures.lines())
    del figures.met["STOP", "CLOSING"], figures.met["PING", "HANDSHAKE"]
    figures.met["0x60", "ACTIVE"] = 4
    lines = list(figures.lines())
    assert f"cells met: {count - 2} of {count}" in lines
    assert "never met: PING in HANDSHAKE, STOP in CLOSING" in lines
    assert any(line.startswith("(unknown)") and line.split().count("4") for line in lines)


def test_one_is_one() -> None:
    figures = played()
    figures.cases = figures.served = 1
    figures.findings = [Finding(1, "text", "ACTIVE", 2)]
    lines = list(figures.lines())
    assert "FAILED: 1 case, 1 finding" == lines[-1]
    assert any(line.startswith("innocent worker: 1 request served, ") for line in lines)
    assert any(line.startswith("seed 3: 1 case in 600 s") for line in lines)


def test_the_rate_is_said() -> None:
    assert "seed 3: 60000 cases in 600 s, 100 a second" in list(played().lines())
