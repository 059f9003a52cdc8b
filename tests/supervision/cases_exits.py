"""Cases of rules: starts, ends of single children, and how many restarts are allowed."""

from __future__ import annotations

from typing import Final

from actorcluster._cluster.tree import Backoff
from tests.supervision.transcript import (
    Case,
    child,
    pool,
    supervisor,
    temporary,
    transient,
)

__all__ = ["CASES"]

ONE_OF_EACH: Final = supervisor(
    "one_for_one", child("always"), transient("sometimes"), temporary("once"), max_restarts=99
)

STARTS: Final = [
    Case(
        "each waits for the one before it",
        supervisor("one_for_one", "a", "b", "c"),
        """
        slow a
        slow b
        start   -> start a
        wait 99 ->
        ready a -> start b
        ready b -> start c, up root
        """,
        "B1-START-1",
    ),
    Case(
        "groups in their turn, each as a whole",
        supervisor(
            "one_for_one",
            "a",
            supervisor("one_for_all", "c", "d", name="b"),
            pool("e", 2),
            "f",
        ),
        """
        slow b.d
        slow e.1
        start     -> start a, start b.c, start b.d
        ready b.d -> up b, start e.1, start e.2
        ready e.1 -> up e, start f, up root
        """,
        "B1-START-1 B1-PARTITION-1",
    ),
    Case(
        "who has started is stopped in reverse",
        supervisor("one_for_one", "a", "b", "c", "d"),
        """
        failing c 1
        start -> start a, start b, start c, fail c, stop b, stop a, down root,
              -> finished start_failed c
        """,
        "B1-START-2 B3-LIMIT-2",
    ),
    Case(
        "a first start is not retried, whatever is allowed",
        supervisor("one_for_one", "a", max_restarts=1000, on_exhausted="park"),
        """
        failing a 1
        start -> start a, fail a, down root, finished start_failed a
        pass  ->
        """,
        "B1-START-3 B3-LIMIT-2",
    ),
    Case(
        "a good end before being ready is none",
        supervisor("one_for_one", "a", transient("b")),
        """
        slow b
        start         -> start a, start b
        fail b normal -> stop a, down root, finished start_failed b
        """,
        "B1-START-2 B4-REASON-9",
    ),
    Case(
        "and when it had been up before it is restarted",
        supervisor("one_for_one", transient("a")),
        """
        start         -> start a, up root
        exit a        -> restart a 1 1
        slow a
        wait 1        -> start a
        fail a normal -> restart a 1 2
        """,
        "B4-REASON-9",
    ),
]

EXITS: Final = [
    Case(
        "reasons that are good ends",
        ONE_OF_EACH,
        """
        start                   -> start always, start sometimes, start once, up root
        exit always normal      -> restart always 1 1
        exit sometimes normal   ->
        exit once normal        ->
        pass                    -> start always
        why sometimes           -> finished
        why once                -> finished
        begin sometimes         -> start sometimes
        begin once              -> start once
        exit always shutdown    -> restart always 1 2
        exit sometimes shutdown ->
        exit once shutdown      ->
        pass                    -> start always
        begin sometimes         -> start sometimes
        # Whom we killed had been told to stop: nobody wants it to run.
        exit sometimes killed   ->
        exit always killed      -> restart always 1 3
        """,
        "B1-EXIT-2 B1-EXIT-3 B1-EXIT-5 B2-EXIT-1 B2-EXIT-2 B2-KILL-1"
        " B4-REASON-1 B4-REASON-2 B4-REASON-3",
    ),
    *(
        Case(
            f"{reason} is a failure",
            ONE_OF_EACH,
            f"""
            start                   -> start always, start sometimes, start once, up root
            exit always {reason}    -> restart always 1 1
            exit sometimes {reason} -> restart sometimes 1 1
            exit once {reason}      ->
            pass                    -> start always, start sometimes
            """,
            f"B1-EXIT-2 B1-EXIT-4 B1-EXIT-5 B2-EXIT-3 {rules}",
        )
        for reason, rules in (
            ("error", "B4-REASON-4 B3-DEFAULT-1 B3-STRATEGY-1 B3-STRATEGY-3"),
            ("exit", "B4-REASON-4"),
            ("signal", "B4-REASON-4 B2-KILL-1"),
            ("oom", "B4-REASON-4"),
            ("hung", "B4-REASON-5"),
            ("lost", "B4-REASON-5"),
            ("start_timeout", "B4-REASON-6"),
        )
    ),
    Case(
        "who breaks the protocol would do it again",
        ONE_OF_EACH,
        """
        start                   -> start always, start sometimes, start once, up root
        exit always protocol    -> gave up always
        exit sometimes protocol -> gave up sometimes
        exit once protocol      ->
        pass                    ->
        why always              -> parked
        why once                -> finished
        """,
        "B4-REASON-7",
    ),
    Case(
        "what is not ready in time is a failed start",
        supervisor("one_for_one", "a"),
        """
        start                -> start a, up root
        exit a               -> restart a 1 1
        slow a
        wait 1               -> start a
        fail a start_timeout -> restart a 1 2
        wait 1               -> start a
        ready a              ->
        who                  -> a
        """,
        "B4-REASON-6 B3-EDGE-4",
    ),
    Case(
        "an end while it is told to stop leads to nothing",
        supervisor("one_for_one", "a", "b"),
        """
        sticky a
        start        -> start a, start b, up root
        end a        -> stop a
        exit a error ->
        pass         ->
        why a        -> by_hand
        """,
        "B1-EXIT-1",
    ),
    Case(
        "an end while it waits to be told neither",
        supervisor("one_for_one", "a", "b"),
        """
        sticky b
        start        -> start a, start b, up root
        stop         -> stop b
        exit a error ->
        gone b       -> down root, finished told
        """,
        "B1-EXIT-1",
    ),
    Case(
        "a temporary child of the tree keeps its place, one that was added does not",
        supervisor("one_for_one", supervisor("one_for_one", temporary("b"), "c", name="a")),
        """
        start             -> start a.b, start a.c, up a, up root
        add a.d temporary ->
        begin a.d         -> start a.d
        exit a.d          ->
        add a.d temporary ->
        exit a.b          ->
        begin a.b         -> start a.b
        """,
        "B1-EXIT-6",
    ),
]

FIVE: Final = supervisor("one_for_one", child("a", backoff=Backoff(min=0, jitter=0)), within=10)


def failing(count: int) -> str:
    """So many failures of `a` that are started again at once."""
    return "\n".join(f"exit a -> restart a 0 {n}, start a" for n in range(1, count + 1))


INTENSITY: Final = [
    Case(
        "one more than allowed",
        FIVE,
        f"""
        start  -> start a, up root
        {failing(5)}
        exit a -> gave up root, down root, finished exhausted a
        """,
        "B1-INTENSITY-1 B1-INTENSITY-9",
    ),
    Case(
        "exactly as old as the window still counts",
        FIVE,
        f"""
        start  -> start a, up root
        {failing(5)}
        wait 10 ->
        exit a -> gave up root, down root, finished exhausted a
        """,
        "B1-INTENSITY-2",
    ),
    Case(
        "a little older does not",
        FIVE,
        f"""
        start      -> start a, up root
        {failing(5)}
        # Erlang would still count them: it leaves fractions of a second out.
        wait 10.25 ->
        exit a     -> restart a 0 6, start a
        """,
        "B1-INTENSITY-2 B1-INTENSITY-4",
    ),
    Case(
        "the window slides",
        FIVE,
        """
        start  -> start a, up root
        # A fixed window would open here, and again for the one after ten seconds.
        exit a -> restart a 0 1, start a
        wait 9 ->
        exit a -> restart a 0 2, start a
        exit a -> restart a 0 3, start a
        exit a -> restart a 0 4, start a
        exit a -> restart a 0 5, start a
        wait 2 ->
        exit a -> restart a 0 6, start a
        exit a -> gave up root, down root, finished exhausted a
        """,
        "B3-LIMIT-1",
    ),
    Case(
        "none is allowed",
        supervisor("one_for_one", "a", "b", max_restarts=0),
        """
        start  -> start a, start b, up root
        exit a -> gave up root, stop b, down root, finished exhausted a
        """,
        "B1-INTENSITY-3 B3-EDGE-1",
    ),
    Case(
        "siblings do not count",
        supervisor("one_for_all", "a", "b", "c", max_restarts=1),
        """
        start  -> start a, start b, start c, up root
        exit b -> restart b 1 1, stop c, stop a
        wait 1 -> start a, start b, start c
        exit c -> gave up root, stop b, stop a, down root, finished exhausted c
        """,
        "B1-INTENSITY-5",
    ),
    Case(
        "retries of starts count, and wait",
        supervisor("one_for_one", "a", max_restarts=3),
        """
        start     -> start a, up root
        failing a 9
        exit a    -> restart a 1 1
        wait 0.5  ->
        wait 0.5  -> start a, fail a, restart a 1 2
        wait 1    -> start a, fail a, restart a 1 3
        wait 1    -> start a, fail a, gave up root, down root, finished exhausted a
        """,
        "B1-INTENSITY-6 B1-INTENSITY-7 B3-EDGE-4",
    ),
    Case(
        "stopped between two retries",
        supervisor("one_for_one", "a", "b"),
        """
        start    -> start a, start b, up root
        failing a 9
        exit a   -> restart a 1 1
        wait 1.5 -> start a, fail a, restart a 1 2
        stop     -> stop b, down root, finished told
        pass     ->
        """,
        "B1-INTENSITY-8",
    ),
    Case(
        "giving up stops the others in reverse",
        supervisor("one_for_one", "a", "b", "c", max_restarts=0),
        """
        sticky c
        start  -> start a, start b, start c, up root
        exit b -> gave up root, stop c
        gone c -> stop a, down root, finished exhausted b
        """,
        "B1-INTENSITY-9",
    ),
    Case(
        "who gave up has failed, levels multiply",
        supervisor(
            "one_for_one",
            supervisor("one_for_one", "b", max_restarts=1, name="a"),
            max_restarts=1,
        ),
        """
        start    -> start a.b, up a, up root
        exit a.b -> restart a.b 1 1
        wait 1   -> start a.b
        exit a.b -> gave up a, down a, restart a 0.1 1
        wait 0.1 -> start a.b, up a
        # Its history is empty, so it may fail as often as at first.
        exit a.b -> restart a.b 1 2
        wait 1   -> start a.b
        exit a.b -> gave up a, down a, gave up root, down root, finished exhausted a
        """,
        "B1-INTENSITY-10 B1-INTENSITY-11",
    ),
]

CASES: Final = [*STARTS, *EXITS, *INTENSITY]
