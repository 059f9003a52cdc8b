"""The only worker crashes, twice; nobody is refused, for its supervisor holds the port.

$ python examples/held_port.py [PORT]
"""

from __future__ import annotations

import os
import sys
from collections import Counter

import trio

import actorcluster
from actorcluster import Actor, Child, Listen, Supervisor

HERE = "127.0.0.1"


async def web(actor: Actor, port: int) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            if await stream.receive_some() == b"crash":
                os._exit(1)
            await stream.send_all(b"life %d" % actor.incarnation)

    await trio.serve_listeners(serve, await actor.listen_tcp(port, host=HERE))


async def ask(port: int, what: bytes) -> str:
    async with await trio.open_tcp_stream(HERE, port) as stream:
        await stream.send_all(what)
        return (await stream.receive_some()).decode()  # nothing, of one that dies


def tree(port: int) -> Supervisor:
    return Supervisor(
        listeners=[Listen(port, host=HERE)],  # bound before the worker, open while there is none
        children=[Child("web", web, args=(port,))],
    )


async def main(port: int = 8000) -> None:
    served: Counter[str] = Counter()
    async with actorcluster.open_primary(tree(port)) as primary:
        await trio.lowlevel.checkpoint()  # after Ctrl-C while it started, this is the end
        (held,) = primary.statistics().ports
        number = int(held.address[1])
        print(f"port {number} is held by {' and '.join(held.held_by)}", flush=True)
        for client in range(1, 31):
            served[await ask(number, b"who")] += 1  # who comes between two lives waits
            if client % 10 == 0 and client < 30:
                await ask(number, b"crash")
    print(*(f"{life} has served {count}" for life, count in served.items()), sep=", ")


if __name__ == "__main__":
    actorcluster.run(main, *map(int, sys.argv[1:]))
