"""What is decided about one worker, beat by beat; without a clock or a process."""

from __future__ import annotations

import math

import pytest

from actorcluster._worker.pulse import Act, Beats, Pulse, is_starved

NAMES = {Act.ASK: "ask", Act.REPORT: "report", Act.RECOVERED: "recovered", Act.KILL: "kill"}


def live(script: str, hung_after: float = math.inf) -> list[str]:
    """What is done at each beat, one a second.

    Args:
        script: of each beat, ``h`` something was heard, ``.`` nothing, ``x`` nothing, which
            counts for nothing.
        hung_after: seconds.
    """
    pulse, done = Pulse(hung_after), []
    for now, what in enumerate(script):
        acts = pulse.beat(now, heard=what == "h", counts=what != "x")
        acts += pulse.end(now, heard=False)
        done.append(" ".join(NAMES[act] for act in acts))
    return done


# ---- who is reported --------------------------------------------------------------------------


def test_one_that_answers_is_asked_at_each_beat() -> None:
    assert ["ask"] * 4 == live(".hhh")


def test_one_that_talks_by_itself_is_asked_too() -> None:
    """What it says now tells nothing of the next beat."""
    assert ["ask"] * 3 == live("hhh")


def test_two_beats_without_an_answer_are_stuck() -> None:
    assert ["ask", "", "report"] == live("...")


def test_it_is_asked_only_once_and_reported_only_once() -> None:
    assert ["ask", "", "report", "", "", ""] == live("......")


def test_an_answer_at_the_last_moment_counts() -> None:
    assert ["ask", "", "ask", "", "ask", ""] == live("..h.h.")


def test_whoever_answers_again_has_recovered() -> None:
    assert ["ask", "", "report", "", "recovered ask", "ask"] == live("....hh")


def test_a_second_time_is_told_as_well() -> None:
    expected = ["ask", "", "report", "recovered ask", "", "report", "recovered ask"]
    assert expected == live("...h..h")


def test_what_counts_for_nothing_accuses_nobody() -> None:
    assert ["ask", "", "", "", ""] == live(".xxxx")
    assert ["ask", "", "", "report"] == live(".x..")
    assert ["ask", "", "", "report"] == live("..x.")


def test_an_answer_counts_even_then() -> None:
    pulse = Pulse()
    pulse.beat(0, heard=False, counts=True)
    assert [Act.ASK] == pulse.beat(1, heard=True, counts=False)


# ---- who is killed ----------------------------------------------------------------------------


def test_without_a_limit_nobody_is_killed() -> None:
    assert "kill" not in " ".join(live("." * 1000))


def test_killed_so_many_seconds_after_the_question() -> None:
    assert ["ask", "", "report", "", "", "kill", ""] == live(".......", hung_after=5)


def test_never_before_it_was_reported() -> None:
    assert ["ask", "", "report kill", ""] == live("....", hung_after=1)


def test_seconds_that_count_for_nothing_are_given_back() -> None:
    assert ["ask", "", "report", "", "", "", "kill"] == live("...x...", hung_after=5)
    assert ["ask", "", "", "", "report", "", "", "kill"] == live(".xx.....", hung_after=5)


def test_whoever_answers_begins_anew() -> None:
    expected = ["ask", "", "report", "", "recovered ask", "", "report", "", "", "kill"]
    assert expected == live("....h.....", hung_after=5)


def test_the_moment_lies_between_two_beats() -> None:
    pulse = Pulse(3.25)
    assert math.inf == pulse.ends_at
    for now in range(3):
        assert math.inf == pulse.ends_at
        pulse.beat(now, heard=False, counts=True)
    assert 3.25 == pulse.ends_at
    assert [] == pulse.end(3.24, heard=False)
    assert [Act.KILL] == pulse.end(3.25, heard=False)
    assert math.inf == pulse.ends_at
    assert [] == pulse.end(4, heard=False)


def test_who_answers_in_the_last_moment_lives_and_is_asked_at_the_next_beat() -> None:
    pulse = Pulse(3.25)
    for now in range(3):
        pulse.beat(now, heard=False, counts=True)
    assert [Act.RECOVERED] == pulse.end(3.25, heard=True)
    assert (math.inf, False) == (pulse.ends_at, pulse.is_stuck)
    assert [Act.ASK] == pulse.beat(4, heard=False, counts=True)


def test_how_long_it_has_been_silent() -> None:
    pulse = Pulse()
    assert 0 == pulse.silence(5)
    pulse.beat(5, heard=False, counts=True)
    pulse.beat(6, heard=False, counts=False)
    assert 2.5 == pulse.silence(7.5)


# ---- beats ------------------------------------------------------------------------------------


def test_three_beats_make_a_heartbeat() -> None:
    assert 2.0 == Beats.of(6.0, now=0.0).interval


@pytest.mark.parametrize(
    ("now", "due"),
    [(0.0, 2.0), (0.1, 2.0), (1.99, 2.0), (2.0, 4.0), (1.9999, 4.0), (-0.5, 0.0), (-2.0, 0.0)],
)
def test_beats_lie_on_multiples_of_their_interval(now: float, due: float) -> None:
    """So those who joined at different times are asked at the same time."""
    assert due == Beats.of(6.0, now).due


def test_rounding_does_not_make_it_beat_twice() -> None:
    interval = 0.1 / 3
    beats = Beats.of(0.1, 0.0)
    for _ in range(10_000):
        now = beats.due
        beats.hold(now)
        assert now + 0.9 * interval < beats.due < now + 1.1 * interval


def test_one_that_is_held_half_a_beat_late_counts_for_nothing() -> None:
    beats = Beats.of(6.0, 0.0)
    assert beats.hold(3.0)  # due at 2
    assert 4.0 == beats.due
    assert not beats.hold(5.1)
    assert 6.0 == beats.due


def test_what_was_missed_is_not_made_up_for() -> None:
    beats = Beats.of(6.0, 0.0)
    assert not beats.hold(1001.0)
    assert 1002.0 == beats.due


def test_one_that_is_always_late_counts_every_second_time() -> None:
    beats = Beats.of(6.0, 0.0)
    assert [False, True] * 3 == [beats.hold(beats.due + 1.5) for _ in range(6)]


# ---- who could not answer ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ran", "can_run", "expected"),
    [
        (0.0, True, True),
        (0.009, True, True),
        (0.01, True, False),  # for long enough to answer
        (1.0, True, False),
        (0.0, False, False),  # it wants no processor
        (1.0, False, False),
    ],
)
def test_starved(ran: float, can_run: bool, expected: bool) -> None:
    assert expected == is_starved(ran, can_run=can_run)
