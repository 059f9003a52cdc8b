"""Main functions of workers that crash, or cannot be started."""

from __future__ import annotations

import os
import signal
from typing import Any

import trio

from actorcluster import Actor


async def crashes(actor: Actor) -> None:
    """Be ready, and fail; in the first life when something has come."""
    actor.ready()
    if actor.incarnation == 1:
        await actor.mailbox.receive()
    raise ValueError("on purpose")


async def starts_once(actor: Actor) -> None:
    """The same, but in all later lives fail before it is ready."""
    if actor.incarnation == 1:
        await crashes(actor)
    raise ValueError("on purpose")


async def raises(actor: Actor) -> None:
    raise ValueError("on purpose")


async def returns(actor: Actor) -> None:
    pass


async def dies(actor: Actor) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def sleeps(actor: Actor) -> None:
    await trio.sleep_forever()


async def talks_nonsense(actor: Actor) -> None:
    """Write what is no frame."""
    carrier: Any = actor._channel._socket
    os.write(carrier._sock.fileno(), b"\xc1" * 100)
    await trio.sleep_forever()
