"""What a handler and a message's block make of an ask that they do not answer."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actorcluster import Actor, NotHandled, events, open_primary


async def declines(actor: Actor) -> None:
    """Answer no ask."""

    async def handler(message: Any) -> Any:
        raise NotHandled(f"no {message.body}")

    await actor.serve_messages(handler)


async def remembers(actor: Actor) -> None:
    """Tell, after an ask that was given up, which deadline it had in its end."""
    deadlines: list[bool] = []
    async for message in actor.mailbox:
        with message:
            if message.body == "tell":
                await message.reply(deadlines)
            else:
                await trio.sleep_forever()
        deadlines.append(message.deadline == float("-inf"))


async def listens(actor: Actor) -> None:
    """Be ready by listening."""
    await actor.listen_tcp(0, host="127.0.0.1")
    await trio.sleep_forever()


async def test_a_handler_may_decline() -> None:
    async with open_primary() as primary:
        worker = await primary.fork(declines, run="task")
        with pytest.raises(NotHandled, match="no tea") as caught:
            await worker.ask("tea")
        assert "not_handled" == caught.value.code


async def test_the_deadline_of_an_ask_that_was_given_up_stays_what_it_was() -> None:
    async with open_primary() as primary:
        worker = await primary.fork(remembers, run="task")
        with trio.move_on_after(0.05):
            await worker.ask("sleep")
        assert [False] == await worker.ask("tell")


async def test_who_listens_is_reported_before_what_follows_from_it() -> None:
    """A reload stops the old life when the new one listens, and is told in that order."""
    async with open_primary() as primary:
        await primary.fork(
            listens, name="web", run="process", restart="permanent", ready="listening"
        )
        with primary.events(events.Online, events.Listening, events.Draining) as told:
            await primary.reload("web")
            order = [type(await anext(told)).__name__ for _ in range(3)]
        assert ["Online", "Listening", "Draining"] == order


def test_a_stuck_workers_stack_is_not_part_of_its_repr() -> None:
    hung = events.Hung(worker=None, seconds=1.0, stack="File x\n")  # type: ignore[arg-type]  # nobody looks at it
    assert "stack=" not in repr(hung).replace("no_stack=", "")
    assert "File x\n" == hung.stack
