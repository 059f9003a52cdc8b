"""Refs: addresses as they are shown, compared, sent along and refused."""

from __future__ import annotations

from typing import Any

import pytest

from actorcluster import Actor, NoSuchActor, Ref
from actorcluster._worker.ref import Home, is_primary, main_actor
from actorcluster.wire.values import Values
from tests.worker.hosted import Hosted, hosted

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


@pytest.mark.parametrize("name", [5, None, b"web"])
def test_what_is_no_name(name: Any) -> None:
    with pytest.raises(TypeError, match="name"):
        HOME.named(name)


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

    async def main(actor: Actor) -> None:
        await actor.ref("db").send(1)
        actor.ref("db").send_nowait(2)
        await Ref("db", actor._home, main_actor(5)).send(3)
        await actor.ref("primary").send(4)
        await actor.ref("db").ask(5)

    async with hosted(main) as one:
        for to, body in [("db", 1), ("db", 2), (main_actor(5), 3), (None, 4), ("db", 5)]:
            if body in (1, 3):
                await answer_find(one, to)
            message = await one.primary.receive()
            assert (to, body) == (message._event.to, message.body)
            if message.is_ask:
                await message.reply(None)
        assert await one.ends() is None


async def answer_find(one: Hosted, to: Any) -> None:
    """Before the first message to an address the primary is asked whether there is somebody."""
    question = await one.primary.receive()
    assert (to, {"find": True}) == (question._event.to, question._event.meta)
    await question.reply(main_actor(5))


async def test_nobody_there() -> None:
    seen: list[Any] = []

    async def main(actor: Actor) -> None:
        with pytest.raises(NoSuchActor):
            await actor.ref("db").send("x")
        seen.append(True)

    async with hosted(main) as one:
        with await one.primary.receive() as question:
            question.fail(NoSuchActor("no db", code="no_such_actor"))
        assert await one.ends() is None
    assert [True] == seen


async def test_after_a_message_came_back_the_primary_is_asked_again() -> None:
    async def main(actor: Actor) -> None:
        await actor.ref("db").send("x")
        await actor.mailbox.receive()
        await actor.ref("db").send("y")

    async with hosted(main) as one:
        await answer_find(one, "db")
        await one.primary.receive()
        one.primary.connection.send_undeliverable(2, "db", {"code": "connection_lost"})
        await one.primary.channel.send("go on")
        await answer_find(one, "db")
        assert "y" == (await one.primary.receive()).body


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actorcluster._worker.actorhome._MOST_KNOWN", 2)

    async def main(actor: Actor) -> None:
        for name in "abcb":
            await actor.ref(name).send(name)

    async with hosted(main) as one:
        for name in "abcb":
            await answer_find(one, name)
            assert name == (await one.primary.receive()).body
