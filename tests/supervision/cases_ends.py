"""Cases of rules: supervisors that end by themselves, and children that somebody manages."""

from __future__ import annotations

from typing import Final

from tests.supervision.transcript import (
    Case,
    supervisor,
    temporary,
    transient,
)

__all__ = ["CASES"]

ANY: Final = supervisor(
    "one_for_all",
    transient("a", significant=True),
    temporary("b", significant=True),
    "c",
    auto_shutdown="any_significant",
)
ALL: Final = supervisor(
    "one_for_one",
    transient("a", significant=True),
    temporary("b", significant=True),
    "c",
    auto_shutdown="all_significant",
)

AUTO: Final = [
    Case(
        "any: a transient one that ended well",
        ANY,
        """
        start         -> start a, start b, start c, up root
        exit a normal -> stop c, stop b, down root, finished well
        """,
        "B1-AUTO-1 B1-EXTRA-2",
    ),
    Case(
        "any: a transient one that failed is restarted",
        ANY,
        """
        start        -> start a, start b, start c, up root
        exit a error -> restart a 1 1, stop c, stop b
        wait 1       -> start a, start c
        """,
        "B1-AUTO-1 B1-AUTO-3",
    ),
    Case(
        "any: a temporary one, however it ended",
        ANY,
        """
        start         -> start a, start b, start c, up root
        exit b signal -> stop c, stop a, down root, finished well
        """,
        "B1-AUTO-1",
    ),
    Case(
        "all: the last",
        ALL,
        """
        start         -> start a, start b, start c, up root
        exit b error  ->
        exit a normal -> stop c, down root, finished well
        """,
        "B1-AUTO-2",
    ),
    Case(
        "all: one that waits for its restart is there",
        ALL,
        """
        start         -> start a, start b, start c, up root
        exit a error  -> restart a 1 1
        exit b normal ->
        wait 1        -> start a
        exit a normal -> stop c, down root, finished well
        """,
        "B1-AUTO-2",
    ),
    Case(
        "not by hand",
        ANY,
        """
        start     -> start a, start b, start c, up root
        end a     -> stop a
        leaving b ->
        gone b    ->
        who       -> c
        """,
        "B1-AUTO-3",
    ),
    Case(
        "the last by itself counts, whoever was stopped by hand before",
        ALL,
        """
        start        -> start a, start b, start c, up root
        end a        -> stop a
        exit b error -> stop c, down root, finished well
        """,
        "B1-AUTO-2 B1-AUTO-3",
    ),
    Case(
        "who shut down by itself has finished",
        supervisor(
            "one_for_one",
            supervisor("one_for_one", transient("b", significant=True), "c", name="a"),
            "d",
        ),
        """
        start           -> start a.b, start a.c, up a, start d, up root
        exit a.b normal -> stop a.c, down a
        pass            ->
        why a           -> finished
        who             -> d
        """,
        "B1-AUTO-4",
    ),
]

CALLS: Final = [
    Case(
        "a name is given once",
        supervisor("one_for_one", "a"),
        """
        start -> start a, up root
        add a -> refused name 'a' is taken
        end a -> stop a
        add a -> refused name 'a' is taken
        """,
        "B1-MANAGE-1 B1-DYNAMIC-2",
    ),
    Case(
        "who was added and cannot start is gone",
        supervisor("one_for_one", "a"),
        """
        start   -> start a, up root
        failing b 1
        add b   ->
        begin b -> start b, fail b
        pass    ->
        add b   ->
        begin b -> start b
        """,
        "B1-MANAGE-2",
    ),
    Case(
        "a stop by hand keeps the place",
        supervisor("one_for_one", "a"),
        """
        start           -> start a, up root
        add b temporary ->
        begin b         -> start b
        end a           -> stop a
        end b           -> stop b
        add a           -> refused name 'a' is taken
        add b           ->
        begin a         -> start a
        """,
        "B1-MANAGE-3",
    ),
    Case(
        "only what is down is started by hand, or deleted",
        supervisor("one_for_one", "a"),
        """
        slow a
        sticky a
        start    -> start a
        begin a  -> refused a is starting
        delete a -> refused a is starting
        ready a  -> up root
        begin a  -> refused a is up
        delete a -> refused a is up
        exit a   -> restart a 1 1
        begin a  -> refused a is waiting
        delete a -> refused a is waiting
        wait 1   -> start a
        ready a  ->
        end a    -> stop a
        begin a  -> refused a is stopping
        delete a -> refused a is stopping
        gone a   ->
        begin a  -> start a
        end a    -> stop a
        gone a   ->
        delete a ->
        add a    ->
        begin a  -> start a
        """,
        "B1-MANAGE-4 B1-MANAGE-5",
    ),
    Case(
        "others are looked after meanwhile",
        supervisor("one_for_one", "a", "b"),
        """
        sticky a
        slow c
        start   -> start a, start b, up root
        end a   -> stop a
        exit b  -> restart b 1 1
        add c   ->
        begin c -> start c
        wait 1  -> start b
        """,
        "B1-MANAGE-6",
    ),
    Case(
        "children without order, when somebody asks",
        supervisor("one_for_one"),
        """
        start           -> up root
        slow b
        add b temporary ->
        add c temporary ->
        begin b         -> start b
        begin c         -> start c
        ready b         ->
        who             -> b, c
        """,
        "B1-DYNAMIC-1",
    ),
]

CASES: Final = [*AUTO, *CALLS]
