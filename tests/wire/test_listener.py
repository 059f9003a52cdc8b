"""The books of a listener: no reply ever takes what nobody took."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actorcluster.wire.listener import Listener


def test_connections_are_numbered_without_gaps() -> None:
    listener = Listener(credit=4)
    assert listener.hand_over(1, 3) is None
    assert "connection 5 follows connection 3" == listener.hand_over(5, 1)
    assert listener.hand_over(4, 1) is None


def test_credit_is_a_bound() -> None:
    listener = Listener(credit=2)
    assert listener.hand_over(1, 2) is None
    assert "1 connections, 0 are allowed" == listener.hand_over(3, 1)
    listener.credit += 1
    assert listener.hand_over(3, 1) is None


def test_a_lost_connection_is_given_back_at_once_when_nothing_is_undecided() -> None:
    listener = Listener(credit=9)
    listener.hand_over(1, 2)
    assert (2, [1, 2]) == listener.lose(1, 2)


def test_a_lost_connection_waits_for_those_before_it() -> None:
    listener = Listener(credit=9)
    listener.hand_over(1, 5)
    assert listener.lose(3, 2) is None
    assert (1, []) == listener.decide(1, [])
    assert (4, [3, 4]) == listener.decide(2, [])
    assert (5, [5]) == listener.decide(5, [5])


def test_a_lost_connection_that_is_passed_over_is_named() -> None:
    listener = Listener(credit=9)
    listener.hand_over(1, 5)
    assert listener.lose(2, 1) is None
    assert (5, [2, 4]) == listener.decide(5, [4])


@given(st.lists(st.tuples(st.integers(1, 3), st.booleans(), st.booleans()), max_size=20))
def test_every_connection_is_decided_about_once_and_rightly(
    steps: list[tuple[int, bool, bool]],
) -> None:
    listener = Listener(credit=100)
    lost: set[int] = set()
    taken: set[int] = set()
    given_back: set[int] = set()

    def book(reply: tuple[int, list[int]] | None) -> None:
        if reply is not None:
            upto, rejected = reply
            spoken_of = set(range(len(taken) + len(given_back) + 1, upto + 1))
            assert set(rejected) <= spoken_of
            given_back.update(rejected)
            taken.update(spoken_of - set(rejected))

    for count, loses, decides in steps:
        first = listener.handed + 1
        listener.hand_over(first, count)
        if loses:
            lost.update(range(first, first + count))
            book(listener.lose(first, count))
        waiting = [n for n in range(listener.decided + 1, listener.handed + 1) if n not in lost]
        if decides and waiting:
            book(listener.decide(waiting[0], []))
    if listener.decided < listener.handed:
        book(listener.decide(listener.handed, []))
    assert lost == given_back
    assert set(range(1, listener.handed + 1)) == taken | given_back
