"""Reload: what follows, whatever overlaps it."""

from __future__ import annotations

from typing import Final

import pytest

from tests.supervision.transcript import Case, pool, supervisor, temporary, transient

CASES: Final = [
    Case(
        "ready before retire, one after another, in order",
        supervisor("one_for_one", "db", pool("web", 2)),
        """
        start       -> start db, start web.1, start web.2, up web, up root
        reload root -> prepare, renew db, switch db, commit, renew web.1, switch web.1,
                    -> renew web.2, switch web.2, job done
        reload db   -> prepare, renew db, switch db, commit, job done
        reload web  -> prepare, renew web.1, switch web.1, commit, renew web.2, switch web.2,
                    -> job done
        """,
    ),
    Case(
        "several at once",
        supervisor("one_for_one", pool("web", 3)),
        """
        start        -> start web.1, start web.2, start web.3, up web, up root
        sticky web.1
        reload web 2 -> prepare, renew web.1, renew web.2, switch web.1, switch web.2, commit,
                     -> renew web.3, switch web.3
        # Its old life counts as long as it lasts.
        left web.1   -> job done
        """,
    ),
    Case(
        "stop first",
        supervisor("one_for_one", pool("web", 3)),
        """
        start          -> start web.1, start web.2, start web.3, up web, up root
        sticky web.2
        reload web 0 1 -> prepare, stop web.1, start web.1, commit, stop web.2
        gone web.2     -> start web.2, stop web.3, start web.3, job done
        """,
    ),
    Case(
        "both ways at once",
        supervisor("one_for_one", pool("web", 3)),
        """
        start          -> start web.1, start web.2, start web.3, up web, up root
        slow web.2
        reload web 1 1 -> prepare, renew web.1, stop web.2, switch web.1, commit, start web.2,
                       -> renew web.3, switch web.3
        ready web.2    -> job done
        """,
    ),
    Case(
        "temporary children have one life",
        supervisor("one_for_one", temporary("a"), transient("b")),
        """
        start       -> start a, start b, up root
        reload root -> prepare, renew b, switch b, commit, job done
        """,
    ),
    Case(
        "a second reload waits for the first",
        supervisor("one_for_one", pool("web", 3)),
        """
        start         -> start web.1, start web.2, start web.3, up web, up root
        slow web.1
        reload web    -> prepare, renew web.1
        reload web    ->
        succeed web.1 -> switch web.1, commit, renew web.2, switch web.2, renew web.3,
                      -> switch web.3, job done, prepare, renew web.1
        succeed web.1 -> switch web.1, commit, renew web.2, switch web.2, renew web.3,
                      -> switch web.3, job done
        """,
    ),
    Case(
        "what is asked for comes before what is due",
        supervisor("one_for_one", pool("web", 3)),
        """
        start         -> start web.1, start web.2, start web.3, up web, up root
        slow web.1
        reload web    -> prepare, renew web.1
        recycle web.3 ->
        scale web 4   ->
        # The life that was due is gone by then.
        succeed web.1 -> switch web.1, commit, renew web.2, switch web.2, renew web.3,
                      -> switch web.3, job done, start web.4, job done
        recycle web.3 -> renew web.3, switch web.3, job done
        """,
    ),
    Case(
        "no more waiting, before its turn",
        supervisor("one_for_one", pool("web", 3)),
        """
        start         -> start web.1, start web.2, start web.3, up web, up root
        slow web.1
        reload web    -> prepare, renew web.1
        reload web    ->
        cancel        ->
        succeed web.1 -> switch web.1, commit, renew web.2, switch web.2, renew web.3,
                      -> switch web.3, job done
        """,
    ),
    Case(
        "no more waiting: what was begun stays begun",
        supervisor("one_for_one", pool("web", 3)),
        """
        start         -> start web.1, start web.2, start web.3, up web, up root
        slow web.2
        reload web    -> prepare, renew web.1, switch web.1, commit, renew web.2
        cancel        ->
        succeed web.2 -> switch web.2, job done
        """,
    ),
    Case(
        "no more waiting, before anything was replaced",
        supervisor("one_for_one", pool("web", 3)),
        """
        start      -> start web.1, start web.2, start web.3, up web, up root
        slow-code
        reload web -> prepare
        cancel     ->
        prepared   -> revert, job done
        """,
    ),
    Case(
        "no new code",
        supervisor("one_for_one", pool("web", 3)),
        """
        start                   -> start web.1, start web.2, start web.3, up web, up root
        slow-code
        reload web              -> prepare
        prepared no-such-module -> revert, job failed
        who                     -> web.1, web.2, web.3
        """,
    ),
    Case(
        "the first new life fails",
        supervisor("one_for_one", pool("web", 3)),
        """
        start           -> start web.1, start web.2, start web.3, up web, up root
        failing web.1 1
        reload web      -> prepare, renew web.1, flop web.1, revert, job failed web.1
        exit web.2      -> restart web.2 1 1
        wait 1          -> start web.2
        reload web      -> prepare, renew web.1, switch web.1, commit, renew web.2,
                        -> switch web.2, renew web.3, switch web.3, job done
        """,
    ),
    Case(
        "a later one fails: those replaced stay new",
        supervisor("one_for_one", pool("web", 3)),
        """
        start           -> start web.1, start web.2, start web.3, up web, up root
        failing web.2 1
        reload web      -> prepare, renew web.1, switch web.1, commit, renew web.2, flop web.2,
                        -> job failed web.2
        who             -> web.1, web.2, web.3
        """,
    ),
    Case(
        "one fails, others of its kind are not waited for",
        supervisor("one_for_one", pool("web", 3)),
        """
        start        -> start web.1, start web.2, start web.3, up web, up root
        slow web.1
        slow web.2
        sticky web.2
        reload web 2 -> prepare, renew web.1, renew web.2
        reload web   ->
        flop web.1   -> drop web.2, revert, job failed web.1
        # The next job begins when all of the last one has ended.
        left web.2   -> prepare, renew web.1
        """,
    ),
    Case(
        "failures of new lives cost nothing",
        supervisor("one_for_all", "a", "b", max_restarts=0),
        """
        start       -> start a, start b, up root
        failing b 1
        reload b    -> prepare, renew b, flop b, revert, job failed b
        failing b 1
        recycle b   -> renew b, flop b, job failed b
        who         -> a, b
        """,
    ),
    Case(
        "the old one dies: its successor is its restart",
        supervisor("one_for_one", pool("web", 3)),
        """
        start       -> start web.1, start web.2, start web.3, up web, up root
        slow web.1
        reload web  -> prepare, renew web.1
        exit web.1  -> restart web.1 0 1, adopt web.1
        ready web.1 -> commit, renew web.2, switch web.2, renew web.3, switch web.3, job done
        """,
    ),
    Case(
        "the old one dies, then its successor",
        supervisor("one_for_one", pool("web", 3)),
        """
        start      -> start web.1, start web.2, start web.3, up web, up root
        slow web.1
        reload web -> prepare, renew web.1
        exit web.1 -> restart web.1 0 1, adopt web.1
        fail web.1 -> restart web.1 1 2, revert, job failed web.1
        wait 1     -> start web.1
        """,
    ),
    Case(
        "the old one dies, once too often",
        supervisor("one_for_one", pool("web", 2, max_restarts=0)),
        """
        start        -> start web.1, start web.2, up web, up root
        slow web.1
        sticky web.1
        reload web   -> prepare, renew web.1
        exit web.1   -> gave up web, stop web.2, drop web.1, down web, restart web 1 1
        left web.1   -> commit, job done
        wait 1       -> start web.1, start web.2
        """,
    ),
    Case(
        "the old one finishes",
        supervisor("one_for_one", transient("a"), "b"),
        """
        start         -> start a, start b, up root
        slow a
        reload root   -> prepare, renew a
        exit a normal -> drop a, renew b, switch b, commit, job done
        """,
    ),
    Case(
        "the old one breaks the protocol",
        supervisor("one_for_one", pool("web", 3)),
        """
        start               -> start web.1, start web.2, start web.3, up web, up root
        slow web.1
        reload web          -> prepare, renew web.1
        exit web.1 protocol -> gave up web.1, drop web.1, renew web.2, switch web.2, commit,
                            -> renew web.3, switch web.3, job done
        """,
    ),
    Case(
        "the old one dies where that concerns others",
        supervisor("one_for_all", "a", "b"),
        """
        start       -> start a, start b, up root
        slow a
        reload root -> prepare, renew a
        exit a      -> restart a 1 1, drop a, stop b, commit, job done
        wait 1      -> start a
        ready a     -> start b
        """,
    ),
    Case(
        "a sibling dies",
        supervisor("rest_for_one", "a", "b", "c"),
        """
        start    -> start a, start b, start c, up root
        slow b
        sticky b
        reload b -> prepare, renew b
        exit a   -> restart a 1 1, stop c, drop b, stop b
        left b   -> commit, job done
        gone b   ->
        wait 1   -> start a, start b
        """,
    ),
    Case(
        "a new one dies while the old one ends",
        supervisor("one_for_one", pool("web", 3)),
        """
        start        -> start web.1, start web.2, start web.3, up web, up root
        sticky web.1
        reload web   -> prepare, renew web.1, switch web.1, commit
        exit web.1   -> restart web.1 1 1
        wait 1       -> start web.1
        left web.1   -> renew web.2, switch web.2, renew web.3, switch web.3, job done
        """,
    ),
    Case(
        "somebody stops it before its successor is ready",
        supervisor("one_for_one", pool("web", 3)),
        """
        start         -> start web.1, start web.2, start web.3, up web, up root
        slow web.1
        sticky web.1
        reload web    -> prepare, renew web.1
        end web.1     -> drop web.1, stop web.1
        # Too late.
        succeed web.1 ->
        # It is down when both its lives have ended.
        gone web.1    ->
        why web.1     -> stopping
        left web.1    -> renew web.2, switch web.2, commit, renew web.3, switch web.3, job done
        why web.1     -> by_hand
        begin web.1   -> start web.1
        """,
    ),
    Case(
        "somebody stops it while the old one ends",
        supervisor("one_for_one", pool("web", 3)),
        """
        start        -> start web.1, start web.2, start web.3, up web, up root
        sticky web.1
        reload web   -> prepare, renew web.1, switch web.1, commit
        end web.1    -> stop web.1
        gone web.1   ->
        why web.1    -> stopping
        left web.1   -> renew web.2, switch web.2, renew web.3, switch web.3, job done
        why web.1    -> by_hand
        """,
    ),
    Case(
        "it leaves before its successor is ready",
        supervisor("one_for_one", pool("web", 3)),
        """
        start         -> start web.1, start web.2, start web.3, up web, up root
        slow web.1
        reload web    -> prepare, renew web.1
        leaving web.1 -> drop web.1, renew web.2, switch web.2, commit, renew web.3,
                      -> switch web.3, job done
        gone web.1    ->
        why web.1     -> by_hand
        """,
    ),
    Case(
        "the tree stops",
        supervisor("one_for_one", pool("web", 3)),
        """
        start        -> start web.1, start web.2, start web.3, up web, up root
        slow web.1
        sticky web.1
        reload web   -> prepare, renew web.1
        stop         -> stop web.3, stop web.2, drop web.1, stop web.1
        gone web.1   ->
        left web.1   -> down web, down root, finished told, commit, job done
        """,
    ),
    Case(
        "one stops in its turn, and dies before",
        supervisor("one_for_one", "a", "b"),
        """
        start    -> start a, start b, up root
        sticky a
        sticky b
        reload a -> prepare, renew a, switch a, commit
        stop     -> stop b
        exit a   ->
        gone b   ->
        left a   -> down root, finished told, job done
        """,
    ),
    Case(
        "stop first, and the new life fails",
        supervisor("one_for_one", pool("web", 3)),
        """
        start           -> start web.1, start web.2, start web.3, up web, up root
        failing web.1 1
        reload web 0 1  -> prepare, stop web.1, start web.1, fail web.1, revert,
                        -> job failed web.1
        why web.1       -> failed
        who             -> web.2, web.3
        begin web.1     -> start web.1
        """,
    ),
    Case(
        "stop first, one fails: who was starting is replaced by the next reload",
        supervisor("one_for_one", pool("web", 2)),
        """
        start          -> start web.1, start web.2, up web, up root
        slow web.2
        failing web.1 1
        reload web 0 2 -> prepare, stop web.1, stop web.2, start web.1, fail web.1, start web.2,
                       -> revert, job failed web.1
        ready web.2    ->
        reload web     -> prepare, renew web.2
        succeed web.2  -> switch web.2, commit, job done
        """,
    ),
    Case(
        "stop first, and somebody else stops it",
        supervisor("one_for_one", pool("web", 3)),
        """
        start          -> start web.1, start web.2, start web.3, up web, up root
        sticky web.1
        reload web 0 1 -> prepare, stop web.1
        end web.1      -> stop web.2, start web.2, commit, stop web.3, start web.3, job done
        gone web.1     ->
        why web.1      -> by_hand
        """,
    ),
    Case(
        "stop first, and its pool gives up",
        supervisor("one_for_one", pool("web", 2, max_restarts=0)),
        """
        start          -> start web.1, start web.2, up web, up root
        sticky web.1
        reload web 0 1 -> prepare, stop web.1
        exit web.2     -> gave up web, commit, job done
        gone web.1     -> down web, restart web 1 1
        wait 1         -> start web.1, start web.2, up web
        """,
    ),
    Case(
        "stop first, and a sibling dies",
        supervisor("one_for_all", "a", "b"),
        """
        start        -> start a, start b, up root
        sticky a
        reload a 0 1 -> prepare, stop a
        exit b       -> restart b 1 1
        gone a       ->
        wait 1       -> start a, start b, stop a
        """,
    ),
    Case(
        "one that is starting is waited for",
        supervisor("one_for_one", pool("web", 3)),
        """
        start         -> start web.1, start web.2, start web.3, up web, up root
        exit web.1    -> restart web.1 1 1
        slow web.2
        exit web.2    -> restart web.2 1 1
        wait 1        -> start web.1, start web.2
        reload web    -> prepare, renew web.1, switch web.1, commit, renew web.3, switch web.3
        # It began with the old code.
        ready web.2   -> renew web.2
        succeed web.2 -> switch web.2, job done
        """,
    ),
    Case(
        "one that waits comes back with the new code",
        supervisor("one_for_one", pool("web", 3)),
        """
        start      -> start web.1, start web.2, start web.3, up web, up root
        exit web.1 -> restart web.1 1 1
        reload web -> prepare, renew web.2, switch web.2, commit, renew web.3, switch web.3,
                   -> job done
        wait 1     -> start web.1
        """,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_follows(case: Case) -> None:
    assert case.expected == case.played()
