"""An HTTP server on one port, shared by one worker process per core.

$ python examples/http_hello.py [PORT]
"""

from __future__ import annotations

import os
import sys

import _http

import actorcluster
from actorcluster import Actor, events


async def web(actor: Actor, port: int) -> None:
    listeners = await actor.listen_tcp(port, host="127.0.0.1")
    await _http.serve_http(listeners, hello)


async def hello(target: str) -> str:
    return f"hello world, this is process {os.getpid()}, and that was {target}\n"


async def main(port: int = 8000) -> None:
    print(f"primary {os.getpid()} is running")
    async with actorcluster.open_primary() as primary:
        with primary.events(events.Listening, events.Exit) as happenings:
            for _ in range(os.cpu_count() or 1):
                await primary.fork(web, port)
            async for event in happenings:
                match event:
                    case events.Listening(worker=worker, address=(host, shared)):
                        print(f"worker {worker.pid} started on http://{host}:{shared}/")
                    case events.Exit(worker=worker, status=status):
                        print(f"worker {worker.pid} died: {status}")


if __name__ == "__main__":
    actorcluster.run(main, *map(int, sys.argv[1:]))
