"""The workers tell the primary about each HTTP request, and the primary counts them.

$ python examples/count_requests.py [PORT]
"""

from __future__ import annotations

import os
import sys

import _http

import actorcluster
from actorcluster import Actor, Primary, events


async def web(actor: Actor, port: int) -> None:
    async def hello(target: str) -> str:
        await actor.send({"cmd": "notify_request", "target": target})
        return "hello world\n"

    await _http.serve_http(await actor.listen_tcp(port, host="127.0.0.1"), hello)


async def count(primary: Primary) -> None:
    requests = 0
    async for message in primary.mailbox:  # the mail of all workers, merged
        match message.body:
            case {"cmd": "notify_request", "target": target}:
                requests += 1
                print(f"requests = {requests} ({message.sender.name} served {target})")


async def main(port: int = 8000) -> None:
    async with actorcluster.open_primary() as primary:
        for _ in range(os.cpu_count() or 1):
            worker = await primary.fork(web, port)
        listening = await primary.wait_for(events.Listening, worker)
        print("listening on", *listening.address)
        await count(primary)


if __name__ == "__main__":
    actorcluster.run(main, *map(int, sys.argv[1:]))
