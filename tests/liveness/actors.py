"""Mains of workers that stand still when they are told to, each in its own way."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import trio

from actorcluster import Actor
from actorcluster._worker.stackfile import SIGNAL


def sleeps(seconds: float) -> None:
    """Block in a system call that releases the GIL."""
    time.sleep(seconds)  # here: sleeps


def spins() -> None:
    """Never stop."""
    while True:  # here: spins
        pass


def holds() -> None:
    """Hold the GIL in C code."""
    pause = ctypes.PyDLL(None).pause
    while True:
        pause()  # here: holds


def holds_once() -> None:
    """The same in a call that ends with the next signal."""
    ctypes.PyDLL(None).pause()  # here: holds_once


def deadlocks() -> None:
    """Wait for a lock that nobody gives up, while threads are busy."""
    for _ in range(3):
        threading.Thread(target=time.sleep, args=[1000], daemon=True).start()
    lock = threading.Lock()
    with lock, lock:  # here: deadlocks
        pass


def stops() -> None:
    """Stop the whole process."""
    os.kill(os.getpid(), signal.SIGSTOP)


def renames() -> None:
    """Give the process a name that is no text, and spin."""
    ctypes.CDLL(None).prctl(15, b"\xff:\t(\n) S", 0, 0, 0)
    spins()


def forgets() -> None:
    """Take back what would write the stack, and stand still."""
    faulthandler.unregister(SIGNAL)
    time.sleep(1000)


def closes() -> None:
    """Close what the stack would be written to, and stand still."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            if "actorcluster-stack" in os.readlink(f"/proc/self/fd/{name}"):
                os.close(int(name))
    time.sleep(1000)


def keeps_its_signal() -> None:
    """Have a handler of one's own for our signal, and stand still."""
    faulthandler.unregister(SIGNAL)
    signal.signal(SIGNAL, signal.SIG_IGN)
    time.sleep(1000)


WAYS: dict[str, Callable[..., None]] = {
    way.__name__: way
    for way in (
        *(sleeps, spins, holds, holds_once, deadlocks, stops, renames),
        *(forgets, closes, keeps_its_signal),
    )
}


def line_of(way: str) -> int:
    """Where one stands still."""
    lines = Path(__file__).read_text().splitlines()
    (number,) = (n for n, line in enumerate(lines, 1) if line.endswith(f"  # here: {way}"))
    return number


async def still(actor: Actor) -> None:
    """Answer asks; stand still when told how."""
    async for message in actor.mailbox:
        with message:
            if message.is_ask:
                await message.reply(message.body)
                continue
            way, *args = message.body
            WAYS[way](*args)


async def stubborn(actor: Actor) -> None:
    """Stand still in the end."""
    try:
        await trio.sleep_forever()
    finally:
        WAYS["spins"]()


async def late(actor: Actor, seconds: float) -> None:
    """Stand still before it calls itself ready."""
    time.sleep(seconds)
    actor.ready()
    await trio.sleep_forever()


async def floods(actor: Actor) -> None:
    """Send mail without end."""
    while True:
        await actor.send(b"x" * 10_000)


async def swallows(actor: Actor) -> None:
    """Read mail without end, and take a while for each."""
    async for message in actor.mailbox:
        with message:
            time.sleep(0.001)


async def computes(actor: Actor) -> None:
    """Keep a processor busy, and let the loop run now and then."""
    while True:
        until = time.monotonic() + 0.01
        while time.monotonic() < until:
            pass
        await trio.lowlevel.checkpoint()


async def unimportant(_: Actor, processor: int) -> None:
    """Do nothing, and run only when nobody else wants that processor."""
    for task in map(int, os.listdir("/proc/self/task")):
        os.sched_setaffinity(task, {processor})
        os.sched_setscheduler(task, os.SCHED_IDLE, os.sched_param(0))
    await trio.sleep_forever()
