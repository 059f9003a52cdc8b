"""Faults in what is decided about a worker's loop: who is asked, accused, excused, killed."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]


def _one(id: str, old: str, new: str, test: str) -> Mutant:  # noqa: A002  (as the field is called)
    return Mutant(id, "_worker/pulse.py", old, new, f"tests/liveness/test_pulse.py::{test}")


MUTANTS = [
    _one(
        "one-beat-less",
        "_MISSES: Final = 2",
        "_MISSES: Final = 1",
        "test_two_beats_without_an_answer_are_stuck",
    ),
    _one(
        "one-beat-more",
        "self._misses >= _MISSES",
        "self._misses > _MISSES",
        "test_two_beats_without_an_answer_are_stuck",
    ),
    _one(
        "misses-kept",
        "self.asked_at, self._misses, self._excused = now, 0, 0.0",
        "self.asked_at, self._excused = now, 0.0",
        "test_an_answer_at_the_last_moment_counts",
    ),
    _one(
        "asked-again-and-again",
        "        if self.asked_at is None:\n            self",
        "        if True:\n            self",
        "test_it_is_asked_only_once_and_reported_only_once",
    ),
    _one(
        "reported-at-every-beat",
        "self._misses >= _MISSES and not self.is_stuck",
        "self._misses >= _MISSES",
        "test_it_is_asked_only_once_and_reported_only_once",
    ),
    _one(
        "stuck-for-ever",
        "self.asked_at, self.is_stuck = None, False",
        "self.asked_at = None",
        "test_a_second_time_is_told_as_well",
    ),
    _one(
        "recovered-who-was-not-stuck",
        "acts = [Act.RECOVERED] if self.is_stuck else []",
        "acts = [Act.RECOVERED]",
        "test_one_that_answers_is_asked_at_each_beat",
    ),
    _one(
        "nobody-excused",
        "        elif counts:\n",
        "        else:\n            self._misses += 1\n        if counts:\n",
        "test_what_counts_for_nothing_accuses_nobody",
    ),
    _one(
        "excused-time-not-given-back",
        "return self.asked_at + self._excused + self.patience",
        "return self.asked_at + self.patience",
        "test_seconds_that_count_for_nothing_are_given_back",
    ),
    _one(
        "killed-unreported",
        "if self.asked_at is None or not self.is_stuck or self._is_over:",
        "if self.asked_at is None or self._is_over:",
        "test_the_moment_lies_between_two_beats",
    ),
    _one(
        "killed-twice",
        "        self._is_over = True\n",
        "",
        "test_the_moment_lies_between_two_beats",
    ),
    _one(
        "killed-though-it-answered",
        "        if heard:\n            return self._hear()\n        if now",
        "        if now",
        "test_who_answers_in_the_last_moment_lives_and_is_asked_at_the_next_beat",
    ),
    _one(
        "late-beats-count",
        "counts = not is_late or self._was_late",
        "counts = True",
        "test_one_that_is_held_half_a_beat_late_counts_for_nothing",
    ),
    _one(
        "late-beats-never-count",
        "counts = not is_late or self._was_late",
        "counts = not is_late",
        "test_one_that_is_always_late_counts_every_second_time",
    ),
    _one(
        "every-worker-its-own-beats",
        "self.due = (now // self.interval + 1) * self.interval",
        "self.due = now + self.interval",
        "test_beats_lie_on_multiples_of_their_interval",
    ),
    _one(
        "beats-twice",
        "if self.due - now < _AT_LEAST * self.interval:",
        "if self.due <= now:",
        "test_rounding_does_not_make_it_beat_twice",
    ),
    _one(
        "starved-though-it-ran",
        "return can_run and ran < _HARDLY",
        "return can_run",
        "test_starved",
    ),
    _one(
        "starved-though-it-wanted-nothing",
        "return can_run and ran < _HARDLY",
        "return ran < _HARDLY",
        "test_starved",
    ),
]
