"""Pools: slots that start, stop and fail on their own, behind one name."""

from __future__ import annotations

from typing import Final

import pytest

from actorcluster._cluster.tree import RetryAfter
from tests.supervision.transcript import Case, pool, supervisor

CASES: Final = [
    Case(
        "slots fail on their own",
        supervisor("one_for_all", "a", pool("b", 3), "c"),
        """
        start    -> start a, start b.1, start b.2, start b.3, up b, start c, up root
        exit b.2 -> restart b.2 1 1
        wait 0.5 ->
        exit b.1 -> restart b.1 1 1
        who      -> a, b.3, c
        wait 0.5 -> start b.2
        wait 0.5 -> start b.1
        """,
    ),
    Case(
        "its siblings follow when it has given up",
        supervisor("one_for_all", "a", pool("b", 2, max_restarts=1), "c"),
        """
        start    -> start a, start b.1, start b.2, up b, start c, up root
        exit b.1 -> restart b.1 1 1
        exit b.2 -> gave up b, down b, restart b 1 1, stop c, stop a
        # The restart of the slot, due at the same time, is void.
        wait 1   -> start a, start b.1, start b.2, up b, start c
        """,
    ),
    Case(
        "its siblings behind it",
        supervisor("rest_for_one", "a", pool("b", 2, max_restarts=0), "c"),
        """
        sticky b.2
        start    -> start a, start b.1, start b.2, up b, start c, up root
        exit b.1 -> gave up b, stop b.2
        gone b.2 -> down b, restart b 1 1, stop c
        wait 1   -> start b.1, start b.2, up b, start c
        """,
    ),
    Case(
        "for its supervisor it failed once, however often its slots did",
        supervisor("one_for_one", pool("a", 2, max_restarts=3), max_restarts=1),
        """
        start    -> start a.1, start a.2, up a, up root
        exit a.1 -> restart a.1 1 1
        exit a.2 -> restart a.2 1 1
        wait 1   -> start a.1, start a.2
        exit a.1 -> restart a.1 1 2
        exit a.2 -> gave up a, down a, restart a 1 1
        wait 1   -> start a.1, start a.2, up a
        # A restarted pool has all of its own restarts again, its supervisor has none left.
        exit a.1 -> restart a.1 1 3
        exit a.2 -> restart a.2 1 2
        wait 1   -> start a.1, start a.2
        exit a.1 -> restart a.1 1 4
        exit a.2 -> gave up a, down a, gave up root, down root, finished exhausted a
        """,
    ),
    Case(
        "a slot that cannot start when its pool is restarted",
        supervisor("one_for_one", pool("a", 2, max_restarts=0)),
        """
        start    -> start a.1, start a.2, up a, up root
        exit a.1 -> gave up a, stop a.2, down a, restart a 1 1
        failing a.2 1
        wait 1   -> start a.1, start a.2, fail a.2, stop a.1, down a, restart a 1 2
        wait 1   -> start a.1, start a.2, up a
        """,
    ),
    Case(
        "a slot that cannot start again is restarted alone",
        supervisor("one_for_one", pool("a", 2, max_restarts=2)),
        """
        start    -> start a.1, start a.2, up a, up root
        failing a.1 1
        exit a.1 -> restart a.1 1 1
        wait 1   -> start a.1, fail a.1, restart a.1 1 2
        wait 1   -> start a.1
        who      -> a.1, a.2
        """,
    ),
    Case(
        "it has finished when all slots have",
        supervisor("one_for_one", pool("a", 3, restart="transient"), "b"),
        """
        start           -> start a.1, start a.2, start a.3, up a, start b, up root
        exit a.3 normal ->
        exit a.1 signal -> restart a.1 1 1
        # One may come back, so it is not the end.
        exit a.2 normal ->
        wait 1          -> start a.1
        exit a.1 normal -> down a
        why a           -> finished
        begin a         -> start a.1, start a.2, start a.3, up a
        """,
    ),
    Case(
        "temporary slots",
        supervisor("one_for_all", pool("a", 2, restart="temporary"), "b"),
        """
        start           -> start a.1, start a.2, up a, start b, up root
        exit a.1 signal ->
        exit a.2 signal -> down a
        exit b          -> restart b 1 1
        wait 1          -> start b
        """,
    ),
    Case(
        "permanent slots do not finish",
        supervisor("one_for_one", pool("a", 1)),
        """
        start           -> start a.1, up a, up root
        exit a.1 normal -> restart a.1 1 1
        """,
    ),
    Case(
        "a pool that finished comes back with its siblings",
        supervisor("one_for_all", pool("a", 1, restart="transient"), "b"),
        """
        start           -> start a.1, up a, start b, up root
        exit a.1 normal -> down a
        exit b          -> restart b 1 1
        wait 1          -> start a.1, up a, start b
        """,
    ),
    Case(
        "a significant pool ends its supervisor when it has finished",
        supervisor("one_for_one", pool("a", 2, restart="transient", significant=True), "b"),
        """
        start           -> start a.1, start a.2, up a, start b, up root
        exit a.1 normal ->
        exit a.2 normal -> down a, stop b, down root, finished well
        """,
    ),
    Case(
        "a slot stopped by hand may be wanted again",
        supervisor("one_for_one", pool("a", 2, restart="transient")),
        """
        start           -> start a.1, start a.2, up a, up root
        end a.1         -> stop a.1
        exit a.2 normal ->
        why a           -> up
        begin a.1       -> start a.1
        exit a.1 normal -> down a
        """,
    ),
    Case(
        "a slot stopped by hand stays down when its pool is restarted",
        supervisor("one_for_one", pool("a", 3, max_restarts=0)),
        """
        start     -> start a.1, start a.2, start a.3, up a, up root
        end a.1   -> stop a.1
        exit a.2  -> gave up a, stop a.3, down a, restart a 1 1
        wait 1    -> start a.2, start a.3, up a
        begin a.1 -> start a.1
        """,
    ),
    Case(
        "a slot stopped by hand while it waits",
        supervisor("one_for_one", pool("a", 2)),
        """
        start    -> start a.1, start a.2, up a, up root
        exit a.1 -> restart a.1 1 1
        end a.1  ->
        pass     ->
        why a.1  -> by_hand
        """,
    ),
    Case(
        "more slots and fewer",
        supervisor("one_for_one", pool("a", 1), "b"),
        """
        slow a.2
        start      -> start a.1, up a, start b, up root
        add a.2    ->
        begin a.2  -> start a.2
        ready a.2  ->
        exit a.2   -> restart a.2 1 1
        wait 1     -> start a.2
        end a.2    -> stop a.2
        delete a.2 ->
        # One that was added and cannot start is gone again, the pool goes on.
        failing a.3 1
        add a.3    ->
        begin a.3  -> start a.3, fail a.3
        add a.3    ->
        who        -> a.1, b
        """,
    ),
    Case(
        "a pool of none",
        supervisor("one_for_one", pool("a", 0)),
        """
        start     -> up a, up root
        add a.1   ->
        begin a.1 -> start a.1
        stop      -> stop a.1, down a, down root, finished told
        """,
    ),
    Case(
        "stopped while slots start, run and wait",
        supervisor("one_for_one", pool("a", 3), "b"),
        """
        start    -> start a.1, start a.2, start a.3, up a, start b, up root
        slow a.2
        sticky a.3
        exit a.2 -> restart a.2 1 1
        wait 1   -> start a.2
        exit a.1 -> restart a.1 1 1
        stop     -> stop b, stop a.3, stop a.2
        gone a.3 -> down a, down root, finished told
        """,
    ),
    Case(
        "stopped while it gives up",
        supervisor("one_for_one", pool("a", 3, max_restarts=0), "b"),
        """
        sticky a.2
        sticky a.3
        start      -> start a.1, start a.2, start a.3, up a, start b, up root
        exit a.1   -> gave up a, stop a.3, stop a.2
        exit a.3 signal ->
        stop       -> stop b
        gone a.2   -> down a, down root, finished told
        """,
    ),
    Case(
        "stopped by hand as a whole, started again",
        supervisor("one_for_one", pool("a", 2), "b"),
        """
        start   -> start a.1, start a.2, up a, start b, up root
        end a   -> stop a.2, stop a.1, down a
        end a   ->
        why a.1 -> with_group
        begin a -> start a.1, start a.2, up a
        """,
    ),
    Case(
        "at its limit it waits with the slot that failed",
        supervisor("one_for_all", "a", pool("b", 2, max_restarts=0, on_exhausted=RetryAfter(60))),
        """
        start    -> start a, start b.1, start b.2, up b, up root
        exit b.1 -> restart b.1 60 1
        exit b.2 -> restart b.2 60 1
        who      -> a
        wait 60  -> start b.1, start b.2
        """,
    ),
    Case(
        "a pool of which nothing is left to run is up",
        supervisor("one_for_all", "a", pool("b", 2, max_restarts=0, on_exhausted="park")),
        """
        start    -> start a, start b.1, start b.2, up b, up root
        exit b.1 -> gave up b.1
        exit b.2 protocol -> gave up b.2
        who      -> a
        why b    -> up
        begin b.2 -> start b.2
        """,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_follows(case: Case) -> None:
    assert case.expected == case.played()
