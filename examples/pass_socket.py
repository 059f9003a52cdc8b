"""The primary accepts with plain Trio and passes each socket on to the worker of its client.

A shared port deals connections in turn. Here the same client address always reaches the same
worker, which may therefore remember things about it.

$ python examples/pass_socket.py [PORT]
"""

from __future__ import annotations

import ipaddress
import sys

import trio

import actorcluster
from actorcluster import Actor, Worker


async def greeter(actor: Actor) -> None:
    visits: dict[str, int] = {}

    async def greet(stream: trio.abc.Stream, client: str) -> None:
        visits[client] = visits.get(client, 0) + 1
        with actor.busy():  # lets it finish when we are told to stop
            async with stream:
                await stream.send_all(f"{actor.name}: visit {visits[client]}\n".encode())

    async with trio.open_nursery() as nursery:
        async for message in actor.mailbox:
            with message:
                assert message.handle is not None
                nursery.start_soon(greet, message.handle.into_stream(), message.body["client"])


async def main(port: int = 8000) -> None:
    async with actorcluster.open_primary() as primary:
        workers: list[Worker] = [await primary.fork(greeter) for _ in range(2)]

        async def pass_on(stream: trio.SocketStream) -> None:
            client = stream.socket.getpeername()[0]
            worker = workers[int(ipaddress.ip_address(client)) % len(workers)]
            await worker.send({"client": client}, handle=stream)  # ours is closed by that
            print(f"{client} goes to {worker.name}")

        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
        print("listening on", *listeners[0].socket.getsockname())
        await trio.serve_listeners(pass_on, listeners)


if __name__ == "__main__":
    actorcluster.run(main, *map(int, sys.argv[1:]))
