"""Handles in messages, and functions that work on messages: what they return is the answer."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from actorcluster import Handle, Message, RemoteError
from actorcluster._worker.message import handle
from tests.worker.lines import Line, Outcome, ask, everybody_has_closed, line, settle

# ---- handles ----------------------------------------------------------------------------------


async def test_unclaimed_handles_are_closed_with_a_warning() -> None:
    async with line() as ends:
        reader, writer = os.pipe()
        await ends.worker.channel.send({"a": 1}, Handle.of(writer))
        message = await ends.primary.receive()
        assert message.handle is not None
        assert "pipe" == message.handle.kind
        with pytest.warns(ResourceWarning, match="unclaimed"), message:
            pass
        await everybody_has_closed(reader)


async def test_claimed_handles_are_left_alone() -> None:
    async with line() as ends:
        reader, writer = os.pipe()
        await ends.worker.channel.send({"h": Handle.of(writer)})
        with await ends.primary.receive() as message:
            assert message.handle is None  # it is in the body
            taken = message.body["h"].detach()
        os.write(taken, b"!")
        os.close(taken)
        assert b"!" == os.read(reader, 1)
        os.close(reader)


@pytest.mark.filterwarnings("error::ResourceWarning")
async def test_a_warning_that_is_an_error_still_leaves_the_block() -> None:
    async with line() as ends:
        reader, writer = os.pipe()
        await ends.worker.channel.send(None, Handle.of(writer))
        message = await ends.primary.receive()
        with pytest.raises(ResourceWarning):
            with message:
                pass
        await everybody_has_closed(reader)
        await trio.lowlevel.checkpoint()  # the scope was left: nothing is out of order


# ---- handlers ---------------------------------------------------------------------------------


async def run_handler(ends: Line, handler: Callable[[Message], Any]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, ends.worker, "x", outcomes)
        message = await ends.primary.receive()
        try:
            await handle(message, handler)
        except Exception as exc:  # noqa: BLE001  (part of the outcome)
            outcomes.append(exc)
        await settle()
    return outcomes


async def test_what_a_handler_returns_is_the_answer() -> None:
    async def handler(message: Message) -> Any:
        return [message.body]

    async with line() as ends:
        assert [["x"]] == await run_handler(ends, handler)


async def test_a_handler_may_answer_by_itself() -> None:
    async def handler(message: Message) -> Any:
        await message.reply("mine")
        return "not this"

    async with line() as ends:
        assert ["mine"] == await run_handler(ends, handler)


async def test_an_answer_that_was_returned_is_sent_also_when_cancelled() -> None:
    """It may hold handles, which nobody else has any more."""

    async with line() as ends, trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def handler(message: Message) -> Any:
            scope.cancel()
            return Handle.of(os.memfd_create("test"))

        async def serve() -> None:
            with scope:
                await handle(await ends.primary.receive(), handler)

        nursery.start_soon(serve)
        with contextlib.closing(await ends.worker.channel.ask("x")) as answer:
            assert "memfd" == answer.kind


async def test_a_handler_that_returns_what_cannot_be_sent() -> None:
    async def handler(message: Message) -> Any:
        return object()

    async with line() as ends:
        raised, outcome = await run_handler(ends, handler)
        assert isinstance(raised, TypeError)
        assert isinstance(outcome, RemoteError)
        assert "TypeError" == outcome.type


async def test_an_exception_after_the_answer_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The asker has its answer, so nobody else would hear of it."""

    async def handler(message: Message) -> Any:
        await message.reply("fine")
        raise ValueError("not so fine")

    async with line() as ends:
        raised, outcome = await run_handler(ends, handler)
        assert "fine" == outcome
        assert isinstance(raised, ValueError)
    assert ["a handler failed after it had answered"] == caplog.messages


async def test_a_handler_whose_asker_gave_up() -> None:
    async with line() as ends, trio.open_nursery() as nursery:
        asking = trio.CancelScope()

        async def asker() -> None:
            with asking:
                await ends.worker.channel.ask("x")

        async def handler(message: Message) -> Any:
            asking.cancel()
            await trio.sleep_forever()

        nursery.start_soon(asker)
        await handle(await ends.primary.receive(), handler)
