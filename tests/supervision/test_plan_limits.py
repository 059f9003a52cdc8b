"""One restart too many, or none that could help: escalate, park, or wait and try again."""

from __future__ import annotations

from typing import Final

import pytest

from actorcluster._cluster.tree import RetryAfter
from tests.supervision.transcript import Case, child, pool, supervisor, temporary, transient

ESCALATE: Final = [
    Case(
        "through all levels",
        supervisor(
            "one_for_one",
            supervisor(
                "one_for_one",
                supervisor("one_for_one", "c", "d", name="b", max_restarts=0),
                name="a",
                max_restarts=0,
            ),
            "e",
            max_restarts=0,
        ),
        """
        start      -> start a.b.c, start a.b.d, up a.b, up a, start e, up root
        exit a.b.c -> gave up a.b, stop a.b.d, down a.b, gave up a, down a,
                   -> gave up root, stop e, down root, finished exhausted a
        """,
    ),
    Case(
        "the strategy above ties its siblings to a supervisor",
        supervisor(
            "rest_for_one", "a", supervisor("one_for_one", "c", name="b", max_restarts=0), "d"
        ),
        """
        start    -> start a, start b.c, up b, start d, up root
        exit b.c -> gave up b, down b, restart b 0.1 1, stop d
        wait 0.1 -> start b.c, up b, start d
        """,
    ),
    Case(
        "a supervisor that cannot start again",
        supervisor("one_for_one", supervisor("one_for_one", "b", "c", name="a", max_restarts=0)),
        """
        start    -> start a.b, start a.c, up a, up root
        failing a.c 2
        exit a.b -> gave up a, stop a.c, down a, restart a 0.1 1
        wait 0.1 -> start a.b, start a.c, fail a.c, stop a.b, down a, restart a 0.2 2
        wait 0.2 -> start a.b, start a.c, fail a.c, stop a.b, down a, restart a 0.4 3
        wait 0.4 -> start a.b, start a.c, up a
        """,
    ),
    Case(
        "a child that was too much is not said to have never run",
        supervisor("one_for_one", "a", "b", max_restarts=0),
        """
        sticky b
        start  -> start a, start b, up root
        exit a -> gave up root, stop b
        why a  -> with_group
        """,
    ),
]

RETRY: Final = [
    Case(
        "with those tied to it",
        supervisor("rest_for_one", "a", "b", "c", max_restarts=0, on_exhausted=RetryAfter(60)),
        """
        start   -> start a, start b, start c, up root
        exit b  -> restart b 60 1, stop c
        wait 59 ->
        wait 1  -> start b, start c
        """,
    ),
    Case(
        "others fail and come back meanwhile",
        supervisor("one_for_one", "a", "b", max_restarts=1, on_exhausted=RetryAfter(60)),
        """
        start   -> start a, start b, up root
        exit a  -> restart a 1 1
        exit b  -> restart b 60 1
        wait 1  -> start a
        exit a  -> restart a 1 2
        wait 1  -> start a
        wait 58 -> start b
        """,
    ),
    Case(
        "the parent does not notice",
        supervisor(
            "one_for_all",
            "a",
            supervisor("one_for_one", "c", name="b", max_restarts=0, on_exhausted=RetryAfter(60)),
            max_restarts=0,
        ),
        """
        start    -> start a, start b.c, up b, up root
        exit b.c -> restart b.c 60 1
        wait 60  -> start b.c
        failing b.c 2
        exit b.c -> restart b.c 60 2
        wait 60  -> start b.c, fail b.c, restart b.c 60 3
        who      -> a
        """,
    ),
    Case(
        "stopped meanwhile",
        supervisor("one_for_one", "a", max_restarts=0, on_exhausted=RetryAfter(60)),
        """
        start  -> start a, up root
        exit a -> restart a 60 1
        stop   -> down root, finished told
        pass   ->
        """,
    ),
]

PARK: Final = [
    Case(
        "one_for_all: all",
        supervisor(
            "one_for_all", "a", temporary("b"), "c", "d", max_restarts=0, on_exhausted="park"
        ),
        """
        start  -> start a, start b, start c, start d, up root
        exit c -> gave up c, stop d, stop b, stop a
        pass   ->
        why a  -> parked
        why b  -> finished
        why c  -> parked
        why d  -> parked
        stop   -> down root, finished told
        """,
    ),
    Case(
        "rest_for_one: those behind it",
        supervisor("rest_for_one", "a", "b", "c", max_restarts=0, on_exhausted="park"),
        """
        start   -> start a, start b, start c, up root
        exit b  -> gave up b, stop c
        who     -> a
        begin b -> start b
        who     -> a, b
        begin c -> start c
        """,
    ),
    Case(
        "whom one stops and wants down stays as it is",
        supervisor("one_for_all", "a", transient("b"), "c", max_restarts=0, on_exhausted="park"),
        """
        start         -> start a, start b, start c, up root
        end a         -> stop a
        exit b normal ->
        exit c        -> gave up c
        why a         -> by_hand
        # It was to come back with the others, so it is given up with them.
        why b         -> parked
        """,
    ),
    Case(
        "who is parked does not come back with its siblings",
        supervisor("one_for_all", "a", "b", "c"),
        """
        start           -> start a, start b, start c, up root
        exit a protocol -> gave up a, stop c, stop b
        begin b         -> start b
        begin c         -> start c
        exit c          -> restart c 1 1, stop b
        wait 1          -> start b, start c
        """,
    ),
    Case(
        "who is parked starts with its supervisor",
        supervisor("one_for_one", supervisor("one_for_one", "b", "c", name="a", max_restarts=0)),
        """
        start             -> start a.b, start a.c, up a, up root
        exit a.b protocol -> gave up a.b
        exit a.c          -> gave up a, down a, restart a 0.1 1
        wait 0.1          -> start a.b, start a.c, up a
        """,
    ),
    Case(
        "the limit is that of all",
        supervisor("one_for_one", "a", "b", max_restarts=1, on_exhausted="park"),
        """
        start   -> start a, start b, up root
        exit a  -> restart a 1 1
        wait 1  -> start a
        exit a  -> gave up a
        exit b  -> gave up b
        # Who starts it again by hand gives all a new beginning.
        begin a -> start a
        exit a  -> restart a 1 1
        wait 1  -> start a
        exit a  -> gave up a
        """,
    ),
    Case(
        "a supervisor that gave up",
        supervisor(
            "one_for_one",
            supervisor("one_for_one", "b", "c", name="a", max_restarts=0),
            "d",
            max_restarts=0,
            on_exhausted="park",
        ),
        """
        start    -> start a.b, start a.c, up a, start d, up root
        exit a.b -> gave up a, stop a.c, down a, gave up a
        who      -> d
        why a    -> parked
        begin a  -> start a.b, start a.c, up a
        """,
    ),
    Case(
        "before all are up",
        supervisor("one_for_all", "a", "b", "c"),
        """
        slow b
        start           -> start a, start b
        exit a protocol -> gave up a, stop b, up root
        why c           -> parked
        begin c         -> start c
        """,
    ),
    Case(
        "who still stops when an earlier one fails",
        supervisor("rest_for_one", "a", "b", "c"),
        """
        sticky c
        start           -> start a, start b, start c, up root
        exit b protocol -> gave up b, stop c
        exit a          -> restart a 1 1
        gone c          ->
        wait 1          -> start a
        why c           -> parked
        """,
    ),
    Case(
        "temporary children whose turn has not come",
        supervisor("rest_for_one", "a", "b", temporary("c")),
        """
        slow b
        start           -> start a, start b
        exit a protocol -> gave up a, stop b, up root
        why c           -> parked
        """,
    ),
    Case(
        "while those behind it wait for their restart",
        supervisor("rest_for_one", "a", "b", "c"),
        """
        sticky c
        start           -> start a, start b, start c, up root
        exit b          -> restart b 1 1, stop c
        exit a protocol -> gave up a
        gone c          ->
        pass            ->
        why b           -> parked
        why c           -> parked
        """,
    ),
]

PROTOCOL: Final = [
    Case(
        "costs nothing",
        supervisor("one_for_one", "a", "b", max_restarts=0),
        """
        start           -> start a, start b, up root
        exit a protocol -> gave up a
        who             -> b
        """,
    ),
    Case(
        "also when it starts again",
        supervisor("rest_for_one", "a", "b", "c"),
        """
        start           -> start a, start b, start c, up root
        slow b
        exit b          -> restart b 1 1, stop c
        wait 1          -> start b
        fail b protocol -> gave up b
        pass            ->
        why c           -> parked
        """,
    ),
    Case(
        "ties as any failure does",
        supervisor(
            "rest_for_one", "a", "b", pool("c", 2), supervisor("one_for_one", "e", name="d")
        ),
        """
        start           -> start a, start b, start c.1, start c.2, up c, start d.e, up d, up root
        exit b protocol -> gave up b, stop d.e, down d, stop c.2, stop c.1, down c
        who             -> a
        """,
    ),
    Case(
        "a slot alone",
        supervisor("one_for_all", pool("a", 2), child("b")),
        """
        start             -> start a.1, start a.2, up a, start b, up root
        exit a.1 protocol -> gave up a.1
        who               -> a.2, b
        """,
    ),
    Case(
        "a program that cannot be started in a supervisor that is restarted",
        supervisor("one_for_one", supervisor("one_for_one", "b", name="a", max_restarts=0)),
        """
        start             -> start a.b, up a, up root
        exit a.b          -> gave up a, down a, restart a 0.1 1
        slow a.b
        wait 0.1          -> start a.b
        # The supervisor could not start; it is no supervisor that breaks the protocol.
        fail a.b protocol -> down a, restart a 0.2 2
        """,
    ),
]


@pytest.mark.parametrize("case", [*ESCALATE, *RETRY, *PARK, *PROTOCOL], ids=lambda case: case.name)
def test_what_follows(case: Case) -> None:
    assert case.expected == case.played()
