"""What is handed on: whose end it was, and its status."""

from __future__ import annotations

from actorcluster._cluster.places import (
    Action,
    Down,
    Finished,
    GaveUp,
    Group,
    Outcome,
    Restarting,
    Start,
    Stop,
    Up,
)
from actorcluster._cluster.plan import Plan
from tests.supervision.transcript import child, supervisor


def planned(max_restarts: int) -> tuple[Plan, list[Action]]:
    """A tree of two levels that is up, and what that took."""
    inner = supervisor("one_for_one", "b", "c", name="a", max_restarts=max_restarts)
    plan = Plan(supervisor("one_for_one", inner, max_restarts=0), lambda: 0.0)
    plan.start(0.0)
    plan.up(plan.places["a.b"], 1.0)
    plan.up(plan.places["a.c"], 2.0)
    return plan, plan.take()


def test_a_start() -> None:
    plan, actions = planned(5)
    places = plan.places
    group = places["a"]
    assert isinstance(group, Group)
    assert [Start(places["a.b"]), Start(places["a.c"]), Up(group), Up(plan.root)] == actions
    assert [1.0, 2.0, 2.0] == [places[name].up_at for name in ("a.b", "a.c", "a")]
    assert [] == plan.take()


def test_a_restart() -> None:
    plan, _ = planned(5)
    place = plan.places["a.b"]
    plan.ended(place, "exit", "its status", 5.0)
    assert [Restarting(place, "its status", 1.0, 1)] == plan.take()
    assert "its status" == place.status
    assert 6.0 == plan.deadline()


def test_giving_up() -> None:
    plan, _ = planned(0)
    group, place, other = (plan.places[name] for name in ("a", "a.b", "a.c"))
    assert isinstance(group, Group)
    plan.ended(place, "exit", "its status", 5.0)
    assert [GaveUp(group, "its status"), Stop(other)] == plan.take()
    plan.ended(other, "shutdown", "another status", 6.0)
    outcome = Outcome("exhausted", group, "its status")
    assert [
        Down(group),
        GaveUp(plan.root, "its status"),
        Down(plan.root),
        Finished(outcome),
    ] == plan.take()
    assert Outcome("exhausted", place, "its status") == group.outcome
    assert ["its status", "its status", "another status"] == [
        found.status for found in (group, place, other)
    ]


def test_a_first_start_that_fails() -> None:
    inner = supervisor("one_for_one", "b", name="a")
    plan = Plan(supervisor("one_for_one", inner), lambda: 0.0)
    plan.start(0.0)
    place = plan.places["a.b"]
    plan.ended(place, "start_timeout", "its status", 5.0)
    assert Finished(Outcome("start_failed", place, "its status")) == plan.take()[-1]


def test_parking() -> None:
    plan, _ = planned(0)
    place = plan.places["a.b"]
    plan.ended(place, "protocol", "its status", 5.0)
    assert [GaveUp(place, "its status")] == plan.take()


def test_before_the_start_nothing_runs() -> None:
    plan = Plan(supervisor("one_for_one", "a", child("b")), lambda: 0.0)
    assert [] == plan.take()
    assert float("inf") == plan.deadline()
    assert ["<Place a DOWN>", "<Place b DOWN>"] == [repr(place) for place in plan.places.values()]
    assert "<Group root DOWN>" == repr(plan.root)


def test_a_late_answer_changes_nothing() -> None:
    plan, _ = planned(5)
    plan.up(plan.places["a.b"], 9.0)
    assert 1.0 == plan.places["a.b"].up_at
    assert [] == plan.take()
