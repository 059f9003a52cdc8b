"""Cases of rules: whom a failure concerns, and in which order all stop."""

from __future__ import annotations

from typing import Final

from tests.supervision.transcript import (
    Case,
    pool,
    supervisor,
    temporary,
    transient,
)

__all__ = ["CASES"]

STRATEGIES: Final = [
    Case(
        "one_for_one",
        supervisor("one_for_one", "a", "b", "c"),
        """
        start  -> start a, start b, start c, up root
        exit b -> restart b 1 1
        who    -> a, c
        wait 1 -> start b
        """,
        "B1-OFO-1 B1-EXTRA-5",
    ),
    Case(
        "rest_for_one",
        supervisor("rest_for_one", "a", "b", "c", "d"),
        """
        start  -> start a, start b, start c, start d, up root
        exit b -> restart b 1 1, stop d, stop c
        who    -> a
        wait 1 -> start b, start c, start d
        """,
        "B1-RFO-1",
    ),
    Case(
        "one_for_all",
        supervisor("one_for_all", "a", "b", "c", "d"),
        """
        sticky d
        slow b
        start   -> start a, start b
        ready b -> start c, start d, up root
        exit b  -> restart b 1 1, stop d
        gone d  -> stop c, stop a
        wait 1  -> start a, start b
        ready b -> start c, start d
        """,
        "B1-OFA-1",
    ),
    Case(
        "temporary siblings do not come back, finished ones do",
        supervisor("one_for_all", temporary("a"), transient("b"), "c"),
        """
        start         -> start a, start b, start c, up root
        exit b normal ->
        exit c        -> restart c 1 1, stop a
        wait 1        -> start b, start c
        why a         -> finished
        """,
        "B1-TIE-1 B1-TIE-2",
    ),
    Case(
        "in rest_for_one those before it stay as they are",
        supervisor("rest_for_one", transient("a"), "b", transient("c"), temporary("d")),
        """
        start         -> start a, start b, start c, start d, up root
        exit a normal ->
        exit c normal ->
        exit b        -> restart b 1 1, stop d
        wait 1        -> start b, start c
        """,
        "B1-TIE-1 B1-TIE-2",
    ),
    Case(
        "whom somebody stopped stays down",
        supervisor("one_for_all", "a", "b", "c"),
        """
        start   -> start a, start b, start c, up root
        end a   -> stop a
        exit b  -> restart b 1 1, stop c
        wait 1  -> start b, start c
        begin a -> start a
        exit b  -> restart b 1 2, stop c, stop a
        wait 1  -> start a, start b, start c
        """,
        "B1-TIE-3",
    ),
    Case(
        "one_for_all stops everything again when one cannot start",
        supervisor("one_for_all", "a", "b", "c"),
        """
        start  -> start a, start b, start c, up root
        failing b 1
        exit c -> restart c 1 1, stop b, stop a
        wait 1 -> start a, start b, fail b, restart b 1 1, stop a
        wait 1 -> start a, start b, start c
        """,
        "B1-TIE-4",
    ),
    Case(
        "rest_for_one goes on from who cannot start",
        supervisor("rest_for_one", "a", "b", "c"),
        """
        start  -> start a, start b, start c, up root
        failing b 1
        exit a -> restart a 1 1, stop c, stop b
        wait 1 -> start a, start b, fail b, restart b 1 1
        who    -> a
        wait 1 -> start b, start c
        """,
        "B1-TIE-4",
    ),
    Case(
        "who was added stands behind",
        supervisor("rest_for_one", "a", "b"),
        """
        start   -> start a, start b, up root
        add c   ->
        begin c -> start c
        exit b  -> restart b 1 1, stop c
        wait 1  -> start b, start c
        stop    -> stop c, stop b, stop a, down root, finished told
        """,
        "B1-TIE-5",
    ),
]

STOPS: Final = [
    Case(
        "one after another, in reverse",
        supervisor("one_for_one", "a", supervisor("one_for_one", "c", "d", name="b"), "e"),
        """
        sticky e
        sticky b.d
        sticky b.c
        start    -> start a, start b.c, start b.d, up b, start e, up root
        stop     -> stop e
        wait 99  ->
        gone e   -> stop b.d
        gone b.d -> stop b.c
        gone b.c -> down b, stop a, down root, finished told
        """,
        "B1-STOP-6",
    ),
    Case(
        "children of one kind at once",
        supervisor("one_for_one", "a", pool("b", 3)),
        """
        sticky b.1
        sticky b.2
        start    -> start a, start b.1, start b.2, start b.3, up b, up root
        stop     -> stop b.3, stop b.2, stop b.1
        gone b.1 ->
        gone b.2 -> down b, stop a, down root, finished told
        """,
        "B1-STOP-7",
    ),
]

CASES: Final = [*STRATEGIES, *STOPS]
