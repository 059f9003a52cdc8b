"""A failure while something else is going on."""

from __future__ import annotations

from typing import Final

import pytest

from tests.supervision.transcript import Case, supervisor, temporary, transient

REST: Final = supervisor("rest_for_one", "a", "b", "c", "d")
ALL: Final = supervisor("one_for_all", "a", "b", "c")
GROUP: Final = supervisor(
    "one_for_all", supervisor("one_for_one", "c", "d", name="a", max_restarts=0), "b"
)

FAILURES: Final = [
    Case(
        "an earlier one while a restart waits",
        REST,
        """
        start  -> start a, start b, start c, start d, up root
        exit c -> restart c 1 1, stop d
        exit a -> restart a 1 1, stop b
        wait 1 -> start a, start b, start c, start d
        """,
    ),
    Case(
        "an earlier one while siblings stop",
        REST,
        """
        sticky d
        start  -> start a, start b, start c, start d, up root
        exit b -> restart b 1 1, stop d
        exit a -> restart a 1 1
        gone d -> stop c
        wait 1 -> start a, start b, start c, start d
        """,
    ),
    Case(
        "an earlier one while others start",
        REST,
        """
        start   -> start a, start b, start c, start d, up root
        slow c
        exit b  -> restart b 1 1, stop d, stop c
        wait 1  -> start b, start c
        exit a  -> restart a 1 1, stop c, stop b
        wait 1  -> start a, start b, start c
        ready c -> start d
        """,
    ),
    Case(
        "one that has just come back while others start",
        ALL,
        """
        start   -> start a, start b, start c, up root
        slow b
        exit c  -> restart c 1 1, stop b, stop a
        wait 1  -> start a, start b
        exit a  -> restart a 1 1, stop b
        wait 1  -> start a, start b
        ready b -> start c
        """,
    ),
    Case(
        "the same one again and again",
        REST,
        """
        start  -> start a, start b, start c, start d, up root
        failing b 2
        exit b -> restart b 1 1, stop d, stop c
        wait 1 -> start b, fail b, restart b 1 2
        wait 1 -> start b, fail b, restart b 1 3
        wait 1 -> start b, start c, start d
        """,
    ),
    Case(
        "a later one that somebody had started by hand while an earlier waits",
        REST,
        """
        start   -> start a, start b, start c, start d, up root
        end d   -> stop d
        exit b  -> restart b 1 1, stop c
        begin d -> start d
        exit d  -> restart d 1 1
        wait 1  -> start b, start c, start d
        """,
    ),
    Case(
        "one that was added while an earlier waits",
        supervisor("rest_for_one", "a", "b"),
        """
        start   -> start a, start b, up root
        exit a  -> restart a 1 1, stop b
        add c   ->
        begin c -> start c
        exit c  -> restart c 1 1
        wait 1  -> start a, start b, start c
        """,
    ),
    Case(
        "one that was added while the others start for the first time",
        supervisor("rest_for_one", "a", "b", "c"),
        """
        slow b
        start   -> start a, start b
        add d   ->
        begin d -> start d
        exit d  -> restart d 1 1
        wait 1  ->
        ready b -> start c, start d, up root
        """,
    ),
    Case(
        "one delay for both, the later one",
        REST,
        """
        start    -> start a, start b, start c, start d, up root
        end d    -> stop d
        exit b   -> restart b 1 1, stop c
        wait 0.5 ->
        begin d  -> start d
        exit d   -> restart d 1 1
        wait 0.5 ->
        wait 0.5 -> start b, start c, start d
        """,
    ),
    Case(
        "one that was to be stopped ends by itself",
        REST,
        """
        sticky d
        start        -> start a, start b, start c, start d, up root
        exit b       -> restart b 1 1, stop d
        exit c error ->
        gone d       ->
        wait 1       -> start b, start c, start d
        """,
    ),
    Case(
        "one that was to be stopped has finished",
        supervisor("one_for_all", transient("a"), temporary("b"), "c", "d"),
        """
        sticky d
        start         -> start a, start b, start c, start d, up root
        exit c        -> restart c 1 1, stop d
        exit a normal ->
        exit b error  ->
        gone d        ->
        wait 1        -> start a, start c, start d
        """,
    ),
    Case(
        "one that was to be stopped cannot start",
        supervisor("rest_for_one", "a", "b"),
        """
        slow b
        start   -> start a, start b
        add c   ->
        begin c -> start c
        sticky c
        exit a  -> restart a 1 1, stop c
        fail b  ->
        gone c  ->
        wait 1  -> start a, start b
        ready b -> start c, up root
        """,
    ),
    Case(
        "one that was to be stopped is ready first",
        supervisor("rest_for_one", "a", "b"),
        """
        slow b
        start   -> start a, start b
        add c   ->
        begin c -> start c
        sticky c
        exit a  -> restart a 1 1, stop c
        ready b ->
        gone c  -> stop b
        wait 1  -> start a, start b
        ready b -> start c, up root
        """,
    ),
    Case(
        "one that was stopped because of another, which waits, breaks nothing later",
        ALL,
        """
        sticky b
        start  -> start a, start b, start c, up root
        exit c -> restart c 1 1, stop b
        wait 5 ->
        gone b -> stop a, start a, start b, start c
        exit b -> restart b 1 1, stop c, stop a
        """,
    ),
]


@pytest.mark.parametrize("case", FAILURES, ids=lambda case: case.name)
def test_what_follows(case: Case) -> None:
    assert case.expected == case.played()
