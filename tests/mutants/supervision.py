"""Faults in the core of supervision: who comes back, when, how often, in which order."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

CAUGHT = "tests/supervision/test_plan_caught.py::"


def _in(file: str, id: str, old: str, new: str, test: str) -> Mutant:  # noqa: A002  (as the field is called)
    return Mutant(id, f"_cluster/{file}.py", old, new, CAUGHT + test)


MUTANTS = [
    # ---- restarts ----
    _in(
        "restarts",
        "window-exclusive",
        "history[0] < horizon",
        "history[0] <= horizon",
        "test_the_edge_of_the_window_still_counts",
    ),
    _in(
        "restarts",
        "window-endless",
        "horizon = now - self.within",
        "horizon = -1.0",
        "test_what_is_older_than_the_window_is_forgotten",
    ),
    _in(
        "restarts",
        "one-restart-less",
        "return len(history) <= self.max_restarts",
        "return len(history) < self.max_restarts",
        "test_so_many_restarts_and_not_one_more",
    ),
    _in(
        "restarts",
        "one-restart-more",
        "return len(history) <= self.max_restarts",
        "return len(history) <= self.max_restarts + 1",
        "test_so_many_restarts_and_not_one_more",
    ),
    _in(
        "restarts",
        "first-delay-grown",
        "self.factor**failures",
        "self.factor ** (failures + 1)",
        "test_each_delay_is_twice_the_one_before",
    ),
    _in(
        "restarts",
        "jitter-past-the-cap",
        "return min(self.max, base * (1 + self.jitter * chance))",
        "return base * (1 + self.jitter * chance)",
        "test_no_delay_exceeds_the_maximum",
    ),
    _in(
        "restarts",
        "no-jitter-at-the-cap",
        "self.max / (1 + self.jitter)",
        "self.max",
        "test_those_that_wait_longest_do_not_come_back_together",
    ),
    _in(
        "restarts",
        "temporary-restarted",
        'if restart == "temporary":',
        'if restart == "temporary" and reason in _WELL:',
        "test_a_temporary_child_never_comes_back",
    ),
    _in(
        "restarts",
        "transient-restarted-after-normal",
        'frozenset({"normal", "shutdown", "killed"})',
        'frozenset({"shutdown", "killed"})',
        "test_a_transient_child_has_finished_when_it_ended_well",
    ),
    _in(
        "restarts",
        "failed-start-is-well",
        'restart == "transient" and was_ready and reason',
        'restart == "transient" and reason',
        "test_a_start_that_failed_did_not_end_well",
    ),
    _in(
        "restarts",
        "protocol-retried",
        'return "park"',
        'return "restart"',
        "test_a_broken_protocol_is_not_tried_again",
    ),
    # ---- tree ----
    _in(
        "tree",
        "stop-takes-the-longest",
        "return math.fsum(map(stop_seconds, spec.children))",
        "return max(map(stop_seconds, spec.children), default=0.0)",
        "test_one_stop_after_another",
    ),
    _in(
        "tree",
        "rungs-forgotten",
        "spec.shutdown + RUNGS_SECONDS",
        "spec.shutdown",
        "test_the_slots_of_a_pool_stop_together",
    ),
    _in(
        "tree",
        "brutal-kill-takes-its-time",
        'return RUNGS_SECONDS if spec.run == "task" else 0.0',
        "return RUNGS_SECONDS",
        "test_what_is_killed_needs_no_time",
    ),
    # ---- places ----
    _in(
        "places",
        "stopping-is-not-alive",
        "_ALIVE: Final = (0, 0, 1, 1, 1)",
        "_ALIVE: Final = (0, 0, 1, 1, 0)",
        "test_who_stops_is_still_there",
    ),
    _in(
        "places",
        "waiting-is-settled",
        "_UNSETTLED: Final = (0, 1, 1, 0, 0)",
        "_UNSETTLED: Final = (0, 0, 1, 0, 0)",
        "test_a_supervisor_is_up_when_nobody_waits_any_more",
    ),
    _in(
        "places",
        "finished-supervisor-restarted",
        '"transient" if isinstance(spec, Supervisor)',
        '"permanent" if isinstance(spec, Supervisor)',
        "test_a_supervisor_that_has_finished_does_not_come_back",
    ),
    # ---- plan: starting and stopping ----
    _in(
        "progress",
        "start-order-reversed",
        "place.agenda.append(child)",
        "place.agenda.appendleft(child)",
        "test_children_start_in_order",
    ),
    _in(
        "ties",
        "stop-order-not-reversed",
        "[child for child in group.children.values() if child.is_condemned]",
        "[child for child in reversed(group.children.values()) if child.is_condemned]",
        "test_children_stop_in_reverse_order",
    ),
    _in(
        "ties",
        "pool-in-order",
        "at_once=is_pool",
        "at_once=False",
        "test_the_slots_of_a_pool_start_together",
    ),
    _in(
        "plan",
        "first-start-retried",
        "elif place.is_fresh and not end[0]:",
        "elif place.is_fresh and place.is_added and not end[0]:",
        "test_a_first_start_is_not_retried",
    ),
    # ---- plan: restarts ----
    _in(
        "plan",
        "delay-ignored",
        "due = now + delay",
        "due = now",
        "test_a_restart_waits_for_its_delay",
    ),
    _in(
        "plan",
        "tick-too-late",
        "while self.deadline() <= now:",
        "while self.deadline() < now:",
        "test_a_restart_is_due_at_its_very_second",
    ),
    _in(
        "plan",
        "agenda-reversed",
        "deque(child for child in group.children.values() if child in agenda)",
        "deque(child for child in reversed(group.children.values()) if child in agenda)",
        "test_one_for_all_stops_and_starts_all_in_order",
    ),
    _in(
        "ties",
        "rest-for-one-is-for-all",
        'if group.strategy == "rest_for_one":',
        'if group.strategy == "rest":',
        "test_rest_for_one_leaves_those_before_alone",
    ),
    _in(
        "progress",
        "victims-not-waited-for",
        "if last.is_told:\n                return False",
        "if last.is_told:\n                victims.pop()\n                return True",
        "test_nothing_starts_while_something_still_stops",
    ),
    _in(
        "plan",
        "victim-has-failed",
        "if place.is_told or place.is_condemned:",
        "if place.is_told:",
        "test_who_ends_while_it_is_to_be_stopped_has_not_failed",
    ),
    _in(
        "plan",
        "sibling-counted",
        "other.is_wanted = True",
        "other.is_wanted = group.budget.spend(now) or True",
        "test_siblings_cost_nothing",
    ),
    _in(
        "plan",
        "start-failure-not-counted",
        'if fate == "restart":',
        'if fate == "restart" and not end.was_up:\n'
        "            self._again(place, group, end.status, 1.0, now)\n"
        '        elif fate == "restart":',
        "test_a_start_that_fails_is_counted",
    ),
    _in(
        "plan",
        "reset-one-moment-late",
        ">= backoff.reset_after",
        "> backoff.reset_after",
        "test_just_long_enough_is_long_enough",
    ),
    _in(
        "progress",
        "reset-counted-from-an-earlier-life",
        "        place.up_at = None\n",
        "",
        "test_a_child_that_cannot_start_for_long_has_not_recovered",
    ),
    # ---- plan: too many ----
    _in(
        "plan",
        "give-up-not-escalated",
        'self._end_group(group, Outcome("exhausted", place, status), now)',
        "self._park(place, group, status, now)",
        "test_one_restart_too_many_ends_the_supervisor",
    ),
    _in(
        "progress",
        "give-up-is-well",
        '"exhausted": "error"',
        '"exhausted": "shutdown"',
        "test_a_supervisor_that_gave_up_has_failed",
    ),
    _in(
        "plan",
        "budget-not-cleared-by-retry",
        "            group.budget.clear()\n",
        "",
        "test_a_retry_forgets_all_restarts",
    ),
    _in(
        "progress",
        "budget-outlives-its-supervisor",
        "        place.budget.clear()\n",
        "",
        "test_a_supervisor_that_comes_back_has_forgotten_all_restarts",
    ),
    _in(
        "plan",
        "retry-at-once",
        "self._again(place, group, status, rule.seconds, now)",
        "self._again(place, group, status, 0.0, now)",
        "test_a_retry_comes_after_its_own_delay",
    ),
    _in(
        "ties",
        "pool-budget-shared",
        "budget=Budget(spec.max_restarts, spec.within)",
        "budget=parent.budget if parent else Budget(spec.max_restarts, spec.within)",
        "test_a_pool_has_a_budget_of_its_own",
    ),
    _in(
        "plan",
        "parked-restarted-by-sibling",
        "other.absence = Absence.PARKED",
        "other.absence = Absence.FINISHED",
        "test_who_is_given_up_is_not_brought_back_by_a_sibling",
    ),
    # ---- plan: who has finished ----
    _in(
        "plan",
        "significant-ignored",
        "if ends_with(place, group):",
        "if not place.is_significant and ends_with(place, group):",
        "test_the_end_of_a_significant_child_is_its_supervisors",
    ),
    _in(
        "ties",
        "all-significant-is-any",
        'return rules.auto_shutdown == "any_significant" or not any(map(_is_left, children))',
        "return True",
        "test_the_last_significant_child_ends_its_supervisor",
    ),
    _in(
        "ties",
        "parked-significant-not-waited-for",
        "place.phase is not Phase.DOWN or place.absence is Absence.PARKED",
        "place.phase is not Phase.DOWN",
        "test_who_is_given_up_may_come_back_and_is_waited_for",
    ),
    # ---- plan: by hand ----
    _in(
        "ties",
        "hand-stopped-restarted-by-sibling",
        "place.absence = Absence.BY_HAND",
        "place.absence = Absence.NEVER",
        "test_who_was_stopped_by_hand_is_not_brought_back_by_a_sibling",
    ),
    _in(
        "progress",
        "hand-stopped-restarted-with-supervisor",
        "elif child.absence is not Absence.BY_HAND:",
        "else:",
        "test_who_was_stopped_by_hand_does_not_come_back_with_its_supervisor",
    ),
    _in(
        "plan",
        "told-past-the-plan-has-failed",
        "if place.phase is not STOPPING:",
        "if place.phase is STARTING:",
        "test_who_was_told_past_the_plan_has_not_failed",
    ),
    _in(
        "plan",
        "somebodys-start-ends-its-group",
        "is_groups = group.phase is STARTING and not place.is_by_hand",
        "is_groups = True",
        "test_somebodys_start_that_fails_ends_nobody_else",
    ),
]
