"""Recycling, and pools that change their size: what follows, whatever overlaps them."""

from __future__ import annotations

from typing import Final

import pytest

from actorcluster._cluster.tree import Limits
from tests.supervision.transcript import Case, pool, supervisor

CASES: Final = [
    Case(
        "who is due goes alone",
        supervisor("one_for_one", pool("a", 2, limits=Limits(max_age=10))),
        """
        start       -> start a.1, start a.2, up a, up root
        slow a.2
        wait 10     -> renew a.1, switch a.1, job done, renew a.2
        recycle a.1 ->
        wait 10     ->
        succeed a.2 -> switch a.2, job done, renew a.1, switch a.1, job done
        """,
    ),
    Case(
        "a life that has ended is not too old",
        supervisor("one_for_one", pool("a", 1, limits=Limits(max_age=10))),
        """
        start    -> start a.1, up a, up root
        wait 5   ->
        exit a.1 -> restart a.1 1 1
        wait 1   -> start a.1
        wait 9   ->
        wait 1   -> renew a.1, switch a.1, job done
        """,
    ),
    Case(
        "the next life is due before the last one has gone",
        supervisor("one_for_one", "a"),
        """
        start     -> start a, up root
        sticky a
        recycle a -> renew a, switch a
        recycle a ->
        left a    -> job done, renew a, switch a
        left a    -> job done
        """,
    ),
    Case(
        "a recycling that fails is tried again",
        supervisor("one_for_one", "a"),
        """
        start       -> start a, up root
        failing a 2
        recycle a   -> renew a, flop a, job failed a
        recycle a   ->
        wait 1      -> renew a, flop a, job failed a
        wait 1      -> renew a, switch a, job done
        failing a 1
        recycle a   -> renew a, flop a, job failed a
        exit a      -> restart a 1 1
        wait 5      -> start a
        """,
    ),
    Case(
        "a pool grows and shrinks",
        supervisor("one_for_one", pool("web", 3)),
        """
        start        -> start web.1, start web.2, start web.3, up web, up root
        scale web 5  -> start web.4, start web.5, job done
        size web     -> 1, 2, 3, 4, 5
        scale web 5  -> job done
        sticky web.4
        scale web 2  -> stop web.5, stop web.4, stop web.3
        gone web.4   -> job done
        size web     -> 1, 2
        scale web 0  -> stop web.2, stop web.1, job done
        scale web 1  -> start web.1, job done
        exit web.1   -> restart web.1 1 1
        wait 1       -> start web.1
        """,
    ),
    Case(
        "a new slot cannot be started: none stays",
        supervisor("one_for_one", pool("web", 3)),
        """
        start           -> start web.1, start web.2, start web.3, up web, up root
        failing web.5 1
        slow web.4
        sticky web.4
        scale web 5     -> start web.4, start web.5, fail web.5, stop web.4
        gone web.4      -> job failed web.5
        size web        -> 1, 2, 3
        exit web.1      -> restart web.1 1 1
        wait 1          -> start web.1
        """,
    ),
    Case(
        "somebody stops a new slot",
        supervisor("one_for_one", pool("web", 3)),
        """
        start       -> start web.1, start web.2, start web.3, up web, up root
        slow web.4
        scale web 5 -> start web.4, start web.5
        end web.4   -> stop web.4, stop web.5, job failed web.4
        size web    -> 1, 2, 3
        """,
    ),
    Case(
        "a new slot is up and dies while others start",
        supervisor("one_for_one", pool("web", 3)),
        """
        start       -> start web.1, start web.2, start web.3, up web, up root
        slow web.5
        scale web 5 -> start web.4, start web.5
        exit web.4  -> restart web.4 1 1
        ready web.5 -> job done
        wait 1      -> start web.4
        size web    -> 1, 2, 3, 4, 5
        """,
    ),
    Case(
        "the tree stops while a pool grows",
        supervisor("one_for_one", pool("web", 3)),
        """
        start       -> start web.1, start web.2, start web.3, up web, up root
        slow web.4
        scale web 4 -> start web.4
        stop        -> stop web.4, stop web.3, stop web.2, stop web.1, down web, down root,
                    -> finished told, job closed
        """,
    ),
    Case(
        "the pool gives up while it grows",
        supervisor("one_for_one", pool("web", 1, max_restarts=0)),
        """
        start       -> start web.1, up web, up root
        slow web.2
        scale web 2 -> start web.2
        exit web.1  -> gave up web, stop web.2, down web, restart web 1 1, job closed
        wait 1      -> start web.1, start web.2
        ready web.2 -> up web
        size web    -> 1, 2
        """,
    ),
    Case(
        "the pool gives up while it shrinks",
        supervisor("one_for_one", pool("web", 2, max_restarts=0)),
        """
        start        -> start web.1, start web.2, up web, up root
        sticky web.2
        scale web 1  -> stop web.2
        exit web.1   -> gave up web
        gone web.2   -> down web, restart web 1 1, job done
        wait 1       -> start web.1, up web
        size web     -> 1
        """,
    ),
    Case(
        "somebody starts a slot that is to go",
        supervisor("one_for_one", pool("web", 3)),
        """
        start        -> start web.1, start web.2, start web.3, up web, up root
        sticky web.2
        scale web 1  -> stop web.3, stop web.2
        begin web.3  -> start web.3, stop web.3
        gone web.2   -> job done
        size web     -> 1
        """,
    ),
    Case(
        "a slot that was deleted comes back",
        supervisor("one_for_one", pool("web", 3)),
        """
        start        -> start web.1, start web.2, start web.3, up web, up root
        end web.1    -> stop web.1
        delete web.1
        scale web 3  -> start web.1, job done
        """,
    ),
    Case(
        "a pool that does not run",
        supervisor("one_for_one", pool("web", 3)),
        """
        start       -> start web.1, start web.2, start web.3, up web, up root
        end web     -> stop web.3, stop web.2, stop web.1, down web
        scale web 5 -> job closed
        reload web  -> prepare, commit, job done
        size web    -> 1, 2, 3
        """,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_follows(case: Case) -> None:
    assert case.expected == case.played()
