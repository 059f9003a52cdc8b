"""Faults in what replaces lives that are well: how many at once, with which code, until when."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

CAUGHT = "tests/supervision/test_rollout_caught.py::"


def _in(file: str, id: str, old: str, new: str, test: str) -> Mutant:  # noqa: A002  (as the field is called)
    return Mutant(id, f"_cluster/{file}.py", old, new, CAUGHT + test)


MUTANTS = [
    # ---- reload ----
    _in(
        "rollout",
        "surge-without-limit",
        "surges = job.max_surge - sum(step.is_surge for step in job.steps)",
        "surges = len(self._plan.places)",
        "test_no_more_successors_than_allowed",
    ),
    _in(
        "rollout",
        "gaps-without-limit",
        "gaps -= 1",
        "gaps -= 0",
        "test_no_more_places_without_a_life_than_allowed",
    ),
    _in(
        "rollout",
        "old-life-not-counted",
        "return not (step.is_surge and place.besides)",
        "return True",
        "test_the_old_life_counts_until_it_has_ended",
    ),
    _in(
        "rollout",
        "failure-ignored",
        "if job.failure is not None:\n            self._give_up(job, now)",
        "if job.failure is not None and job.due is not None:\n            self._give_up(job, now)",
        "test_the_first_failure_ends_it",
    ),
    _in(
        "rollout",
        "others-not-dropped",
        "for step in job.steps:\n            self._drop(step.place)",
        "for step in job.steps:\n            pass",
        "test_successors_of_others_go_when_one_fails",
    ),
    _in(
        "rollout",
        "committed-at-once",
        "self._plan.want(Prepare(job.patience))",
        "self._plan.want(Prepare(job.patience))\n            self._commit(job)",
        "test_new_code_that_failed_is_not_that_of_restarts",
    ),
    _in(
        "rollout",
        "never-committed",
        "self._plan.generation = job.generation",
        "pass",
        "test_new_code_that_is_good_is_that_of_restarts",
    ),
    _in(
        "progress",
        "restarts-look-old",
        "place.generation = self.generation\n",
        "place.generation = 0\n",
        "test_who_has_the_new_code_already_is_left_alone",
    ),
    _in(
        "rollout",
        "condemned-replaced",
        "if place.is_condemned or place.phase is not UP:",
        "if place.phase is not UP:",
        "test_who_is_to_be_stopped_gets_no_successor_any_more",
    ),
    _in(
        "plan",
        "restart-under-way-delayed",
        "delay = 0.0  # it is starting already",
        "delay += 0.0",
        "test_a_restart_that_is_under_way_waits_for_nothing",
    ),
    _in(
        "plan",
        "down-while-a-life-lasts",
        "if place.besides and (place.is_told or place.is_condemned):",
        "if False:",
        "test_a_place_is_down_when_all_its_lives_are",
    ),
    _in(
        "progress",
        "successor-outlives-its-place",
        "self._drop(place)\n                place.enter(STOPPING)",
        "place.enter(STOPPING)",
        "test_who_is_told_to_stop_takes_its_successor_along",
    ),
    _in(
        "rollout",
        "token-ignored",
        "if not is_over:\n                return\n",
        "if not is_over and not self._queue:\n                return\n",
        "test_one_job_after_another",
    ),
    _in(
        "jobs",
        "tasks-reloaded",
        'if spec.run == "task":',
        'if spec.run == "no task":',
        "test_tasks_have_no_new_code",
    ),
    # ---- recycling ----
    _in(
        "rollout",
        "recycling-given-up",
        "due.not_before = now + place.spec.backoff",
        "due.not_before = math.inf + place.spec.backoff",
        "test_a_recycling_that_failed_waits_for_its_delay",
    ),
    _in(
        "rollout",
        "recycling-tried-at-once",
        "due.not_before = now + place.spec.backoff.delay(due.failures, self._chance())",
        "due.not_before = now",
        "test_a_recycling_that_failed_waits_for_its_delay",
    ),
    _in(
        "rollout",
        "age-of-an-earlier-life",
        "return place.serial == serial and place.phase is UP",
        "return place.phase is UP",
        "test_the_age_is_that_of_the_present_life",
    ),
    _in(
        "rollout",
        "successor-never-old",
        "plan.want(Switch(place))\n        self._watch_age(place, now)",
        "plan.want(Switch(place))",
        "test_a_successor_grows_old_as_well",
    ),
    _in(
        "limits",
        "limit-exceeded",
        "amount >= most",
        "amount > most",
        "test_a_limit_is_reached_and_not_only_exceeded",
    ),
    # ---- the size of a pool ----
    _in(
        "rollout",
        "lowest-leave-first",
        "sorted(slots, reverse=True)",
        "sorted(slots)",
        "test_the_highest_slots_leave_first",
    ),
    _in(
        "rollout",
        "slots-never-forgotten",
        "for place in job.leaving:\n            self._plan.delete(place)",
        "for place in job.leaving:\n            pass",
        "test_slots_that_left_are_forgotten",
    ),
    _in(
        "rollout",
        "count-not-taken-back",
        "set_count(job.pool, job.before)",
        "set_count(job.pool, job.count)",
        "test_a_pool_that_could_not_grow_is_as_it_was",
    ),
]
