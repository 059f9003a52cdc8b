"""Main functions of workers in a tree, that end as they are told."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Any

import trio

from actorcluster import Actor, ActorClusterError


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
                continue
            match message.body:
                case "ready":
                    actor.ready()
                case "return":
                    return
                case "raise":
                    raise ValueError("on purpose")
                case "exit":
                    raise SystemExit(3)
                case "signal":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "disconnect":
                    await actor.disconnect()
                case "kill":
                    actor.kill()
                case "garbage":
                    carrier: Any = actor._channel._socket
                    os.write(carrier._sock.fileno(), b"\xc1" * 100)


async def drains_slowly(actor: Actor) -> None:
    """Ask to leave, say so, and never be idle."""
    with actor.busy():
        await actor.mailbox.receive()
        await actor.disconnect()
        await actor.send("draining")
        await trio.sleep_forever()


async def lingers(actor: Actor) -> None:
    """Answer who it is; take a while to stop, and say that it has begun."""
    actor.ready()
    with actor.busy():
        async for message in actor.mailbox:
            with message:
                await message.reply([actor.name, actor.incarnation])
        await actor.send("draining")
        await trio.sleep(0.2)


async def keeps(actor: Actor) -> None:
    """Tell the primary what comes, and answer nothing; "signal" is the end."""
    kept = []
    async for message in actor.mailbox:
        kept.append(message)
        await actor.send([actor.incarnation, message.body])
        if message.body == "signal":
            os.kill(os.getpid(), signal.SIGKILL)


async def hoards(actor: Actor) -> None:
    """Read nothing in the first life; in later ones, tell the primary what comes."""
    if actor.incarnation == 1:
        await trio.sleep_forever()
    async for message in actor.mailbox:
        await actor.send([actor.incarnation, message.body[:5]])


async def messenger(actor: Actor) -> None:
    """Send or ask as told, one beside the other; tell the primary what came of each."""

    async def act(
        how: str, to: str, body: object, seconds: float, *, task_status: trio.TaskStatus[None]
    ) -> None:
        target = actor.ref(to)
        result: object = "too slow"
        task_status.started()  # nobody else has a turn before this one has begun
        with trio.move_on_after(seconds):
            try:
                result = await (target.ask(body) if how == "ask" else target.send(body))
            except ActorClusterError as exc:
                result = type(exc).__name__
        await actor.send([how, result])

    async with trio.open_nursery() as nursery:
        async for message in actor.mailbox:
            how, to, body, seconds = message.body
            await nursery.start(act, how, to, body, float(seconds))


async def notes(actor: Actor, path: str, after: str = "ready") -> None:
    """Write a line when it begins and one when it ends; then "ready", "never" or "fail"."""
    note(path, f"begin {actor.name}")
    try:
        if after == "fail":
            raise SystemExit(3)
        if after == "ready":
            actor.ready()
        await trio.sleep_forever()
    finally:
        note(path, f"end {actor.name}")


def note(path: str, line: str) -> None:
    """Append a line, in one piece."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(fd, f"{line}\n".encode())
    finally:
        os.close(fd)


async def fails_above(actor: Actor, most: int) -> None:
    """Be ready, unless this is a slot beyond so many."""
    if int(actor.name.rpartition(".")[2]) <= most:
        actor.ready()
        await trio.sleep_forever()
