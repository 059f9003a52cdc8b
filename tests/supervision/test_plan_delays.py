"""When something starts again: delays, rows of failures, timers that mean nothing any more."""

from __future__ import annotations

from typing import Final

import pytest

from actorcluster._cluster.plan import Plan
from actorcluster._cluster.tree import Backoff
from tests.supervision.simulation import Simulation
from tests.supervision.transcript import Case, child, supervisor

DOUBLING: Final = Backoff(min=1, max=9, jitter=0, reset_after=20)
LONG: Final = Backoff(min=10, max=10)

ROWS: Final = [
    Case(
        "time to start is no time of being well",
        supervisor("one_for_one", child("a", backoff=DOUBLING), max_restarts=99),
        """
        start   -> start a, up root
        slow a
        exit a  -> restart a 1 1
        wait 1  -> start a
        # So long a start would end the row if it counted.
        wait 30 ->
        fail a  -> restart a 2 2
        wait 2  -> start a
        wait 30 ->
        fail a  -> restart a 4 3
        """,
    ),
    Case(
        "time of waiting neither",
        supervisor(
            "one_for_one",
            child("a", backoff=Backoff(min=25, max=90, jitter=0, reset_after=20)),
        ),
        """
        start   -> start a, up root
        failing a 1
        exit a  -> restart a 25 1
        wait 25 -> start a, fail a, restart a 50 2
        wait 50 -> start a
        exit a  -> restart a 90 3
        """,
    ),
    Case(
        "nearly long enough",
        supervisor("one_for_one", child("a", backoff=DOUBLING), max_restarts=99),
        """
        start      -> start a, up root
        exit a     -> restart a 1 1
        wait 1     -> start a
        wait 19.75 ->
        exit a     -> restart a 2 2
        wait 2     -> start a
        wait 20    ->
        exit a     -> restart a 1 1
        """,
    ),
    Case(
        "never long enough",
        supervisor(
            "one_for_one",
            child("a", backoff=Backoff(min=1, max=4, jitter=0, reset_after=float("inf"))),
        ),
        """
        start     -> start a, up root
        exit a    -> restart a 1 1
        wait 1    -> start a
        wait 9999 ->
        exit a    -> restart a 2 2
        """,
    ),
    Case(
        "a start by hand begins a new row",
        supervisor("one_for_one", child("a", backoff=DOUBLING)),
        """
        start   -> start a, up root
        exit a  -> restart a 1 1
        wait 1  -> start a
        exit a  -> restart a 2 2
        end a   ->
        begin a -> start a
        exit a  -> restart a 1 1
        """,
    ),
    Case(
        "the row of a supervisor",
        supervisor("one_for_one", supervisor("one_for_one", "b", name="a", max_restarts=0)),
        """
        start    -> start a.b, up a, up root
        exit a.b -> gave up a, down a, restart a 0.1 1
        wait 0.1 -> start a.b, up a
        exit a.b -> gave up a, down a, restart a 0.2 2
        wait 0.2 -> start a.b, up a
        wait 30  ->
        exit a.b -> gave up a, down a, restart a 0.1 1
        """,
    ),
    Case(
        "a supervisor that gives up before it is up was not well",
        supervisor("one_for_one", supervisor("one_for_one", "b", "c", name="a", max_restarts=0)),
        """
        start    -> start a.b, start a.c, up a, up root
        slow a.c
        exit a.b -> gave up a, stop a.c, down a, restart a 0.1 1
        wait 0.1 -> start a.b, start a.c
        wait 40  ->
        exit a.b -> gave up a, stop a.c, down a, restart a 0.2 2
        """,
    ),
    Case(
        "each its own",
        supervisor("one_for_all", child("a", backoff=DOUBLING), child("b", backoff=DOUBLING)),
        """
        start  -> start a, start b, up root
        exit a -> restart a 1 1, stop b
        wait 1 -> start a, start b
        exit a -> restart a 2 2, stop b
        wait 2 -> start a, start b
        exit b -> restart b 1 1, stop a
        """,
    ),
]

TIMES: Final = [
    Case(
        "no delay",
        supervisor("rest_for_one", child("a", backoff=Backoff(min=0, max=0)), "b"),
        """
        start  -> start a, start b, up root
        exit a -> restart a 0 1, stop b, start a, start b
        pass   ->
        """,
    ),
    Case(
        "no delay, but those that stop",
        supervisor("one_for_all", child("a", backoff=Backoff(min=0, max=0)), "b"),
        """
        sticky b
        start  -> start a, start b, up root
        exit a -> restart a 0 1, stop b
        pass   ->
        gone b -> start a, start b
        """,
    ),
    Case(
        "at the same time: who failed first",
        supervisor("one_for_one", "a", "b", "c"),
        """
        start  -> start a, start b, start c, up root
        exit c -> restart c 1 1
        exit a -> restart a 1 1
        exit b -> restart b 1 1
        wait 1 -> start c, start a, start b
        """,
    ),
    Case(
        "one delay for all that are tied, that of the last failure",
        supervisor("rest_for_one", "a", "b"),
        """
        start    -> start a, start b, up root
        exit b   -> restart b 1 1
        wait 0.5 ->
        exit a   -> restart a 1 1
        wait 0.5 ->
        wait 0.5 -> start a, start b
        """,
    ),
    Case(
        "first the stop, then the delay",
        supervisor("one_for_all", "a", "b"),
        """
        sticky b
        start    -> start a, start b, up root
        exit a   -> restart a 1 1, stop b
        wait 0.5 ->
        gone b   ->
        wait 0.5 -> start a, start b
        """,
    ),
]

VOID: Final = [
    Case(
        "stopped by hand meanwhile",
        supervisor("one_for_one", "a"),
        """
        start  -> start a, up root
        exit a -> restart a 1 1
        end a  ->
        pass   ->
        why a  -> by_hand
        """,
    ),
    Case(
        "started by hand meanwhile, and failed again",
        supervisor("one_for_one", child("a", backoff=LONG)),
        """
        start   -> start a, up root
        exit a  -> restart a 10 1
        end a   ->
        wait 5  ->
        begin a -> start a
        exit a  -> restart a 10 1
        wait 5  ->
        wait 5  -> start a
        """,
    ),
    Case(
        "its supervisor was restarted meanwhile, and its turn has not come",
        supervisor(
            "one_for_one",
            supervisor("one_for_one", "b", child("c", backoff=LONG), "d", name="a", max_restarts=1),
        ),
        """
        start     -> start a.b, start a.c, start a.d, up a, up root
        exit a.c  -> restart a.c 10 1
        exit a.d  -> gave up a, stop a.b, down a, restart a 0.1 1
        slow a.b
        wait 0.1  -> start a.b
        wait 20   ->
        ready a.b -> start a.c, start a.d, up a
        """,
    ),
    Case(
        "the same for those that are tied",
        supervisor(
            "one_for_one",
            supervisor(
                "rest_for_one", "b", child("c", backoff=LONG), "d", name="a", max_restarts=1
            ),
        ),
        """
        start     -> start a.b, start a.c, start a.d, up a, up root
        exit a.c  -> restart a.c 10 1, stop a.d
        exit a.b  -> gave up a, down a, restart a 0.1 1
        slow a.b
        wait 0.1  -> start a.b
        wait 20   ->
        ready a.b -> start a.c, start a.d, up a
        """,
    ),
    Case(
        "parked meanwhile",
        supervisor("rest_for_one", "a", "b"),
        """
        start           -> start a, start b, up root
        exit b          -> restart b 1 1
        exit a protocol -> gave up a
        begin b         -> start b
        pass            ->
        """,
    ),
]


@pytest.mark.parametrize("case", [*ROWS, *TIMES, *VOID], ids=lambda case: case.name)
def test_what_follows(case: Case) -> None:
    assert case.expected == case.played()


def test_who_wakes_late_starts_all_that_is_due() -> None:
    simulation = Simulation(supervisor("one_for_one", "a", child("b", backoff=LONG), "c"))
    simulation.start()
    for name in "bac":
        simulation.exit(name)
    assert 1.0 == simulation.plan.deadline()
    simulation.plan.tick(100.0)
    assert ["start a", "start c", "start b"] == simulation.settle()
    assert float("inf") == simulation.plan.deadline()


def test_nothing_is_due_too_early() -> None:
    simulation = Simulation(supervisor("one_for_one", "a"))
    simulation.start()
    simulation.exit("a")
    simulation.plan.tick(0.999)
    assert [] == simulation.settle()
    assert 1.0 == simulation.plan.deadline()


def test_a_clock_may_stand_at_zero() -> None:
    """Delays of nothing at time 0 are no reason to start a group before its turn."""
    at_once = Backoff(min=0, max=0)
    inner = supervisor(
        "rest_for_one", child("c", backoff=at_once), child("d", backoff=at_once), name="b"
    )
    simulation = Simulation(supervisor("rest_for_one", child("a", backoff=at_once), inner))
    simulation.start()
    simulation.slow_to_start.add("a")
    simulation.exit("b.c")
    simulation.exit("a")
    simulation.plan.tick(0.0)
    assert [] == simulation.settle()
    assert ["start b.c", "start b.d", "up b"] == simulation.ready("a")


def test_each_delay_asks_for_chance_once() -> None:
    chances = iter([0.5, 0.25])
    plan = Plan(
        supervisor("one_for_one", child("a", backoff=Backoff(min=1))), lambda: next(chances)
    )
    plan.start(0.0)
    place = plan.places["a"]
    for now, due in ((0.0, 1.1), (10.0, 10.0 + 2.1)):
        plan.up(place, now)
        plan.ended(place, "error", None, now)
        assert pytest.approx(due) == plan.deadline()
        plan.tick(due)
    assert [] == [*chances]
