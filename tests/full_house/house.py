"""The primary whose workers are full, and what it costs."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import trio

from actorcluster import Actor, events, open_primary
from tests.full_house.figures import House, Measured

__all__ = ["ANSWER", "measure", "serve"]

#: What each connection is told.
ANSWER: Final = b"x"

_ROOT = Path(__file__).parents[2]
_SAMPLE_SECONDS: Final = 0.05


async def serve(actor: Actor, limit: int, backlog: int, hold: float) -> None:
    """Serve so many connections at once, each for so long."""

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await trio.sleep(hold)
            with contextlib.suppress(trio.BrokenResourceError):  # it counts as failed there
                await stream.send_all(ANSWER)

    listeners = await actor.listen_tcp(0, host="127.0.0.1", backlog=backlog, max_connections=limit)
    await trio.serve_listeners(answer, listeners)


async def measure(house: House, patience: float) -> Measured:
    """Let all the clients come, and watch the primary meanwhile.

    Args:
        house: how large it all is.
        patience: seconds; a client that is not served by then has failed.
    """
    async with open_primary() as primary:
        for _ in range(house.workers):
            worker = await primary.fork(
                serve, house.limit, house.backlog, house.hold, ready="listening"
            )
        port = (await primary.wait_for(events.Listening, worker)).address[1]
        before = most = _descriptors()
        processor = time.process_time()
        command = [sys.executable, "-m", "tests.full_house.clients"]
        command += map(str, (port, house.connections, house.open, patience))
        clients = await trio.lowlevel.open_process(command, cwd=_ROOT, stdout=subprocess.PIPE)
        try:
            while clients.poll() is None:
                most = max(most, _descriptors())
                await trio.sleep(_SAMPLE_SECONDS)
            processor = time.process_time() - processor
            report = await _said(clients)
        finally:
            clients.kill()  # it has ended by itself, unless something went wrong
            with trio.CancelScope(shield=True):
                await clients.wait()
        (state,) = primary.statistics().ports
    return Measured(
        **report,
        processor=processor,
        handed_over=sum(state.dealt.values()) + state.dealt_again,
        descriptors_before=before,
        descriptors=most,
    )


async def _said(clients: trio.Process) -> Any:
    """What a program that has ended has said."""
    assert clients.stdout is not None
    async with clients.stdout as stdout:
        return json.loads(b"".join([chunk async for chunk in stdout]))


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
