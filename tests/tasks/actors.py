"""Main functions of actors that are tasks, which end as they are told."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, Final

import trio

from actorcluster import Actor, Handle, current_actor

__all__ = [
    "LEFT",
    "PAST",
    "awaits_draining",
    "crashes",
    "echo",
    "ends_its_past",
    "forwards",
    "is_busy",
    "leaves_a_nursery",
    "leaves_a_scope",
    "leaves_a_variable",
    "puppet",
    "sleeps",
    "swallows",
    "takes",
    "waits_shielded",
]

#: Set by `leaves_a_variable`.
LEFT: Final[ContextVar[str]] = ContextVar("LEFT", default="nothing")


#: Lives of `ends_its_past`.
PAST: Final[list[Actor]] = []


class Odd(BaseException):
    """No Exception, and without a text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


async def puppet(actor: Actor, failing: Sequence[int] = (), silent: Sequence[int] = ()) -> None:
    """Answer who it is, and end as told.

    The lives in ``failing`` return before they are ready, those in ``silent`` never are.
    """
    if actor.incarnation in failing:
        return
    if actor.incarnation not in silent:
        actor.ready()
    async for message in actor.mailbox:
        with message:
            if message.is_ask:
                await message.reply([actor.name, actor.incarnation])
            else:
                await _obey(actor, message.body)
                if message.body == "return":
                    return


async def _obey(actor: Actor, how: str) -> None:
    match how:
        case "raise":
            raise ValueError("on purpose")
        case "raise group":
            raise BaseExceptionGroup("two", [ValueError("one"), Odd()])
        case "raise odd":
            raise Odd
        case "raise GeneratorExit":
            raise GeneratorExit
        case "raise StopAsyncIteration":
            raise StopAsyncIteration
        case "exit":
            raise SystemExit(3)
        case "exit 0":
            raise SystemExit
        case "exit text":
            raise SystemExit("a text")
        case "interrupt":
            raise KeyboardInterrupt
        case "disconnect":
            await actor.disconnect()
        case "kill":
            actor.kill()
        case "cancel":
            actor.scope.cancel()


async def crashes(actor: Actor) -> None:
    """Do nothing else."""
    raise ValueError("at once")


async def echo(actor: Actor) -> None:
    """Answer what is asked, with who answers; tell the primary what is sent."""
    async for message in actor.mailbox:
        with message:
            if message.is_ask:
                await message.reply([actor.name, message.body])
            else:
                await actor.send([actor.name, message.body])


async def forwards(actor: Actor, to: str) -> None:
    """Ask somebody else whatever is asked here."""

    async def handler(message: Any) -> Any:
        return await actor.ref(to).ask(message.body)

    await actor.serve_messages(handler)


async def takes(actor: Actor) -> None:
    """Write a word into each pipe that comes, and close it."""
    async for message in actor.mailbox:
        with message:
            assert isinstance(message.handle, Handle)
            async with message.handle.into_stream() as stream:
                await stream.send_all(f"from {current_actor().name}".encode())


async def sleeps(actor: Actor, ready: bool = True) -> None:
    """Do nothing, and be idle."""
    if ready:
        actor.ready()
    await trio.sleep_forever()


async def awaits_draining(actor: Actor, seconds: float) -> None:
    """Go on for a while when told to stop."""
    await actor.draining.wait()
    with actor.busy():
        await trio.sleep(seconds)


async def is_busy(actor: Actor) -> None:
    """Never be idle."""
    with actor.busy():
        await trio.sleep_forever()


async def waits_shielded(actor: Actor, seconds: float) -> None:
    """Be deaf for a while."""
    with trio.CancelScope(shield=True):
        await trio.sleep(seconds)


async def swallows(actor: Actor, seconds: float) -> None:
    """Go on whatever is said."""
    until = trio.current_time() + seconds
    while trio.current_time() < until:
        try:
            await trio.sleep(0.5)
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.5)


async def leaves_a_variable(actor: Actor) -> None:
    """Tell the primary what the last life has left, and leave something."""
    await actor.send(LEFT.get())
    LEFT.set(f"life {actor.incarnation}")
    raise ValueError("enough")


async def leaves_a_scope(actor: Actor) -> None:
    """Enter a cancel scope, and never leave it."""
    await actor.send(trio.current_effective_deadline())
    trio.CancelScope(deadline=trio.current_time() + 60).__enter__()
    raise ValueError("enough")


async def ends_its_past(actor: Actor) -> None:
    """Kill the lives before once more; the second leaves a scope, the fourth ends well."""
    for past in PAST:
        past.kill()
    PAST.append(actor)
    await trio.lowlevel.checkpoint()
    if actor.incarnation == 2:
        trio.CancelScope(deadline=-1).__enter__()
    if actor.incarnation < 4:
        raise ValueError("enough")


async def leaves_a_nursery(actor: Actor) -> None:
    """Open a nursery inside a generator, and never finish that."""

    async def numbers() -> Any:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            yield 1

    async for _ in numbers():
        raise ValueError("enough")
