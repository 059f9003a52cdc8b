"""Policies and weights that nobody should give, and what a policy does beside choosing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from actorcluster import Candidate, NewConnection, Peek
from tests.cluster.inproc import Client, open_cluster, until


class Unspeakable(Exception):
    """Says nothing about itself."""

    def __repr__(self) -> str:
        raise ValueError("no repr")

    def __str__(self) -> str:
        raise ValueError("no text")

    def __eq__(self, other: object) -> bool:
        raise ValueError("no comparison")

    __hash__ = None  # type: ignore[assignment]  # goes with that


def raises(*_: object) -> None:
    raise Unspeakable


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        (raises, "raised Unspeakable: (an exception without a text)"),
        (lambda *_: Unspeakable(), "raised ValueError: no repr"),
        (lambda *_: Candidate(Unspeakable(), "", 0, 1.0), "raised ValueError: no comparison"),  # type: ignore[arg-type]  # wrong on purpose
        (lambda *_: Candidate("x" * 999, "", 0, 1.0), "chose worker 'xxx"),  # type: ignore[arg-type]  # wrong on purpose
    ],
)
async def test_what_cannot_be_told_is_told(
    policy: Callable[..., Any], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_cluster(policies={"lies": policy}) as cluster:
        puppet = await cluster.puppet()
        await puppet.listen(credit=9, policy="lies")
        cluster.connect(3)
        await until(lambda: {1: 3} == cluster.port.dealt)
        assert 3 == cluster.port.policy_faults
        puppet.read()
    (record,) = caplog.records
    assert told in record.getMessage()
    assert len(record.getMessage()) < 250


async def test_clients_cannot_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """What they say makes the policy fail, each time with another text."""

    def by_number(connection: NewConnection, _: Sequence[Candidate]) -> None:
        int(connection.head)

    async with open_cluster(policies={"number": Peek(by_number, until=b"\n")}) as cluster:
        puppet = await cluster.puppet()
        await puppet.listen(credit=9, policy="number")
        for number, client in enumerate(cluster.connect(5)):
            client.sendall(b"x%d\n" % number)
        await until(lambda: {1: 5} == cluster.port.dealt)
        assert 5 == cluster.port.policy_faults
        puppet.read()
    (record,) = caplog.records
    assert "raised ValueError: invalid literal" in record.getMessage()


async def test_a_policy_pauses_whom_it_was_asked_about() -> None:
    """What follows from that, follows when it is done."""
    clients: list[Client] = []

    def pauses(_: NewConnection, candidates: Sequence[Candidate]) -> Candidate:
        client = clients[1]
        client.is_paused = not client.is_paused
        client.ports.look_again(client)
        return candidates[0]

    async with open_cluster(policies={"pauses": pauses}) as cluster:
        puppets = [await cluster.puppet() for _ in range(2)]
        clients += [puppet.client for puppet in puppets]
        for puppet in puppets:
            await puppet.listen(credit=9, policy="pauses")
        cluster.connect(6)
        await until(lambda: 6 == sum(cluster.port.dealt.values()))
        assert 0 == cluster.port.policy_faults
        for puppet in puppets:
            puppet.read()


LEAST, MOST = 5e-324, 1.7e308


@pytest.mark.parametrize(
    ("weights", "dealt"),
    [
        ((LEAST, 1.0), {2: 4}),
        ((LEAST, LEAST), {1: 2, 2: 2}),
        ((MOST, 1.0), {1: 4}),
        ((MOST, MOST), {1: 2, 2: 2}),
    ],
)
async def test_any_weight_is_one(weights: tuple[float, float], dealt: dict[int, int]) -> None:
    """Also of a worker that warms up, whose share is a part of that."""
    for policy in ("least_connections", "weighted"):
        async with open_cluster() as cluster:
            puppets = [await cluster.puppet() for _ in range(2)]
            for puppet, weight in zip(puppets, weights, strict=True):
                puppet.client.weight = weight
                puppet.client.ready_at, puppet.client.warm_up = None, 1.0
                await puppet.listen(credit=9, policy=policy)
            cluster.connect(4)
            await until(lambda: 4 == sum(cluster.port.dealt.values()))
            assert dealt == cluster.port.dealt
            for puppet in puppets:
                puppet.read()
