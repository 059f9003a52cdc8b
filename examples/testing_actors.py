"""How to test actors: as tasks in virtual time, with stand-ins by name, and as real processes.

$ pip install pytest-trio
$ python -m pytest examples/testing_actors.py
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import trio

from actorcluster import Actor, Backoff, Child, Message, Supervisor, open_primary

pytestmark = pytest.mark.trio


async def cache(actor: Actor, keep: float) -> None:
    """Answer with the price of a thing, which the shop is asked for every ``keep`` seconds."""
    known: dict[str, tuple[float, Any]] = {}

    async def handler(message: Message) -> Any:
        until, price = known.get(message.body, (-math.inf, None))
        if trio.current_time() > until:
            price = await actor.ref("shop").ask(message.body)
            known[message.body] = trio.current_time() + keep, price
        return price

    await actor.serve_messages(handler)


async def shop(actor: Actor) -> None:
    """A stand-in for the real one: each time it is asked things have become dearer."""
    price = 0
    async for message in actor.mailbox:
        with message:
            price += 1
            await message.reply(price)


async def test_a_price_is_kept_for_a_minute(autojump_clock: trio.testing.MockClock) -> None:
    """A task has the clock of the test: an hour of virtual time takes no time."""
    async with open_primary() as primary:
        await primary.fork(shop, name="shop", run="task")
        worker = await primary.fork(cache, 60.0, run="task")
        assert await worker.ask("tea") == 1
        await trio.sleep(59)
        assert await worker.ask("tea") == 1
        await trio.sleep(3600)
        assert await worker.ask("tea") == 2


async def test_a_cache_that_was_killed_is_filled_again() -> None:
    """As a process, as in production: only there can it be killed in the midst of something."""
    quickly = Backoff(min=0.01, max=0.1)
    children = [
        Child("shop", shop, run="task"),
        Child("cache", cache, args=(60.0,), backoff=quickly),
    ]
    async with open_primary(Supervisor(children=children)) as primary:
        ref = primary.ref("cache")
        assert await ref.ask("tea") == 1
        (worker,) = [one for one in primary.workers.values() if one.name == "cache"]
        worker.kill("SIGKILL")
        status = await worker.wait()
        assert status.signal == "SIGKILL"
        assert await ref.ask("tea") == 2  # the ref waits for the next life
