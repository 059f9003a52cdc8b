"""Cases of rules: delays, and what is done at the limit."""

from __future__ import annotations

from typing import Final

from actorcluster._cluster.tree import Backoff, RetryAfter
from tests.supervision.transcript import (
    STEADY,
    Case,
    child,
    pool,
    supervisor,
)

__all__ = ["CASES"]

DELAYS: Final = [
    Case(
        "doubled, up to the maximum",
        supervisor(
            "one_for_one", child("a", backoff=Backoff(min=1, max=5, jitter=0)), max_restarts=9
        ),
        """
        start    -> start a, up root
        failing a 3
        exit a   -> restart a 1 1
        wait 1   -> start a, fail a, restart a 2 2
        wait 2   -> start a, fail a, restart a 4 3
        wait 4   -> start a, fail a, restart a 5 4
        wait 5   -> start a
        exit a   -> restart a 5 5
        """,
        "B3-BACKOFF-1 B3-EDGE-4 B1-EXTRA-5 B4-STREAK-1",
    ),
    Case(
        "a thousand failures in a row are no number too large",
        supervisor(
            "one_for_one",
            child("a", backoff=Backoff(min=1, max=5, factor=1e200, jitter=0)),
            max_restarts=9,
        ),
        """
        start  -> start a, up root
        failing a 3
        exit a -> restart a 1 1
        wait 1 -> start a, fail a, restart a 5 2
        wait 5 -> start a, fail a, restart a 5 3
        """,
        "B3-BACKOFF-2",
    ),
    Case(
        "the random part is under the cap",
        supervisor(
            "one_for_one", child("a", backoff=Backoff(min=1, max=6, jitter=0.5)), max_restarts=9
        ),
        """
        start     -> start a, up root
        failing a 9
        exit a    -> restart a 1.25 1
        wait 1.25 -> start a, fail a, restart a 2.5 2
        # Grown to 4, with all that may be added 6; half of that was added.
        wait 2.5  -> start a, fail a, restart a 5 3
        wait 5    -> start a, fail a, restart a 5 4
        """,
        "B3-BACKOFF-3",
        chance=0.5,
    ),
    Case(
        "who was well for long enough begins anew",
        supervisor(
            "one_for_one",
            child("a", backoff=Backoff(min=1, max=9, jitter=0, reset_after=20)),
            max_restarts=9,
        ),
        """
        slow a
        start    -> start a
        ready a  -> up root
        exit a   -> restart a 1 1
        wait 1   -> start a
        # Time to start is not time of being well.
        wait 19  ->
        ready a  ->
        wait 19  ->
        exit a   -> restart a 2 2
        wait 2   -> start a
        ready a  ->
        wait 20  ->
        exit a   -> restart a 1 1
        """,
        "B3-BACKOFF-4",
    ),
    Case(
        "a restart waits for the delay and for the others",
        supervisor("one_for_all", "a", "b"),
        """
        sticky a
        start   -> start a, start b, up root
        exit b  -> restart b 1 1, stop a
        wait 5  ->
        gone a  -> start a, start b
        brisk a
        exit b  -> restart b 1 2, stop a
        wait 1  -> start a, start b
        """,
        "B3-EDGE-5",
    ),
]

LIMITS: Final = [
    Case(
        "wait, forget, try again",
        supervisor("one_for_one", "a", "b", max_restarts=1, on_exhausted=RetryAfter(60)),
        """
        start   -> start a, start b, up root
        exit a  -> restart a 1 1
        wait 1  -> start a
        exit a  -> restart a 60 2
        wait 60 -> start a
        exit a  -> restart a 1 3
        """,
        "B1-EXTRA-1",
    ),
    Case(
        "who failed stays down",
        supervisor("one_for_one", "a", "b", max_restarts=0, on_exhausted="park"),
        """
        start  -> start a, start b, up root
        exit a -> gave up a
        pass   ->
        who    -> b
        """,
        "B1-EXTRA-6",
    ),
    Case(
        "a budget for a pool",
        supervisor(
            "one_for_one", "a", pool("b", 2, max_restarts=1, on_exhausted="park"), max_restarts=0
        ),
        """
        start    -> start a, start b.1, start b.2, up b, up root
        exit b.1 -> restart b.1 1 1
        wait 1   -> start b.1
        exit b.2 -> gave up b.2
        who      -> a, b.1
        """,
        "B4-POOL-1",
    ),
    Case(
        "a budget for each supervisor",
        supervisor(
            "one_for_one",
            supervisor("one_for_one", child("c", backoff=STEADY), name="a", max_restarts=1),
            supervisor("one_for_one", "c", name="b", max_restarts=1),
            max_restarts=0,
        ),
        """
        start    -> start a.c, up a, start b.c, up b, up root
        exit a.c -> restart a.c 1 1
        exit b.c -> restart b.c 1 1
        wait 1   -> start a.c, start b.c
        """,
        "B1-EXTRA-4",
    ),
    Case(
        "a pool restarts its slots, and ends when all have finished",
        supervisor("one_for_one", pool("a", 2, restart="transient"), "b"),
        """
        start           -> start a.1, start a.2, up a, start b, up root
        exit a.1 normal ->
        exit a.2 error  -> restart a.2 1 1
        wait 1          -> start a.2
        exit a.2 normal -> down a
        who             -> b
        why a           -> finished
        """,
        "B3-ROUTER-1",
    ),
]

CASES: Final = [*DELAYS, *LIMITS]
