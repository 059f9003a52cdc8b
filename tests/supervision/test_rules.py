"""Every rule that others have and that applies here is shown; nothing is shown for no rule."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.supervision import cases_ends, cases_exits, cases_limits, cases_strategies
from tests.supervision.cases_tree import WRITTEN, Written
from tests.supervision.rules import RULES, Rule
from tests.supervision.transcript import Case

ROOMS = (cases_exits, cases_strategies, cases_ends, cases_limits)
CASES = [case for room in ROOMS for case in room.CASES]
IDS = {rule.id for rule in RULES}

#: By rule, the names of the cases that show it.
SHOWN: dict[str, list[str]] = {
    rule.id: [case.name for case in [*CASES, *WRITTEN] if rule.id in case.rules] for rule in RULES
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_follows(case: Case) -> None:
    assert case.expected == case.played()


@pytest.mark.parametrize("written", WRITTEN, ids=lambda written: written.name)
def test_what_is_written_down(written: Written) -> None:
    assert written.gives == written.given()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_has_a_case_or_a_reason(rule: Rule) -> None:
    assert rule.where in ("plan", "tree", "shell")
    assert rule.verdict in ("same", "different", "absent")
    assert (rule.verdict != "same") == bool(rule.reason)
    assert rule.needs_case == bool(SHOWN[rule.id])
    assert re.fullmatch(r"B[1-4]-[A-Z]+-\d+", rule.id)
    assert rule.text.endswith(".")
    assert "" == rule.reason or rule.reason.endswith(".")


def test_a_rule_is_kept_where_its_cases_are() -> None:
    """A script shows what the plan does, a table what is checked when a tree is written down."""
    written = {rule for case in WRITTEN for rule in case.rules}
    played = {rule for case in CASES for rule in case.rules}
    places = {rule.id: rule.where for rule in RULES}
    assert set() == {rule for rule in played if places[rule] == "tree"}
    assert {"tree"} == {places[rule] for rule in written - played}


def test_a_case_shows_rules_that_exist() -> None:
    assert [] == [case.name for case in CASES if not case.rules]
    assert set() == {rule for case in [*CASES, *WRITTEN] for rule in case.rules} - IDS


def test_ids_and_names_are_unique() -> None:
    counts = Counter([rule.id for rule in RULES])
    counts.update(case.name for case in [*CASES, *WRITTEN])
    assert [] == [name for name, count in counts.items() if count > 1]


def test_numbers_have_no_gaps() -> None:
    """So a rule that was taken out by mistake is missed."""
    topics: dict[str, list[int]] = {}
    for rule in RULES:
        topic, _, number = rule.id.rpartition("-")
        topics.setdefault(topic, []).append(int(number))
    assert [] == [
        topic for topic, numbers in topics.items() if numbers != [*range(1, len(numbers) + 1)]
    ]
