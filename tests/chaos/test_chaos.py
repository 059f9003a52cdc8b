"""The short form of ``python -m tests.chaos``, and proof that it would notice."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.chaos.storm import Books, storm

HERE, THERE = ("127.0.0.2", 1000), ("127.0.0.3", 2000)


async def test_nothing_is_lost_but_what_was_taken() -> None:
    books = await storm(seconds=2, seed=1)
    assert [] == books.broken_promises()
    summary = books.summary()
    assert 5 < summary["kills"]
    assert 100 < summary["served"]
    assert 0 < summary["dealt_again"]


async def test_an_acknowledgement_of_receipt_is_noticed() -> None:
    """What a worker acknowledges and has not accepted dies with it."""
    books = await storm(seconds=4, seed=2, acknowledge="receipt")
    assert ["most_unlogged_per_kill"] == [one.split("=")[0] for one in books.broken_promises()]


@pytest.mark.parametrize(
    ("books", "broken"),
    [
        (Books(kills=[1], counts={"served": 1}, logged=Counter("a")), []),
        (
            Books(counts={"hung": 1}, failures=[("hung", "a", HERE)], logged=Counter("a")),
            ["hung=1"],
        ),
        (Books(logged=Counter("aab")), ["twice=1"]),
        (
            Books(failures=[("refused", "a", None)], counts={"refused": 1}),
            ["refused=1", "unlogged_unacknowledged=1"],
        ),
        (Books(kills=[1], taken={1: {HERE}}, failures=[("cut", "a", HERE)]), []),
        (
            Books(kills=[1], taken={1: {THERE}}, failures=[("cut", "a", HERE)]),
            ["unlogged_unacknowledged=1"],
        ),
        (
            Books(kills=[1], taken={2: {HERE}}, failures=[("cut", "a", HERE)]),
            ["unlogged_unacknowledged=1"],
        ),
        (
            Books(
                kills=[1, 2],
                taken={1: {HERE, THERE}},
                failures=[("cut", "a", HERE), ("cut", "b", THERE)],
            ),
            ["most_unlogged_per_kill=2"],
        ),
    ],
)
def test_what_the_books_say(books: Books, broken: list[str]) -> None:
    assert broken == books.broken_promises()
