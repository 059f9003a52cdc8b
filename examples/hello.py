"""One port, shared by one worker process per core. Needs nothing but actorcluster.

$ python examples/hello.py [PORT]
"""

import os
import sys

import trio

import actorcluster
from actorcluster import Actor, events


async def web(actor: Actor, port: int) -> None:  # runs inside each worker process
    listeners = await actor.listen_tcp(port, host="127.0.0.1")  # one port for all of them
    await trio.serve_listeners(hello, listeners)  # they are plain Trio listeners


async def hello(stream: trio.SocketStream) -> None:
    async with stream:
        await stream.send_all(f"hello from process {os.getpid()}\n".encode())


async def main(port: int = 8000) -> None:
    async with actorcluster.open_primary() as primary:  # left: every worker is gone
        with primary.events(events.Listening, events.Exit) as happenings:
            for _ in range(os.cpu_count() or 1):
                await primary.fork(web, port, ready="listening")
            async for event in happenings:
                print(event)


if __name__ == "__main__":
    actorcluster.run(main, *map(int, sys.argv[1:]))
