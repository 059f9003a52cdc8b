"""Whose turn it is."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from actorcluster._cluster.balance import RoundRobin


def always(_: object) -> bool:
    return True


def test_strictly_in_turn() -> None:
    turn: RoundRobin[str] = RoundRobin()
    for name in "abc":
        turn.add(name)
    assert 3 == len(turn)
    assert list("abcabca") == [turn.choose(always) for _ in range(7)]


def test_nobody_is_chosen_of_nobody() -> None:
    turn: RoundRobin[str] = RoundRobin()
    assert turn.choose(always) is None
    turn.add("a")
    assert turn.choose(lambda _: False) is None
    assert "a" == turn.choose(always)


def test_who_is_passed_over_stays_in_front() -> None:
    turn: RoundRobin[str] = RoundRobin()
    for name in "abc":
        turn.add(name)
    assert "b" == turn.choose(lambda name: name != "a")
    assert "c" == turn.choose(lambda name: name != "a")
    assert list("abca") == [turn.choose(always) for _ in range(4)]


def test_adding_twice_gives_one_turn() -> None:
    turn: RoundRobin[str] = RoundRobin()
    turn.add("a")
    turn.add("b")
    turn.add("a")
    assert list("abab") == [turn.choose(always) for _ in range(4)]


def test_who_is_removed_is_not_chosen() -> None:
    turn: RoundRobin[str] = RoundRobin()
    turn.add("a")
    turn.add("b")
    turn.remove("a")
    turn.remove("a")
    assert ["b", "b"] == [turn.choose(always) for _ in range(2)]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=9), st.integers(0, 200))
def test_shares_differ_by_one_while_all_take(room: list[int], count: int) -> None:
    """Whoever has room left at the end had as many turns as anybody, or one less."""
    turn: RoundRobin[int] = RoundRobin()
    for number in range(len(room)):
        turn.add(number)
    left = dict(enumerate(room))
    dealt: Counter[int] = Counter()
    for _ in range(count):
        chosen = turn.choose(lambda number: left[number] > 0)
        if chosen is None:
            break
        left[chosen] -= 1
        dealt[chosen] += 1
    assert min(count, sum(room)) == dealt.total()
    free = [dealt[number] for number in left if left[number]]
    assert max(dealt.values(), default=0) - min(free, default=max(dealt.values(), default=0)) <= 1
