"""Supervisors that end by themselves, because of significant children."""

from __future__ import annotations

from typing import Final

import pytest

from tests.supervision.transcript import Case, pool, supervisor, temporary, transient

A: Final = transient("a", significant=True)
B: Final = transient("b", significant=True)
ANY: Final = supervisor("one_for_one", A, B, "c", auto_shutdown="any_significant")
ALL: Final = supervisor("one_for_one", A, B, "c", auto_shutdown="all_significant")

CASES: Final = [
    Case(
        "the first of any",
        ANY,
        """
        start         -> start a, start b, start c, up root
        exit b normal -> stop c, stop a, down root, finished well
        """,
    ),
    Case(
        "who is parked may come back",
        ALL,
        """
        start           -> start a, start b, start c, up root
        exit a protocol -> gave up a
        exit b normal   ->
        begin a         -> start a
        exit a normal   -> stop c, down root, finished well
        """,
    ),
    Case(
        "who is parked has not ended for good",
        ANY,
        """
        start           -> start a, start b, start c, up root
        exit a protocol -> gave up a
        who             -> b, c
        """,
    ),
    Case(
        "whom a limit parks, the same",
        supervisor(
            "one_for_one",
            A,
            B,
            auto_shutdown="all_significant",
            max_restarts=0,
            on_exhausted="park",
        ),
        """
        start         -> start a, start b, up root
        exit a error  -> gave up a
        exit b normal ->
        why root      -> up
        """,
    ),
    Case(
        "stopped by hand, one after the other",
        ALL,
        """
        start     -> start a, start b, start c, up root
        end a     -> stop a
        leaving b ->
        gone b    ->
        who       -> c
        begin a   -> start a
        exit a shutdown -> stop c, down root, finished well
        """,
    ),
    Case(
        "a start by hand that failed leaves nobody",
        ALL,
        """
        start         -> start a, start b, start c, up root
        end a         -> stop a
        failing a 1
        begin a       -> start a, fail a
        exit b normal -> stop c, down root, finished well
        """,
    ),
    Case(
        "while others wait for their restart",
        ANY,
        """
        start         -> start a, start b, start c, up root
        exit c        -> restart c 1 1
        exit b error  -> restart b 1 1
        exit a normal -> down root, finished well
        pass          ->
        """,
    ),
    Case(
        "while those behind it are restarted",
        supervisor("rest_for_one", A, "b", "c"),
        """
        start         -> start a, start b, start c, up root
        slow c
        sticky c
        exit b        -> restart b 1 1, stop c
        gone c        ->
        wait 1        -> start b, start c
        exit a normal -> stop c
        gone c        -> stop b, down root, finished well
        """,
    ),
    Case(
        "not while it is to be stopped because of a sibling",
        supervisor("one_for_all", A, "b", "c"),
        """
        sticky c
        start         -> start a, start b, start c, up root
        exit b        -> restart b 1 1, stop c
        exit a normal ->
        gone c        ->
        wait 1        -> start a, start b, start c
        exit a normal -> stop c
        """,
    ),
    Case(
        "all: whom a sibling's failure ended for good is not left",
        supervisor(
            "one_for_all",
            temporary("a", significant=True),
            B,
            "c",
            auto_shutdown="all_significant",
        ),
        """
        start         -> start a, start b, start c, up root
        exit c        -> restart c 1 1, stop b, stop a
        wait 1        -> start b, start c
        exit b normal -> stop c, down root, finished well
        """,
    ),
    Case(
        "all: who had finished and came back counts again",
        supervisor("one_for_all", A, B, "c", auto_shutdown="all_significant"),
        """
        start         -> start a, start b, start c, up root
        exit a normal ->
        exit c        -> restart c 1 1, stop b
        wait 1        -> start a, start b, start c
        exit b normal ->
        exit a normal -> stop c, down root, finished well
        """,
    ),
    Case(
        "a supervisor that has finished comes back with its siblings",
        supervisor("one_for_all", supervisor("one_for_one", B, "c", name="a"), "d"),
        """
        start           -> start a.b, start a.c, up a, start d, up root
        exit a.b normal -> stop a.c, down a
        exit d          -> restart d 1 1
        wait 1          -> start a.b, start a.c, up a, start d
        """,
    ),
    Case(
        "a supervisor that has finished is nobody's failure",
        supervisor("one_for_all", supervisor("one_for_one", B, name="a"), "d", max_restarts=0),
        """
        start           -> start a.b, up a, start d, up root
        exit a.b normal -> down a
        who             -> d
        begin a         -> start a.b, up a
        """,
    ),
    Case(
        "a significant pool among others",
        supervisor(
            "one_for_one",
            pool("a", 2, restart="temporary", significant=True),
            B,
            auto_shutdown="all_significant",
        ),
        """
        start           -> start a.1, start a.2, up a, start b, up root
        exit b normal   ->
        exit a.1 signal ->
        exit a.2 signal -> down a, down root, finished well
        """,
    ),
    Case(
        "a significant pool that gives up",
        supervisor(
            "one_for_one",
            pool("a", 1, restart="temporary", significant=True),
            pool("b", 1, restart="transient", significant=True, max_restarts=0),
        ),
        """
        start         -> start a.1, up a, start b.1, up b, up root
        # A failure, so the pool is restarted: it has not ended for good.
        exit b.1      -> gave up b, down b, restart b 1 1
        wait 1        -> start b.1, up b
        exit a.1      -> down a, stop b.1, down b, down root, finished well
        """,
    ),
    Case(
        "never",
        supervisor("one_for_one", transient("a"), temporary("b"), auto_shutdown="never"),
        """
        start         -> start a, start b, up root
        exit a normal ->
        exit b normal ->
        why root      -> up
        """,
    ),
    Case(
        "nobody is significant",
        supervisor("one_for_one", transient("a"), auto_shutdown="all_significant"),
        """
        start         -> start a, up root
        exit a normal ->
        why root      -> up
        """,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_follows(case: Case) -> None:
    assert case.expected == case.played()
