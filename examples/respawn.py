"""A worker that dies is started again under its name; one that wished to leave is not.

$ python examples/respawn.py [PORT]
$ kill -9 PID                                     # of a worker: it comes back
$ curl http://127.0.0.1:8000/leave                # whoever answers leaves for good;
                                                  # behind the last one clients wait
"""

from __future__ import annotations

import os
import sys

import _http

import actorcluster
from actorcluster import Actor, Primary, events


async def web(actor: Actor, port: int) -> None:
    async def respond(target: str) -> str:
        if target == "/leave":
            await actor.disconnect()  # from now on draining: this answer is still given
        return f"{actor.name} {actor.incarnation} {os.getpid()}\n"

    await _http.serve_http(await actor.listen_tcp(port, host="127.0.0.1"), respond)


async def keep_alive(primary: Primary, port: int) -> None:
    with primary.events(events.Listening, events.Exit) as happenings:
        for name in "alpha", "beta":
            await primary.fork(web, port, name=name, ready="listening")
        async for event in happenings:
            worker = event.worker
            match event:
                case events.Listening(address=(host, shared)):
                    life = f"life {worker.incarnation}, process {worker.pid}"
                    print(f"{worker.name} serves http://{host}:{shared}/ ({life})")
                case events.Exit(status=status) if status.voluntary:
                    print(f"{worker.name} left because it wished to")
                case events.Exit(status=status):
                    print(f"{worker.name} died ({status}), starting it again")
                    await primary.fork(web, port, name=worker.name, ready="listening")


async def main(port: int = 8000) -> None:
    async with actorcluster.open_primary() as primary:
        await keep_alive(primary, port)


if __name__ == "__main__":
    actorcluster.run(main, *map(int, sys.argv[1:]))
