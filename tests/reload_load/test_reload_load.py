"""The short form of ``python -m tests.reload_load``, and proof that it would notice."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import pytest

from tests.chaos.clients import Failure, Outcome
from tests.reload_load.books import Books, Rollout, Sightings
from tests.reload_load.load import half


@pytest.mark.parametrize("preload", [False, True])
@pytest.mark.own_fork_server
async def test_nobody_notices(preload: bool) -> None:
    books = await half(
        reloads=2,
        kills=5,
        seed=1,
        preload=preload,
        broken=not preload,
        ready_seconds=0.7,
        patience=20.0,  # on a machine that does much else
    )
    assert [] == books.broken_promises()
    summary = books.summary()
    assert 2 <= summary["reloads"]
    assert 5 == summary["kills"]
    assert 100 < summary["requests"]
    assert 1 < len({version for _, _, version in books.answers})


def failure(outcome: Outcome = "cut", *, ended: float = 20.0) -> Failure:
    return Failure(outcome, "a", "127.0.0.2", 1000, 10.0, ended)


def seen(worker: int, *, when: float = 15.0) -> Sightings:
    return {("127.0.0.2", 1000): [(when, worker)]}


def rollout(version: int | None, begun: float, *, is_done: bool = True) -> Rollout:
    return Rollout(version=version, begun=begun, ended=begun + 1, is_done=is_done)


TAKEN: Final[dict[str, Any]] = {"accepted": seen(0), "dealt": seen(1), "taken": seen(1)}


@pytest.mark.parametrize(
    ("books", "broken"),
    [
        (Books(failures=[failure()], first_kill=5.0), ["failed_S0=1"]),
        (Books(failures=[failure()], first_kill=5.0, accepted=seen(0)), ["failed_S1=1"]),
        (
            Books(failures=[failure()], first_kill=5.0, accepted=seen(0), dealt=seen(1)),
            ["failed_S2=1"],
        ),
        (Books(failures=[failure()], first_kill=5.0, kills=[1], **TAKEN), []),
        (
            Books(failures=[failure()], first_kill=5.0, kills=[2], **TAKEN),
            ["S3_unacknowledged=1"],
        ),
        (
            Books(failures=[failure(), failure()], first_kill=5.0, kills=[1], **TAKEN),
            ["most_S3_per_kill=2"],
        ),
        (Books(failures=[failure()], first_kill=5.0, logged=Counter("a"), **TAKEN), []),
        (
            Books(failures=[failure()], first_kill=25.0, logged=Counter("a"), **TAKEN),
            ["failed_without_kills=1"],
        ),
        (
            Books(failures=[failure("hung")], first_kill=5.0, logged=Counter("a")),
            ["hung=1"],
        ),
        (Books(logged=Counter("aab")), ["twice=1"]),
        (
            Books(rollouts=[rollout(0, 0.0), rollout(1, 10.0)], answers=[(20.0, 0.1, 0)]),
            ["wrong_version=1"],
        ),
        (
            Books(rollouts=[rollout(0, 0.0), rollout(1, 10.0)], answers=[(10.5, 0.1, 0)]),
            [],
        ),
        (
            Books(rollouts=[rollout(0, 0.0), rollout(1, 10.0)], answers=[(20.0, 0.1, 1)]),
            [],
        ),
        (
            Books(rollouts=[rollout(0, 0.0), rollout(1, 10.0)], answers=[(9.9, 0.05, 1)]),
            ["wrong_version=1"],
        ),
        (
            Books(rollouts=[rollout(0, 0.0), rollout(1, 10.0)], answers=[(9.9, 0.2, 1)]),
            [],
        ),
        (
            Books(rollouts=[rollout(0, 0.0), rollout(1, 10.0, is_done=False)]),
            ["a good release was aborted"],
        ),
        (Books(rollouts=[rollout(None, 10.0, is_done=False)]), []),
        (Books(rollouts=[rollout(None, 10.0)]), ["a broken release came into service"]),
    ],
)
def test_what_the_books_say(books: Books, broken: list[str]) -> None:
    assert broken == books.broken_promises()


def test_too_little_was_going_on() -> None:
    full = [(second + part / 300, 0.0, 0) for second in range(4) for part in range(300)]
    assert not Books(answers=full).is_void()
    assert Books(answers=[one for one in full if not 1.5 < one[0] < 1.9]).is_void()
