"""Children added, started and deleted by hand, at any moment."""

from __future__ import annotations

from typing import Final

import pytest

from actorcluster._cluster.plan import Plan
from tests.supervision.transcript import Case, child, supervisor, temporary

ONE: Final = supervisor("one_for_one", "a", "b")
NESTED: Final = supervisor(
    "one_for_one", supervisor("one_for_one", "b", "c", name="a", max_restarts=0)
)

BEGINS: Final = [
    Case(
        "a start by hand that fails is not retried",
        supervisor("one_for_one", supervisor("one_for_all", "b", "c", name="a")),
        """
        start     -> start a.b, start a.c, up a, up root
        end a.b   -> stop a.b
        failing a.b 1
        begin a.b -> start a.b, fail a.b
        pass      ->
        why a.b   -> failed
        # Somebody wanted it and knows; it comes back with its supervisor.
        exit a.c  -> restart a.c 1 1
        wait 1    -> start a.c
        end a     -> stop a.c, down a
        begin a   -> start a.b, start a.c, up a
        """,
    ),
    Case(
        "one that is ready is restarted as any other",
        ONE,
        """
        start         -> start a, start b, up root
        add c         ->
        slow c
        begin c       -> start c
        ready c       ->
        exit c normal -> restart c 1 1
        wait 1        -> start c
        fail c        -> restart c 1 2
        """,
    ),
    Case(
        "one that fails while its siblings start for the first time ends nobody else",
        supervisor("one_for_one", "a", "b"),
        """
        slow a
        start   -> start a
        add c   ->
        failing c 1
        begin c -> start c, fail c
        ready a -> start b, up root
        """,
    ),
    Case(
        "one that was stopped by hand during the first start, the same",
        supervisor("one_for_one", "a", "b"),
        """
        slow b
        start   -> start a, start b
        end a   -> stop a
        failing a 1
        begin a -> start a, fail a
        ready b -> up root
        why a   -> failed
        """,
    ),
    Case(
        "a name is free again when its place is deleted",
        ONE,
        """
        start   -> start a, start b, up root
        add c   ->
        add c   -> refused name 'c' is taken
        begin c -> start c
        end c   -> stop c
        delete c ->
        add c   ->
        """,
    ),
    Case(
        "not before its supervisor runs",
        NESTED,
        """
        begin a.b -> refused a is down
        start     -> start a.b, start a.c, up a, up root
        end a     -> stop a.c, stop a.b, down a
        begin a.b -> refused a is down
        begin a   -> start a.b, start a.c, up a
        """,
    ),
    Case(
        "nor while its supervisor stops or waits",
        NESTED,
        """
        sticky a.c
        start     -> start a.b, start a.c, up a, up root
        exit a.b  -> gave up a, stop a.c
        begin a.b -> refused a is stopping
        gone a.c  -> down a, restart a 0.1 1
        begin a.b -> refused a is waiting
        wait 0.1  -> start a.b, start a.c, up a
        """,
    ),
    Case(
        "nor after the end",
        ONE,
        """
        start   -> start a, start b, up root
        stop    -> stop b, stop a, down root, finished told
        begin a -> refused root is down
        """,
    ),
    Case(
        "one that was parked while others are still being stopped",
        supervisor("one_for_all", "a", "b", "c"),
        """
        sticky b
        start           -> start a, start b, start c, up root
        exit c protocol -> gave up c, stop b
        exit a          ->
        begin a         -> start a
        gone b          ->
        who             -> a
        """,
    ),
]

PLACES: Final = [
    Case(
        "added where nothing runs it starts with the others",
        NESTED,
        """
        start   -> start a.b, start a.c, up a, up root
        end a   -> stop a.c, stop a.b, down a
        add a.d ->
        begin a -> start a.b, start a.c, start a.d, up a
        end a   -> stop a.d, stop a.c, stop a.b, down a
        """,
    ),
    Case(
        "what was added and is temporary does not come back with its supervisor",
        NESTED,
        """
        start             -> start a.b, start a.c, up a, up root
        add a.d temporary ->
        begin a.d         -> start a.d
        add a.e           ->
        begin a.e         -> start a.e
        exit a.b          -> gave up a, stop a.e, stop a.d, stop a.c, down a, restart a 0.1 1
        wait 0.1          -> start a.b, start a.c, start a.e, up a
        add a.d           ->
        """,
    ),
    Case(
        "and was never started does not begin with it either",
        NESTED,
        """
        start             -> start a.b, start a.c, up a, up root
        end a             -> stop a.c, stop a.b, down a
        add a.d temporary ->
        begin a           -> start a.b, start a.c, up a
        add a.d temporary ->
        """,
    ),
    Case(
        "with a supervisor go those below it",
        supervisor("one_for_one", supervisor("one_for_one", "b", name="a"), "c"),
        """
        start     -> start a.b, up a, start c, up root
        delete a  -> refused a is up
        end a     -> stop a.b, down a
        delete a  ->
        add a     ->
        begin a   -> start a
        who       -> c, a
        """,
    ),
    Case(
        "what was deleted does not come back",
        NESTED,
        """
        start      -> start a.b, start a.c, up a, up root
        end a.b    -> stop a.b
        delete a.b ->
        exit a.c   -> gave up a, down a, restart a 0.1 1
        wait 0.1   -> start a.c, up a
        """,
    ),
    Case(
        "a parked one can be deleted while others are being stopped",
        supervisor("one_for_all", "a", "b", "c"),
        """
        sticky b
        start           -> start a, start b, start c, up root
        exit c protocol -> gave up c, stop b
        delete c        ->
        gone b          -> stop a
        add c           ->
        begin c         -> start c
        """,
    ),
]


@pytest.mark.parametrize("case", [*BEGINS, *PLACES], ids=lambda case: case.name)
def test_what_follows(case: Case) -> None:
    assert case.expected == case.played()


def test_who_was_forgotten_does_not_take_its_successor_along() -> None:
    """Somebody may still hold the place of the dead."""
    plan = Plan(supervisor("one_for_one"), lambda: 0.0)
    plan.start(0.0)
    old = plan.add(temporary("a"), plan.root)
    plan.begin(old, 0.0)
    plan.up(old, 0.0)
    plan.ended(old, "normal", None, 0.0)
    new = plan.add(temporary("a"), plan.root)
    plan.end(old, 0.0)
    plan.delete(old)
    assert {"a": new} == plan.places
    assert {"a": new} == plan.root.children


def test_a_supervisor_can_be_added() -> None:
    plan = Plan(supervisor("one_for_one"), lambda: 0.0)
    plan.start(0.0)
    plan.add(supervisor("one_for_one", "b", child("c"), name="a"), plan.root)
    assert ["a", "a.b", "a.c"] == [*plan.places]
    plan.begin(plan.places["a"], 0.0)
    plan.take()
    plan.delete(plan.add(supervisor("one_for_one", "e", name="d"), plan.root))
    assert ["a", "a.b", "a.c"] == [*plan.places]
    assert [] == plan.take()
