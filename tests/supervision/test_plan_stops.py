"""Groups, and whole trees, that stop while something else is going on."""

from __future__ import annotations

from typing import Final

import pytest

from tests.supervision.transcript import Case, pool, supervisor, transient

REST: Final = supervisor("rest_for_one", "a", "b", "c", "d")
ALL: Final = supervisor("one_for_all", "a", "b", "c")
GROUP: Final = supervisor(
    "one_for_all", supervisor("one_for_one", "c", "d", name="a", max_restarts=0), "b"
)

GROUPS: Final = [
    Case(
        "a group fails inside while it is to be stopped",
        GROUP,
        """
        sticky a.d
        start          -> start a.c, start a.d, up a, start b, up root
        exit b         -> restart b 1 1, stop a.d
        exit a.c error ->
        gone a.d       -> down a
        wait 1         -> start a.c, start a.d, up a, start b
        """,
    ),
    Case(
        "a group gives up and then is to be stopped",
        GROUP,
        """
        sticky a.d
        start    -> start a.c, start a.d, up a, start b, up root
        exit a.c -> gave up a, stop a.d
        exit b   -> restart b 1 1
        gone a.d -> down a
        wait 1   -> start a.c, start a.d, up a, start b
        """,
    ),
    Case(
        "a group gives up before it is its turn to stop",
        supervisor(
            "one_for_all", supervisor("one_for_one", "c", "d", name="a", max_restarts=0), "b", "e"
        ),
        """
        sticky e
        start    -> start a.c, start a.d, up a, start b, start e, up root
        exit b   -> restart b 1 1, stop e
        exit a.c -> gave up a, stop a.d, down a
        gone e   ->
        wait 1   -> start a.c, start a.d, up a, start b, start e
        """,
    ),
    Case(
        "a group cannot start while its parent restarts others",
        supervisor("rest_for_one", "a", supervisor("one_for_one", "c", name="b"), "d"),
        """
        start  -> start a, start b.c, up b, start d, up root
        failing b.c 1
        exit a -> restart a 1 1, stop d, stop b.c, down b
        # It has been up once, so it is restarted, with those behind it.
        wait 1 -> start a, start b.c, fail b.c, down b, restart b 0.1 1
        wait 0.1 -> start b.c, up b, start d
        """,
    ),
    Case(
        "a group stops on its own and its parent is told to",
        supervisor(
            "one_for_one", supervisor("one_for_one", "c", "d", name="a", max_restarts=0), "b"
        ),
        """
        sticky a.d
        start    -> start a.c, start a.d, up a, start b, up root
        exit a.c -> gave up a, stop a.d
        stop     -> stop b
        gone a.d -> down a, down root, finished told
        """,
    ),
    Case(
        "a group has shut down by itself before it is its turn",
        supervisor(
            "one_for_one",
            supervisor("one_for_one", transient("c", significant=True), "d", name="a"),
            "b",
        ),
        """
        sticky b
        start           -> start a.c, start a.d, up a, start b, up root
        stop            -> stop b
        exit a.c normal -> stop a.d, down a
        gone b          -> down root, finished told
        """,
    ),
]

STOPS: Final = [
    Case(
        "stopped while a restart waits",
        REST,
        """
        start  -> start a, start b, start c, start d, up root
        exit b -> restart b 1 1, stop d, stop c
        stop   -> stop a, down root, finished told
        pass   ->
        """,
    ),
    Case(
        "stopped while siblings stop",
        REST,
        """
        sticky d
        start  -> start a, start b, start c, start d, up root
        exit b -> restart b 1 1, stop d
        stop   ->
        wait 9 ->
        gone d -> stop c, stop a, down root, finished told
        """,
    ),
    Case(
        "stopped while others start",
        REST,
        """
        start  -> start a, start b, start c, start d, up root
        slow c
        exit b -> restart b 1 1, stop d, stop c
        wait 1 -> start b, start c
        stop   -> stop c, stop b, stop a, down root, finished told
        """,
    ),
    Case(
        "stopped while it gives up: that is how it ended",
        supervisor("one_for_one", "a", "b", max_restarts=0),
        """
        sticky b
        start  -> start a, start b, up root
        exit a -> gave up root, stop b
        stop   ->
        gone b -> down root, finished exhausted a
        """,
    ),
    Case(
        "stopped while it shuts down by itself: that is how it ended",
        supervisor("one_for_one", transient("a", significant=True), "b"),
        """
        sticky b
        start         -> start a, start b, up root
        exit a normal -> stop b
        stop          ->
        gone b        -> down root, finished well
        """,
    ),
    Case(
        "stopped twice, and after the end",
        supervisor("one_for_one", "a"),
        """
        sticky a
        start  -> start a, up root
        stop   -> stop a
        stop   ->
        gone a -> down root, finished told
        stop   ->
        pass   ->
        """,
    ),
    Case(
        "stopped with several things going on",
        supervisor(
            "one_for_one", "a", pool("b", 2), supervisor("rest_for_one", "d", "e", name="c")
        ),
        """
        sticky c.e
        slow b.1
        start    -> start a, start b.1, start b.2
        ready b.1 -> up b, start c.d, start c.e, up c, up root
        exit a   -> restart a 1 1
        exit b.2 -> restart b.2 1 1
        exit c.d -> restart c.d 1 1, stop c.e
        stop     ->
        gone c.e -> down c, stop b.1, down b, down root, finished told
        pass     ->
        """,
    ),
]


@pytest.mark.parametrize("case", [*GROUPS, *STOPS], ids=lambda case: case.name)
def test_what_follows(case: Case) -> None:
    assert case.expected == case.played()
