"""The short form of ``python -m tests.differential_otp``, and proof that it would notice."""

from __future__ import annotations

import pytest

from tests.differential_otp.comparison import compare
from tests.differential_otp.differences import DIFFERENCES
from tests.differential_otp.generator import scenario_of
from tests.differential_otp.model import run_model
from tests.differential_otp.otp import run_otp
from tests.differential_otp.running import run_seeds
from tests.differential_otp.scenarios import Actor, Exit, Group, Scenario, Start, Step, Stop
from tests.require import require


@require("erlang")
def test_only_the_allowed_differs() -> None:
    totals = run_seeds(range(200))
    assert [] == totals.faults
    assert [] == totals.unused()
    assert totals.left_out < totals.events / 2


def test_a_seed_is_one_scenario() -> None:
    assert scenario_of(7).term() == scenario_of(7).term()
    assert 50 == len({scenario_of(seed).term().partition("\n")[2] for seed in range(50)})


PAIR = Group("root", "one_for_all", children=(Actor("a"), Actor("b")))
STEPS: tuple[Step, ...] = (Start(), Exit("a", "boom"), Stop())
LOG = [
    ["start a", "start b", "up root"],
    ["exit a boom", "failed a boom", "stop b shutdown", "start a", "start b"],
    ["stop b shutdown", "stop a shutdown", "down root shutdown"],
]


def test_both_sides_speak_of_the_same() -> None:
    assert run_model(Scenario(1, PAIR, STEPS)).events == LOG


@require("erlang")
def test_both_sides_speak_of_the_same_in_erlang() -> None:
    assert run_otp([Scenario(1, PAIR, STEPS)]) == {1: LOG}


@pytest.mark.parametrize("step", [0, 1, 2])
def test_an_event_that_is_missing_or_out_of_place_is_noticed(step: int) -> None:
    scenario = Scenario(1, PAIR, STEPS)
    run = run_model(scenario)
    for event in range(len(LOG[step])):
        otp = [list(events) for events in LOG]
        assert "" == compare(scenario, otp, run).fault
        moved = otp[step].pop(event)
        assert f"step {step}," in compare(scenario, otp, run).fault
        otp[step].insert(event - 1 if event else len(otp[step]), moved)
        assert f"step {step}," in compare(scenario, otp, run).fault


def test_an_allowed_difference_is_named_once() -> None:
    ids = [difference.id for difference in DIFFERENCES]
    assert sorted(set(ids)) == sorted(ids)
