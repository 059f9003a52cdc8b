"""Two workers of actorcluster on one port; one that dies is replaced. For `kill_client`."""

from __future__ import annotations

import os
import sys

import trio

import actorcluster
from actorcluster import Actor, Primary, events
from benchmarks.programs.common import say

WORKERS = 2


async def web(actor: Actor) -> None:
    """Tell every client who answers."""
    await trio.serve_listeners(answer, await actor.listen_tcp(0, host="127.0.0.1"))


async def answer(stream: trio.SocketStream) -> None:
    """Answer one request."""
    async with stream:
        await stream.receive_some(4096)
        await stream.send_all(b"%d\n" % os.getpid())


async def replace(primary: Primary) -> None:
    """Start another worker whenever one has died."""
    with primary.events(events.Exit) as exits:
        async for _ in exits:
            primary.fork_soon(web)


async def main() -> None:
    async with actorcluster.open_primary() as primary, trio.open_nursery() as nursery:
        workers = [await primary.fork(web, ready="listening") for _ in range(WORKERS)]
        listening = await primary.wait_for(events.Listening, workers[0])
        nursery.start_soon(replace, primary)
        say(port=listening.address[1])
        await trio.lowlevel.wait_readable(sys.stdin)  # closed when the client is through
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
