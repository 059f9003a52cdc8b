"""Whose turn it is."""

from __future__ import annotations

from collections import Counter

import attrs
from hypothesis import given
from hypothesis import strategies as st

from actorcluster import Candidate, sticky
from actorcluster._cluster.balance import (
    RoundRobin,
    fewest_open,
    rendezvous,
    smooth_weighted,
    warmth,
)


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


# ---- other policies -------------------------------------------------------------------------


@attrs.define
class One:
    """A worker, as a policy sees it."""

    name: str
    weight: float = 1.0
    open: int = 0
    lead: float = 0.0


def test_weights_are_kept_evenly() -> None:
    """The order that nginx gives for 5, 1, 1."""
    candidates = [One("a", 5), One("b", 1), One("c", 1)]
    order = "".join(smooth_weighted(candidates).name for _ in range(14))
    assert "aabacaa" * 2 == order


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(1, 4))
def test_every_weight_gets_its_share(weights: list[int], rounds: int) -> None:
    candidates = [One(str(index), weight) for index, weight in enumerate(weights)]
    served = Counter(smooth_weighted(candidates).name for _ in range(rounds * sum(weights)))
    assert [rounds * weight for weight in weights] == [served[one.name] for one in candidates]


def test_fewest_open_for_their_weight() -> None:
    assert "b" == fewest_open([One("a", open=3), One("b", open=2), One("c", open=2)]).name
    assert "a" == fewest_open([One("a", 4, open=3), One("b", 1, open=2)]).name


def test_a_death_moves_only_its_own_clients() -> None:
    keys = [f"10.0.{n // 256}.{n % 256}".encode() for n in range(4000)]
    workers = [One(f"web.{n}") for n in range(1, 5)]
    before = {key: rendezvous(key, workers).name for key in keys}
    after = {key: rendezvous(key, workers[1:]).name for key in keys}
    moved = [key for key in keys if before[key] != after[key]]
    assert [key for key in keys if before[key] == "web.1"] == moved
    shares = Counter(before.values())
    assert all(900 < count < 1100 for count in shares.values())
    heirs = Counter(after[key] for key in moved)
    assert all(count > len(moved) / 4 for count in heirs.values())
    assert before == {key: rendezvous(key, workers[::-1]).name for key in keys}


def test_twice_the_weight_has_twice_the_keys() -> None:
    keys = [str(n).encode() for n in range(6000)]
    plain = [One("a"), One("b")]
    heavy = [One("a", 2.0), One("b")]
    before = {key: rendezvous(key, plain).name for key in keys}
    after = {key: rendezvous(key, heavy).name for key in keys}
    assert 3800 < Counter(after.values())["a"] < 4200
    assert {("b", "a")} == {(before[key], after[key]) for key in keys if before[key] != after[key]}


def test_sticky_is_the_same_for_text_and_bytes() -> None:
    candidates = [Candidate(n, f"w{n}", 0, 1.0) for n in range(1, 9)]
    for key in ("", "user-7", "ü"):
        assert sticky(key, candidates) is sticky(key.encode(), candidates)


def test_warming_up_is_linear() -> None:
    assert 1.0 == warmth(None, 0.0, 5.0)
    assert 0.01 == warmth(None, 10.0, 5.0)
    assert [0.01, 0.25, 0.5, 1.0, 1.0] == [
        warmth(100.0, 10.0, 100 + t) for t in (0, 2.5, 5, 10, 99)
    ]
