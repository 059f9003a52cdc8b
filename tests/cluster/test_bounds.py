"""Which connections are closed that nobody takes, and when: decided without a clock."""

from __future__ import annotations

import math
from collections import deque

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorcluster._cluster.bounds import Bounds, Tally, all_full


@attrs.define
class Waiter:
    """One that waits since then."""

    since: float


@attrs.frozen
class Share:
    """A worker with so many open, of so many."""

    open: int
    limit: int | None


def queue(*since: float) -> deque[Waiter]:
    return deque(Waiter(moment) for moment in since)


def moments(waiters: list[Waiter] | deque[Waiter]) -> list[float]:
    return [waiter.since for waiter in waiters]


def test_without_a_deadline_nobody_waits_and_nobody_is_late() -> None:
    bounds = Bounds(511)
    waiting = queue(0, 1)
    assert 0 == bounds.room
    assert math.inf == bounds.due([waiting])
    assert [] == bounds.overdue([waiting], 1e9, 10)
    bounds.in_order(waiting)
    assert [0, 1] == moments(waiting)


def test_with_one_as_many_wait_as_the_backlog() -> None:
    assert 7 == Bounds(7, 1.0).room
    assert math.inf == Bounds(7, 1.0).due([queue(), queue()])


def test_the_oldest_first_of_all_queues() -> None:
    bounds = Bounds(10, 5.0)
    one, two = queue(1, 4, 8), queue(2, 3)
    assert 6 == bounds.due([two, one])
    assert [] == bounds.overdue([one, two], 5.9, 10)
    assert [1, 2] == moments(bounds.overdue([one, two], 100, 2))
    assert [3, 4] == moments(bounds.overdue([one, two], 9, 10))
    assert 13 == bounds.due([one, two])
    assert [8] == moments(one)


def test_those_given_back_stand_where_they_came() -> None:
    waiting = queue(3, 1, 2, 7)
    Bounds(10, 5.0).in_order(waiting)
    assert [1, 2, 3, 7] == moments(waiting)


@given(
    st.lists(st.lists(st.integers(0, 20), max_size=6), max_size=4),
    st.integers(0, 30),
    st.integers(1, 30),
)
def test_who_is_late_is_closed_and_nobody_else(some: list[list[int]], now: int, most: int) -> None:
    bounds = Bounds(100, 5.0)
    queues = [queue(*sorted(one)) for one in some]
    everybody = sorted(moment for one in some for moment in one)
    late = moments(bounds.overdue(queues, now, most))
    assert [moment for moment in everybody if moment + 5 <= now][:most] == late
    left = sorted(moment for one in queues for moment in moments(one))
    assert everybody[len(late) :] == left
    assert (left[0] + 5 if left else math.inf) == bounds.due(queues)


@pytest.mark.parametrize(
    ("shares", "full"),
    [
        ([], False),
        ([Share(0, 0)], True),
        ([Share(1, 1), Share(0, 0)], True),
        ([Share(1, 1), Share(1, 2)], False),
        ([Share(1, 1), Share(500, None)], False),
        ([Share(3, 2)], True),
    ],
)
def test_all_full(shares: list[Share], full: bool) -> None:
    """Where there is nobody, nobody is full; who has no limit never is."""
    assert full == all_full(shares)


def test_what_is_told_of() -> None:
    """At once, and then of all since; not more often than said."""
    tally = Tally(10.0)
    assert [3, 0, 0, 6, 0] == [
        tally.add(count, now) for count, now in [(3, 5), (1, 6), (2, 14.9), (3, 15), (1, 16)]
    ]
    assert 10 == tally.count
