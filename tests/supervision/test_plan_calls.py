"""Children stopped by hand, or told to stop by somebody else, at any moment."""

from __future__ import annotations

from typing import Final

import pytest

from tests.supervision.transcript import Case, supervisor, temporary, transient

ONE: Final = supervisor("one_for_one", "a", "b")
NESTED: Final = supervisor(
    "one_for_one", supervisor("one_for_one", "b", "c", name="a", max_restarts=0)
)

ENDS: Final = [
    Case(
        "a stop by hand in each phase",
        ONE,
        """
        slow a
        sticky a
        start   -> start a
        end a   -> stop a, start b, up root
        end a   ->
        gone a  ->
        end a   ->
        why a   -> by_hand
        begin a -> start a
        ready a ->
        end a   -> stop a
        end a   ->
        gone a  ->
        begin a -> start a
        ready a ->
        exit a  -> restart a 1 1
        end a   ->
        why a   -> by_hand
        pass    ->
        """,
    ),
    Case(
        "those behind it go on while it stops",
        supervisor("one_for_all", "a", "b", "c"),
        """
        start   -> start a, start b, start c, up root
        slow b
        sticky b
        exit c  -> restart c 1 1, stop b
        gone b  -> stop a
        wait 1  -> start a, start b
        end b   -> stop b, start c
        gone b  ->
        who     -> a, c
        """,
    ),
    Case(
        "while it waits for its turn",
        supervisor("one_for_all", "a", "b", "c"),
        """
        start   -> start a, start b, start c, up root
        exit a  -> restart a 1 1, stop c, stop b
        end b   ->
        wait 1  -> start a, start c
        why b   -> by_hand
        """,
    ),
    Case(
        "who failed while it waits: the others come back without it",
        supervisor("one_for_all", "a", "b", "c"),
        """
        start   -> start a, start b, start c, up root
        exit b  -> restart b 1 1, stop c, stop a
        end b   ->
        wait 1  -> start a, start c
        """,
    ),
    Case(
        "while it is being stopped to come back",
        supervisor("one_for_all", "a", "b"),
        """
        sticky a
        start   -> start a, start b, up root
        exit b  -> restart b 1 1, stop a
        end a   ->
        gone a  ->
        wait 1  -> start b
        why a   -> by_hand
        """,
    ),
    Case(
        "who stands in the queue to be stopped",
        supervisor("one_for_all", "a", "b", "c"),
        """
        sticky b
        start   -> start a, start b, start c, up root
        exit c  -> restart c 1 1, stop b
        end a   -> stop a
        gone b  ->
        wait 1  -> start b, start c
        """,
    ),
    Case(
        "the last that was not up",
        supervisor("one_for_one", supervisor("one_for_one", "b", "c", name="a"), "d"),
        """
        slow a.c
        sticky a.c
        start    -> start a.b, start a.c
        end a.c  -> stop a.c, up a, start d, up root
        """,
    ),
    Case(
        "a supervisor while it starts, runs and waits",
        supervisor("one_for_one", supervisor("one_for_one", "b", "c", name="a", max_restarts=0)),
        """
        slow a.c
        start     -> start a.b, start a.c
        # For its parent it is no longer one that starts.
        end a     -> stop a.c, up root, stop a.b, down a
        begin a   -> start a.b, start a.c
        ready a.c -> up a
        end a     -> stop a.c, stop a.b, down a
        begin a   -> start a.b, start a.c
        ready a.c -> up a
        exit a.b  -> gave up a, stop a.c, down a, restart a 0.1 1
        end a     ->
        end a     ->
        pass      ->
        why a     -> by_hand
        """,
    ),
    Case(
        "a supervisor while it gives up",
        NESTED,
        """
        sticky a.c
        start    -> start a.b, start a.c, up a, up root
        exit a.b -> gave up a, stop a.c
        end a    ->
        gone a.c -> down a
        pass     ->
        why a    -> by_hand
        """,
    ),
    Case(
        "it stays down when its supervisor starts again",
        NESTED,
        """
        start    -> start a.b, start a.c, up a, up root
        end a.b  -> stop a.b
        exit a.c -> gave up a, down a, restart a 0.1 1
        wait 0.1 -> start a.c, up a
        end a    -> stop a.c, down a
        begin a  -> start a.c, up a
        why a.b  -> by_hand
        """,
    ),
    Case(
        "a temporary one stays down, too",
        supervisor("one_for_one", supervisor("one_for_all", temporary("b"), "c", "d", name="a")),
        """
        sticky a.b
        start    -> start a.b, start a.c, start a.d, up a, up root
        end a.b  -> stop a.b
        exit a.c -> restart a.c 1 1, stop a.d
        gone a.b ->
        wait 1   -> start a.c, start a.d
        why a.b  -> by_hand
        end a    -> stop a.d, stop a.c, down a
        begin a  -> start a.c, start a.d, up a
        """,
    ),
    Case(
        "one that had finished",
        supervisor("one_for_all", transient("a"), "b"),
        """
        start         -> start a, start b, up root
        exit a normal ->
        end a         ->
        exit b        -> restart b 1 1
        wait 1        -> start b
        why a         -> by_hand
        """,
    ),
]

LEAVES: Final = [
    Case(
        "who was told by somebody else ends as after a stop by hand",
        ONE,
        """
        start        -> start a, start b, up root
        leaving a    ->
        leaving a    ->
        end a        ->
        exit a error ->
        pass         ->
        why a        -> by_hand
        """,
    ),
    Case(
        "before it is ready",
        supervisor("one_for_one", "a", "b"),
        """
        slow a
        start     -> start a
        leaving a ->
        ready a   ->
        gone a    -> start b, up root
        why a     -> by_hand
        """,
    ),
    Case(
        "who is being stopped to come back does not",
        supervisor("one_for_all", "a", "b"),
        """
        sticky a
        start     -> start a, start b, up root
        exit b    -> restart b 1 1, stop a
        leaving a ->
        gone a    ->
        wait 1    -> start b
        """,
    ),
    Case(
        "who leaves is waited for",
        supervisor("one_for_all", "a", "b"),
        """
        start     -> start a, start b, up root
        leaving a ->
        exit b    -> restart b 1 1
        wait 1    ->
        gone a    -> start b
        """,
    ),
    Case(
        "nobody can tell what does not run",
        supervisor("one_for_all", transient("a"), "b", "c"),
        """
        start         -> start a, start b, start c, up root
        exit a normal ->
        leaving a     ->
        exit b        -> restart b 1 1, stop c
        leaving b     ->
        leaving c     ->
        wait 1        -> start a, start b, start c
        """,
    ),
    Case(
        "nor one that waits for its delay alone",
        ONE,
        """
        start     -> start a, start b, up root
        exit a    -> restart a 1 1
        leaving a ->
        wait 1    -> start a
        """,
    ),
]


@pytest.mark.parametrize("case", [*ENDS, *LEAVES], ids=lambda case: case.name)
def test_what_follows(case: Case) -> None:
    assert case.expected == case.played()
