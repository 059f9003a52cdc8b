"""The short form of ``python -m tests.chaos``, and proof that it would notice."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.chaos.clients import Failure, Outcome
from tests.chaos.storm import Books, Taken, storm

#: Seconds that a client may wait on a machine that does much else.
PATIENCE = 20.0


async def test_nothing_is_lost_but_what_was_taken() -> None:
    books = await storm(seconds=2, seed=1, patience=PATIENCE)
    assert [] == books.broken_promises()
    summary = books.summary()
    assert 5 < summary["kills"]
    assert 100 < summary["served"]
    assert 0 < summary["dealt_again"]


async def test_an_acknowledgement_of_receipt_is_noticed() -> None:
    """What a worker acknowledges and has not accepted dies with it.

    A kill must meet one that has several of them, which on a slow machine takes more kills.
    """
    broken: list[str] = []
    for seed in range(2, 7):
        books = await storm(seconds=4, seed=seed, acknowledge="receipt", patience=PATIENCE)
        broken += books.broken_promises()
        if broken:
            break
    assert ["most_unlogged_per_kill"] == [one.split("=")[0] for one in broken]


def failure(outcome: Outcome, name: str, port: int | None = 1000) -> Failure:
    return Failure(outcome, name, "127.0.0.2", port, 10.0, 20.0)


def taken(worker: int, when: float = 15.0, port: int = 1000) -> Taken:
    return {("127.0.0.2", port): [(when, worker)]}


@pytest.mark.parametrize(
    ("books", "broken"),
    [
        (Books(kills=[1], counts={"served": 1}, logged=Counter("a")), []),
        (
            Books(counts={"hung": 1}, failures=[failure("hung", "a")], logged=Counter("a")),
            ["hung=1"],
        ),
        (Books(logged=Counter("aab")), ["twice=1"]),
        (
            Books(failures=[failure("refused", "a", None)], counts={"refused": 1}),
            ["refused=1", "unlogged_unacknowledged=1"],
        ),
        (Books(kills=[1], taken=taken(1), failures=[failure("cut", "a")]), []),
        (
            Books(kills=[1], taken=taken(1, port=2000), failures=[failure("cut", "a")]),
            ["unlogged_unacknowledged=1"],
        ),
        (
            Books(kills=[1], taken=taken(1, when=9.0), failures=[failure("cut", "a")]),
            ["unlogged_unacknowledged=1"],
        ),
        (
            Books(kills=[1], taken=taken(2), failures=[failure("cut", "a")]),
            ["unlogged_unacknowledged=1"],
        ),
        (
            Books(
                kills=[1, 2],
                taken={**taken(1), **taken(1, port=2000)},
                failures=[failure("cut", "a"), failure("cut", "b", 2000)],
            ),
            ["most_unlogged_per_kill=2"],
        ),
    ],
)
def test_what_the_books_say(books: Books, broken: list[str]) -> None:
    assert broken == books.broken_promises()
