"""The short form of ``python -m tests.mixed``, and proof that it would notice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.chaos.clients import Failure, Outcome
from tests.mixed.books import Books, Shares
from tests.mixed.clients import who
from tests.mixed.cluster import run

if TYPE_CHECKING:
    from languages import Language

PATIENCE = 60.0


@pytest.mark.own_fork_server
async def test_everybody_serves_and_nothing_is_lost(
    built: tuple[list[Language], Path], tmp_path: Path
) -> None:
    """A thousand requests; a reload and a kill of each, under load; a message for all."""
    those, place = built
    number = len(those)
    books = await run(
        those,
        place,
        tmp_path / "log",
        requests=1000,
        kills=number,
        reloads=number,
        seed=1,
        patience=PATIENCE,
    )
    assert [] == books.broken_promises(), books.summary()
    names = {one.name for one in those}
    assert names == set(books.reloads) == set(books.killed)
    assert {one.name for one in those if one.connections != "none"} == set(books.served)
    assert {one.name for one in those if one.has_mail} == books.echoed
    mixed, dealt = books.shares
    assert (250, 1000) == (mixed.asked, dealt.asked)
    assert {one.name for one in those if one.connections == "dealt"} == set(dealt.served)


# ---- it would notice --------------------------------------------------------------------------


def failure(outcome: Outcome = "cut", *, begun: float = 10.0) -> Failure:
    return Failure(outcome, "a", "127.0.0.2", 1000, begun, begun + 10)


def seen(worker: int, when: float = 15.0) -> dict[tuple[str, int | None], list[tuple[float, int]]]:
    return {("127.0.0.2", 1000): [(when, worker)]}


KILLED: Final[dict[str, Any]] = {"first_kill": 5.0, "kills": [1]}
TAKEN: Final[dict[str, Any]] = {"accepted": seen(0), "dealt": seen(1), "taken": seen(1)}


@pytest.mark.parametrize(
    ("books", "broken"),
    [
        (Books(), []),
        (Books(**KILLED, **TAKEN, failures=[failure()]), []),
        (Books(**KILLED, **TAKEN, failures=[failure()], logged=Counter("a")), []),
        (Books(**KILLED, **TAKEN, failures=[failure(), failure()]), ["most_per_kill=2"]),
        (Books(**KILLED, accepted=seen(0), failures=[failure()]), ["failed_unexplained=1"]),
        (
            Books(first_kill=5.0, kills=[2], **TAKEN, failures=[failure()]),
            ["failed_unexplained=1"],
        ),
        (
            Books(first_kill=25.0, kills=[1], **TAKEN, failures=[failure()]),
            ["failed_without_kills=1"],
        ),
        (
            Books(**KILLED, **TAKEN, failures=[failure("hung")]),
            ["failed_unexplained=1", "hung=1"],
        ),
        (
            Books(**KILLED, failures=[failure("refused")]),
            ["failed_unexplained=1", "refused=1"],
        ),
        (Books(logged=Counter("aab")), ["twice=1"]),
        (Books(first_kill=5.0, beside_kills=[(9.0, 10.1)], failures=[failure()]), []),
        (Books(first_kill=5.0, beside_kills=[(20.0, 21.0)], failures=[failure()]), []),
        (
            Books(first_kill=5.0, beside_kills=[(9.0, 9.9)], failures=[failure()]),
            ["failed_unexplained=1"],
        ),
        (
            Books(first_kill=5.0, beside_kills=[(9.0, 10.1)], failures=[failure()] * 2),
            ["most_per_kill=2"],
        ),
        (
            Books(
                first_kill=5.0, beside_kills=[(9.0, 10.1)], accepted=seen(0), failures=[failure()]
            ),
            ["failed_unexplained=1"],
        ),
        (Books(level_1={"c", "go"}, echoed={"go"}), ["silent=c"]),
    ],
)
def test_what_the_books_say(books: Books, broken: list[str]) -> None:
    assert broken == books.broken_promises()


@pytest.mark.parametrize(
    ("served", "dealt", "broken"),
    [
        ({"a": 2, "b": 1}, {"a": 2, "b": 1}, []),
        ({"a": 2, "b": 1, "beside": 9}, {"a": 2, "b": 1}, []),
        ({"a": 3, "b": 1}, {"a": 3, "b": 1}, ["uneven"]),
        ({"a": 2, "b": 2}, {"a": 2, "b": 1}, ["dealt"]),
    ],
)
def test_what_shares_say(served: dict[str, int], dealt: dict[str, int], broken: list[str]) -> None:
    counts = Counter(served)
    shares = Shares(counts, Counter(dealt), counts.total())
    assert broken == [one.partition("=")[0] for one in shares.broken_promises()]


def test_an_answer_that_did_not_come_is_counted() -> None:
    shares = Shares(Counter(a=1), Counter(a=1), 2)
    assert ["asked=2 served=1"] == shares.broken_promises()


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (b"hello from go, process 1, request 1 of 0 bytes\n", "go"),
        (b'{"worker": 4, "name": "asyncio", "path": "/"}\n', "asyncio"),
        (b"hello", "nobody"),
    ],
)
def test_who_answered(answer: bytes, name: str) -> None:
    assert name == who(answer)
