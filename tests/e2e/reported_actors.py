"""Main functions of workers whose end is reported."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import trio

from actorcluster import Actor


async def ends(actor: Actor, how: str) -> None:
    """The first life ends with exit code 9, all others as told, when two have asked something."""
    if how == "is never ready" and actor.incarnation > 1:
        await trio.sleep_forever()
    actor.ready()
    held = [await actor.mailbox.receive()]
    if actor.incarnation == 1:
        raise SystemExit(9)
    held.append(await actor.mailbox.receive())
    match how:
        case "raises":
            raise ValueError("on purpose")
        case "exits":
            raise SystemExit(3)
        case "is killed by a signal":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "breaks the protocol":
            carrier: Any = actor._channel._socket
            os.write(carrier._sock.fileno(), b"\xc1" * 100)
        case "is stuck":
            time.sleep(1000)
        case "returns":
            return
    await trio.sleep_forever()
