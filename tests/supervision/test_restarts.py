"""The arithmetic of restarts: budget, delays, and who comes back."""

from __future__ import annotations

import math
from typing import Any, Final, get_args

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorcluster._cluster.restarts import Backoff, Budget, after_exit
from actorcluster._worker.exit import Reason

# ---- budget -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("max_restarts", "within", "times", "expected"),
    [
        (0, 5.0, [0.0], [False]),
        (1, 5.0, [0.0, 0.0], [True, False]),
        (2, 5.0, [0.0, 0.0, 0.0], [True, True, False]),
        # What is exactly as old as the window still counts, what is older does not.
        (1, 5.0, [0.0, 5.0], [True, False]),
        (1, 5.0, [0.0, math.nextafter(5.0, 6.0)], [True, True]),
        (1, 0.25, [0.5, 0.75], [True, False]),
        (1, 0.25, [0.5, 0.765625], [True, True]),
        # One that was too many counts like any other.
        (1, 5.0, [0.0, 4.0, 8.0, 12.0], [True, False, False, False]),
        (1, 5.0, [0.0, 4.0, 9.5], [True, False, True]),
        (1, 5.0, [0.0, 6.0, 12.0, 18.0], [True, True, True, True]),
        # Clocks may begin below zero.
        (1, 5.0, [-7.0, -3.0, 3.0], [True, False, True]),
    ],
)
def test_budget(max_restarts: int, within: float, times: list[float], expected: list[bool]) -> None:
    budget = Budget(max_restarts, within)
    assert expected == [budget.spend(now) for now in times]


def test_a_failure_is_one_entry() -> None:
    budget = Budget(2, 10.0)
    assert 0 == budget.spent()
    for count in (1, 2, 3):
        budget.spend(1.0)
        assert count == budget.spent()
    budget.spend(11.5)
    assert 1 == budget.spent()


def test_a_cleared_budget_is_as_new() -> None:
    budget = Budget(1, 10.0)
    assert [True, False] == [budget.spend(1.0), budget.spend(1.0)]
    budget.clear()
    assert 0 == budget.spent()
    assert [True, False] == [budget.spend(1.0), budget.spend(1.0)]


@given(
    st.integers(0, 6),
    st.floats(0.001, 100),
    st.lists(st.floats(0, 50, allow_nan=False), max_size=30),
)
def test_budget_is_what_is_in_the_window(
    max_restarts: int, within: float, pauses: list[float]
) -> None:
    budget = Budget(max_restarts, within)
    now, times = 0.0, []
    for pause in pauses:
        now += pause
        times.append(now)
        inside = [time for time in times if time >= now - within]
        assert (len(inside) <= max_restarts) == budget.spend(now)
        assert len(inside) == budget.spent()


# ---- backoff ----------------------------------------------------------------------------------

NEARLY_ONE: Final = math.nextafter(1.0, 0.0)


@pytest.mark.parametrize(
    ("backoff", "chance", "expected"),
    [
        (Backoff(), 0.0, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.5, 12.5]),
        (Backoff(), 0.5, [0.11, 0.22, 0.44, 0.88, 1.76, 3.52, 7.04, 13.75, 13.75]),
        (Backoff(), NEARLY_ONE, [0.12, 0.24, 0.48, 0.96, 1.92, 3.84, 7.68, 15.0, 15.0]),
        (Backoff(min=1, max=10, jitter=0), 0.9, [1, 2, 4, 8, 10, 10]),
        (Backoff(min=1, max=10, factor=3, jitter=0), 0.0, [1, 3, 9, 10]),
        (Backoff(min=1, max=10, factor=1, jitter=1), 0.25, [1.25, 1.25, 1.25]),
        (Backoff(min=1, max=10, jitter=1), 0.5, [1.5, 3, 6, 7.5, 7.5]),
        (Backoff(min=2, max=2), 0.0, [2, 2]),
        (Backoff(min=2, max=2), 0.5, [2, 2]),
        # The smallest delay leaves room for a part of what is random.
        (Backoff(min=9, max=10, jitter=0.5), 0.0, [9, 9]),
        (Backoff(min=9, max=10, jitter=0.5), 0.1, [9.45, 9.45]),
        (Backoff(min=9, max=10, jitter=0.5), 0.9, [10, 10]),
        (Backoff(min=0, max=0), 0.5, [0, 0]),
        (Backoff(min=0, max=10), 0.5, [0, 0, 0]),
    ],
)
def test_delays(backoff: Backoff, chance: float, expected: list[float]) -> None:
    found = [backoff.delay(failures, chance) for failures in range(len(expected))]
    assert pytest.approx(expected) == found


@pytest.mark.parametrize("failures", [1023, 1024, 10_000, 10**5])
@pytest.mark.parametrize(
    ("backoff", "expected"),
    [
        (Backoff(), 12.5),
        (Backoff(factor=2), 12.5),
        (Backoff(factor=1e300), 12.5),
        (Backoff(min=1, max=1, factor=1), 1.0),
        # Nothing times whatever is nothing.
        (Backoff(min=0), 0.0),
        (Backoff(min=0, factor=2), 0.0),
    ],
)
def test_very_many_failures(backoff: Backoff, failures: int, expected: float) -> None:
    assert pytest.approx(expected) == backoff.delay(failures, 0.0)


def test_those_that_wait_longest_differ() -> None:
    delays = [Backoff().delay(100, chance / 10) for chance in range(10)]
    assert sorted(set(delays)) == delays
    assert 15.0 > delays[-1]


@st.composite
def backoffs(draw: st.DrawFn) -> Backoff:
    least, most = sorted([draw(st.floats(0, 1000)), draw(st.floats(0, 1000))])
    return Backoff(
        min=least,
        max=most,
        factor=draw(st.floats(1, 1e6)),
        jitter=draw(st.floats(0, 1)),
    )


CHANCES = st.floats(0, 1, exclude_max=True)


@given(backoffs(), st.integers(0, 5000), CHANCES)
def test_a_delay_is_never_out_of_bounds(backoff: Backoff, failures: int, chance: float) -> None:
    assert backoff.min <= backoff.delay(failures, chance) <= backoff.max


@given(backoffs(), st.integers(0, 2000), CHANCES)
def test_a_delay_is_not_shorter_than_the_one_before(
    backoff: Backoff, failures: int, chance: float
) -> None:
    assert backoff.delay(failures, chance) <= backoff.delay(failures + 1, chance)


@given(backoffs(), st.integers(0, 2000), CHANCES, CHANCES)
def test_what_is_added_is_at_most_the_jitter(
    backoff: Backoff, failures: int, one: float, other: float
) -> None:
    low, high = sorted([one, other])
    least = backoff.delay(failures, 0.0)
    assert least <= backoff.delay(failures, low) <= backoff.delay(failures, high)
    assert backoff.delay(failures, high) <= least * (1 + backoff.jitter) * (1 + 1e-12)


def test_backoff_is_a_value() -> None:
    assert Backoff(min=1, max=2) == Backoff(min=1.0, max=2.0)
    assert hash(Backoff()) == hash(Backoff(max=15))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Backoff().min = 1  # type: ignore[misc]  # wrong on purpose


# ---- who comes back ---------------------------------------------------------------------------

WELL = ("normal", "shutdown", "killed")
FAILURES = ("error", "exit", "signal", "start_timeout", "lost", "hung", "oom")
REASONS = (*WELL, *FAILURES, "protocol")

#: Restart type; what follows a good end; an end before being ready; a failure; a broken protocol.
FATES: dict[str, tuple[str, str, str, str]] = {
    "permanent": ("restart", "restart", "restart", "park"),
    "transient": ("finish", "restart", "restart", "park"),
    "temporary": ("finish", "finish", "finish", "finish"),
}


def test_no_reason_is_left_out() -> None:
    assert set() == set(get_args(Reason)) - set(REASONS)


@pytest.mark.parametrize("was_ready", [True, False])
@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("restart", FATES)
def test_after_exit(restart: str, reason: str, was_ready: bool) -> None:
    well, well_too_early, failed, broken = FATES[restart]
    expected: Any
    if reason == "protocol":
        expected = broken
    elif reason in WELL:
        expected = well if was_ready else well_too_early
    else:
        expected = failed
    assert expected == after_exit(restart, reason, was_ready=was_ready)
