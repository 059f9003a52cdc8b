"""Refs: addresses as they are shown, compared, sent along and refused."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actorcluster import Actor, Ref
from actorcluster._worker.ref import Home, is_primary, main_actor
from actorcluster.wire.values import Values
from tests.worker.hosted import hosted

HOME, OTHER = Home(), Home()


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        (Ref("web", HOME), "<Ref 'web'>"),
        (Ref("web", HOME, main_actor(3)), "<Ref 'web' pinned to 3>"),
    ],
)
def test_shown(ref: Ref, expected: str) -> None:
    assert expected == repr(ref)
    assert "web" == ref.name


def test_compared() -> None:
    """Equal are two refs by the same name, or pinned to the same life, of one cluster."""
    web = Ref("web", HOME)
    assert web == Ref("web", HOME)
    assert hash(web) == hash(Ref("web", HOME))
    assert web != Ref("db", HOME)
    assert web != Ref("web", OTHER)
    assert web != Ref("web", HOME, main_actor(3))
    assert web != "web"


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        (Ref("primary", HOME), True),
        (Ref("anything", HOME, main_actor(0)), True),
        (Ref("web", HOME), False),
        (Ref("primary", HOME, main_actor(1)), False),  # a worker cannot call itself that
    ],
)
def test_who_is_the_primary(ref: Ref, expected: bool) -> None:
    assert expected is is_primary(ref)


def test_in_a_body() -> None:
    values = Values(refs=HOME)
    body = {"to": [Ref("web", HOME), Ref("db", HOME, main_actor(2))]}
    assert body == values.decode(values.encode(body).payload)


def test_an_id_without_a_name() -> None:
    assert Ref("actor 5", HOME, 5) == HOME.build(5, None)
    with pytest.raises(ValueError, match="without"):
        HOME.build(None, None)


def test_of_another_cluster() -> None:
    """There its name means somebody else, so it cannot be sent."""
    with pytest.raises(TypeError, match="another primary"):
        Values(refs=HOME).encode([Ref("web", OTHER)])


async def test_a_home_must_know_the_way() -> None:
    with pytest.raises(AssertionError):
        await Ref("web", HOME).send("x")
    with pytest.raises(AssertionError):
        await Ref("web", HOME).ask("x")
    with pytest.raises(AssertionError):
        Ref("web", HOME).send_nowait("x")


async def test_asking_oneself() -> None:
    seen: list[Any] = []

    async def main(actor: Actor) -> None:
        for ref in (actor.ref("web"), Ref("any", actor._home, main_actor(7))):
            with pytest.raises(RuntimeError, match="asks itself"):
                await ref.ask("x")
            seen.append(ref)

    async with hosted(main) as one:
        assert await one.ends() is None
    assert 2 == len(seen)


async def test_the_way_from_a_worker() -> None:
    """Everything goes to the primary, with the address on it."""
    seen: list[Any] = []

    async def main(actor: Actor) -> None:
        await actor.ref("db").send(1)
        actor.ref("db").send_nowait(2)
        await Ref("db", actor._home, main_actor(5)).send(3)
        await actor.ref("primary").send(4)
        with trio.move_on_after(0.1):
            await actor.ref("db").ask(5)

    async with hosted(main) as one:
        await one.ends()
        for _ in range(4):
            message = await one.primary.receive()
            seen.append((message._event.to, message.body))
    assert [("db", 1), ("db", 2), (main_actor(5), 3), (None, 4)] == seen
