"""The first start of a tree: what may happen before all of it is up."""

from __future__ import annotations

from typing import Final

import pytest

from tests.supervision.transcript import Case, child, pool, supervisor, temporary, transient

CASES: Final = [
    Case(
        "a tree of nothing",
        supervisor("one_for_one"),
        """
        start -> up root
        pass  ->
        stop  -> down root, finished told
        """,
    ),
    Case(
        "groups of nothing",
        supervisor(
            "one_for_all",
            supervisor("rest_for_one", name="a"),
            pool("b", 0),
            "c",
            supervisor("one_for_one", supervisor("one_for_one", name="e"), name="d"),
        ),
        """
        start -> up a, up b, start c, up d.e, up d, up root
        stop  -> down d.e, down d, stop c, down b, down a, down root, finished told
        """,
    ),
    Case(
        "who cannot start inside a group ends all above",
        supervisor("one_for_one", "a", supervisor("one_for_one", "c", "d", "e", name="b"), "f"),
        """
        failing b.d 1
        start -> start a, start b.c, start b.d, fail b.d, stop b.c, down b, stop a, down root,
              -> finished start_failed b.d
        """,
    ),
    Case(
        "and waits for those that stop",
        supervisor("one_for_one", "a", supervisor("one_for_one", "c", "d", name="b")),
        """
        sticky a
        sticky b.c
        slow b.d
        start    -> start a, start b.c, start b.d
        fail b.d -> stop b.c
        gone b.c -> down b, stop a
        gone a   -> down root, finished start_failed b.d
        """,
    ),
    Case(
        "a slot that cannot start stops the others at once",
        supervisor("one_for_one", pool("a", 3)),
        """
        slow a.1
        slow a.2
        sticky a.1
        start    -> start a.1, start a.2, start a.3
        fail a.2 -> stop a.3, stop a.1
        gone a.1 -> down a, down root, finished start_failed a.2
        """,
    ),
    Case(
        "whose program speaks another protocol cannot start",
        supervisor("one_for_one", "a", "b"),
        """
        slow b
        start           -> start a, start b
        fail b protocol -> stop a, down root, finished start_failed b
        """,
    ),
    Case(
        "who is up and fails is restarted beside the start of the others",
        supervisor("one_for_one", "a", "b", "c"),
        """
        slow b
        start   -> start a, start b
        exit a  -> restart a 1 1
        wait 1  -> start a
        ready b -> start c, up root
        """,
    ),
    Case(
        "nobody is up while one of the children waits for its restart",
        supervisor("one_for_one", supervisor("one_for_one", "b", "c", name="a"), "d"),
        """
        slow a.c
        start     -> start a.b, start a.c
        exit a.b  -> restart a.b 1 1
        ready a.c ->
        failing a.b 1
        # It has been up, so this is no first start.
        wait 1    -> start a.b, fail a.b, restart a.b 1 2
        wait 1    -> start a.b, up a, start d, up root
        """,
    ),
    Case(
        "two that fail in turn, within the budget, keep their supervisor from being up",
        supervisor("one_for_one", "a", "b"),
        """
        slow b
        start    -> start a, start b
        exit a   -> restart a 1 1
        wait 0.5 ->
        ready b  ->
        exit b   -> restart b 1 1
        wait 0.5 -> start a
        exit a   -> restart a 1 2
        wait 0.5 -> start b
        ready b  ->
        exit b   -> restart b 1 2
        wait 0.5 -> start a
        wait 0.5 -> start b
        ready b  -> up root
        """,
    ),
    Case(
        "those behind who fails are stopped, ready or not",
        supervisor("rest_for_one", "a", "b", "c"),
        """
        slow b
        start   -> start a, start b
        exit a  -> restart a 1 1, stop b
        wait 1  -> start a, start b
        ready b -> start c, up root
        """,
    ),
    Case(
        "who was stopped before it was ever up still has its first start before it",
        supervisor("rest_for_one", "a", "b", "c"),
        """
        slow b
        start  -> start a, start b
        exit a -> restart a 1 1, stop b
        wait 1 -> start a, start b
        fail b -> stop a, down root, finished start_failed b
        """,
    ),
    Case(
        "a temporary child whose turn has not come is not lost",
        supervisor("rest_for_one", "a", "b", temporary("c"), temporary("d")),
        """
        slow c
        start   -> start a, start b, start c
        # It was stopped, so it does not come back; nobody stopped the one behind it.
        exit b  -> restart b 1 1, stop c
        wait 1  -> start b, start d, up root
        why c   -> finished
        """,
    ),
    Case(
        "the limit holds before all are up",
        supervisor("one_for_one", "a", "b", max_restarts=0),
        """
        slow b
        start  -> start a, start b
        exit a -> gave up root, stop b, down root, finished exhausted a
        """,
    ),
    Case(
        "a group that gives up before it is up was able to start",
        supervisor("one_for_one", supervisor("one_for_one", "b", "c", name="a", max_restarts=0)),
        """
        slow a.c
        start     -> start a.b, start a.c
        exit a.b  -> gave up a, stop a.c, down a, restart a 0.1 1
        wait 0.1  -> start a.b, start a.c
        ready a.c -> up a, up root
        """,
    ),
    Case(
        "who has finished need not be up",
        supervisor("one_for_one", transient("a"), "b"),
        """
        slow b
        start         -> start a, start b
        exit a normal ->
        ready b       -> up root
        """,
    ),
    Case(
        "a significant end before all are up",
        supervisor("one_for_one", transient("a", significant=True), "b", "c"),
        """
        slow b
        start         -> start a, start b
        exit a normal -> stop b, down root, finished well
        """,
    ),
    Case(
        "stopped meanwhile",
        supervisor("one_for_one", "a", supervisor("one_for_one", "c", "d", name="b"), "e"),
        """
        slow b.c
        sticky b.c
        start     -> start a, start b.c
        stop      -> stop b.c
        # It was ready a moment too late.
        ready b.c ->
        gone b.c  -> down b, stop a, down root, finished told
        """,
    ),
    Case(
        "stopped meanwhile, and the start fails",
        supervisor("one_for_one", "a", "b"),
        """
        slow b
        sticky b
        start        -> start a, start b
        stop         -> stop b
        fail b error -> stop a, down root, finished told
        """,
    ),
    Case(
        "a slot that had finished does not keep its pool from being up",
        supervisor("one_for_one", pool("a", 2, restart="transient")),
        """
        slow a.2
        start           -> start a.1, start a.2
        exit a.1 normal ->
        ready a.2       -> up a, up root
        """,
    ),
    Case(
        "one after another in a group whose parent waits",
        supervisor("one_for_one", supervisor("one_for_one", "b", "c", name="a"), child("d")),
        """
        slow a.b
        slow a.c
        start     -> start a.b
        ready a.b -> start a.c
        ready a.c -> up a, start d, up root
        """,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_follows(case: Case) -> None:
    assert case.expected == case.played()
