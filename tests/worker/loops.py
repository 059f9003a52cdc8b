"""Workers that say where they were forked, and use all that wakes an event loop; also a script."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

import trio

import actorcluster
from actorcluster import Actor


async def says(actor: Actor) -> None:
    """Say it, and do what is asked for."""
    await actor.send(_is_inside())
    async for message in actor.mailbox:
        with message:
            await message.reply(await _WAYS[message.body]())


def _is_inside() -> bool:
    """Whether this event loop was there before this process."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "_serve_inside":
            return True
        frame = frame.f_back
    return False


async def _by_thread() -> bool:
    return await trio.to_thread.run_sync(threading.current_thread) is not threading.main_thread()


async def _by_signal() -> bool:
    with trio.open_signal_receiver(signal.SIGUSR1) as received:
        os.kill(os.getpid(), signal.SIGUSR1)
        return await anext(received) == signal.SIGUSR1


async def _by_time() -> bool:
    with trio.move_on_after(0.01) as scope:
        await trio.sleep_forever()
    return scope.cancelled_caught


async def _by_child() -> bool:
    return (await trio.run_process(["true"])).returncode == 0


_WAYS = {"thread": _by_thread, "signal": _by_signal, "time": _by_time, "child": _by_child}


if __name__ == "__main__":
    actorcluster.run_worker(says)
