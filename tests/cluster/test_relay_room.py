"""A worker asks whether all that it sent to an address has left the primary."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actorcluster._worker.ref import main_actor
from tests.cluster.test_relay import Hall, hall
from tests.worker.lines import ask
from tests.worker.rig import settle

SMALL = {"window": 65536}
#: Two of them do not fit into a small window.
BIG = "x" * 40_000


async def room(all_: Hall, outcomes: list[Any], to: int | str = "b") -> None:
    await ask(all_.end("a"), None, outcomes, to=to, meta={"room": True})


@pytest.mark.parametrize("to", ["b", main_actor(2), "a", "zz", "gone", main_actor(77)])
async def test_at_once_when_nothing_is_held(to: int | str) -> None:
    """Whoever that is, and whether there is anybody: the question is about the asker's own mail."""
    async with hall("ab") as all_:
        outcomes: list[Any] = []
        await all_.end("a").channel.send("x", to="b")
        await room(all_, outcomes, to)
        assert [None] == outcomes
        await settle()
        assert 1 == len(all_.end("b").mailbox)  # nobody passed the question on
        assert {} == all_.relays["a"]._lanes


async def test_when_the_last_before_it_has_left() -> None:
    async with hall("ab", limits=SMALL) as all_, trio.open_nursery() as nursery:
        outcomes: list[Any] = []
        for _ in range(3):
            await all_.end("a").channel.send(BIG, to="b")
        nursery.start_soon(room, all_, outcomes)
        await settle()
        await all_.end("a").channel.send(BIG, to="b")  # behind it, and of no concern
        for _ in range(2):
            assert [] == outcomes
            await all_.end("b").receive()
            await settle()
        assert [None] == outcomes
        for _ in range(2):
            await all_.end("b").receive()
        await settle()
        assert {} == all_.relays["a"]._lanes


async def test_of_one_address_and_one_sender() -> None:
    async with hall("abc", offline="b") as all_:
        outcomes: list[Any] = []
        await all_.end("a").channel.send("x", to="b")
        await ask(all_.end("a"), None, outcomes, to="c", meta={"room": True})
        await ask(all_.end("c"), None, outcomes, to="b", meta={"room": True})
        assert [None, None] == outcomes


async def test_several_questions() -> None:
    async with hall("ab", offline="b") as all_, trio.open_nursery() as nursery:
        outcomes: list[Any] = []
        for body in "xy":
            await all_.end("a").channel.send(body, to="b")
            for _ in range(2):
                nursery.start_soon(room, all_, outcomes)
                await settle()
        assert [] == outcomes
        await all_.rigs["b"].comes_online()
        await settle()
        assert [None] * 4 == outcomes


async def test_what_was_given_up_has_left() -> None:
    async with hall("ab", offline="b") as all_, trio.open_nursery() as nursery:
        outcomes: list[Any] = []
        await all_.end("a").channel.send("x", to="b")
        nursery.start_soon(room, all_, outcomes)
        await settle()
        assert [] == outcomes
        all_.rigs["b"].process_ends()
        await all_.rigs["b"].ends()
        await settle()
        assert [None] == outcomes


async def test_an_ask_has_left_when_it_was_passed_on() -> None:
    async with hall("ab") as all_, trio.open_nursery() as nursery:
        outcomes: list[Any] = []
        nursery.start_soon(lambda: ask(all_.end("a"), "x", [], to="b"))
        message = await all_.end("b").receive()
        await room(all_, outcomes)
        assert [None] == outcomes
        await message.reply(None)


async def test_nobody_wants_to_know_any_more() -> None:
    async with hall("ab", offline="b") as all_:
        await all_.end("a").channel.send("x", to="b")
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(room, all_, [])
            await settle()
            nursery.cancel_scope.cancel()
        await settle()
        assert set() == all_.relays["a"]._calls
        assert 1 == len(all_.relays["a"]._lanes["b"])
        await all_.rigs["b"].comes_online()
        await settle()
        assert {} == all_.relays["a"]._lanes
        assert 0 == all_.end("a").connection.statistics().calls


async def test_the_asker_dies() -> None:
    """With an ask before the question, whose end answers it."""
    async with hall("ba", offline="b") as all_, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: ask(all_.end("a"), "x", [], to="b"))
        await settle()
        for _ in range(2):
            nursery.start_soon(room, all_, [])
        await settle()
        relay = all_.relays["a"]
        assert 3 == len(relay._calls)
        all_.rigs["a"].process_ends()
        await all_.rigs["a"].ends()
        assert (set(), {}) == (relay._calls, relay._lanes)
        nursery.cancel_scope.cancel()
