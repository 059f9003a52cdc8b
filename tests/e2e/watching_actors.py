"""Main functions of workers that watch others, and tell the primary what they hear."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Any

import trio

from actorcluster import Actor, Down, Ref

__all__ = ["holds_many", "told", "watcher"]


def told(down: Down) -> Any:
    """What a `Down` says, as a body."""
    status = down.status
    if status is None:
        return [down.ref.name, None]
    error = status.error and [status.error.type, status.error.text]
    return [down.ref.name, status.reason, status.code, status.signal, status.voluntary, error]


async def watcher(actor: Actor) -> None:
    """Watch whom the primary names, or who has sent, or pick up a `Ref`; "leave" ends the last."""
    scopes: list[trio.CancelScope] = []

    async def watch(ref: Ref, task_status: trio.TaskStatus[None]) -> None:
        with trio.CancelScope() as scope:
            scopes.append(scope)
            async with ref.monitor() as monitor:
                task_status.started()
                await actor.send("watching")
                down = await monitor.wait()
                assert down is await monitor.wait()
                await actor.send(told(down))
                return
        await actor.send("left")

    async with trio.open_nursery() as nursery:
        async for message in actor.mailbox:
            match message.body:
                case "leave":
                    scopes.pop().cancel()
                case "signal":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "sender":
                    await nursery.start(watch, message.sender)
                case Ref() as ref:
                    await nursery.start(watch, ref)
                case str() as name:
                    await nursery.start(watch, actor.ref(name))


async def holds_many(actor: Actor, target: str, count: int) -> None:
    """Hold so many monitors; leave half of them when the primary says so, tell how the rest end."""
    async with contextlib.AsyncExitStack() as stack:
        left = contextlib.AsyncExitStack()
        monitors = []
        for number in range(count):
            into = stack if number % 2 else left
            monitors.append(await into.enter_async_context(actor.ref(target).monitor()))
        await actor.send("watching")
        await actor.mailbox.receive()
        await left.aclose()
        await actor.send("left")
        downs = [told(await monitor.wait()) for monitor in monitors[1::2]]
        await actor.send(downs)
        await actor.mailbox.receive()
