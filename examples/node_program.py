"""A program for Node and a worker in Python, supervised, on one port, in turn.

$ python examples/node_program.py [PORT]
$ curl http://127.0.0.1:8000/                     # again and again: each of them answers in turn

Ctrl-C stops both, and ends the program.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import _http

import actorcluster
from actorcluster import Actor, Child, Supervisor, events

PROGRAM = str(Path(__file__).with_name("node_program.js"))


async def web(actor: Actor, port: int) -> None:
    listeners = await actor.listen_tcp(port, host="127.0.0.1")
    await _http.serve_http(listeners, hello)


async def hello(target: str) -> str:
    return f"hello from Python, process {os.getpid()}, that was {target}\n"


async def main(port: int = 8000) -> None:
    node = ["node", PROGRAM, str(port)]
    tree = Supervisor(
        children=[
            Child("node", None, exec=node, protocol="node", ready="listening"),
            Child("python", web, args=[port], ready="listening"),
        ]
    )
    async with actorcluster.open_primary(tree) as primary:
        for worker in primary.workers.values():
            listening = await primary.wait_for(events.Listening, worker)
            print(f"{worker.name} listens on", *listening.address)
        await primary.wait()


if __name__ == "__main__":
    actorcluster.run(main, *map(int, sys.argv[1:]))
