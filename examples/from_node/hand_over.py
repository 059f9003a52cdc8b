"""$ python hand_over.py PORT"""

import itertools
import sys

import trio

import actorcluster
from actorcluster import Actor


async def serves(actor: Actor) -> None:
    async for message in actor.mailbox:
        assert message.handle is not None
        async with message.handle.into_stream() as stream:
            await stream.send_all(f"{message.body} of worker {actor.id}\n".encode())


async def main(port: int) -> None:
    async with actorcluster.open_primary() as primary:
        workers = itertools.cycle([await primary.fork(serves), await primary.fork(serves)])
        (listener,) = await trio.open_tcp_listeners(port, host="127.0.0.1")
        print("listening", flush=True)
        while True:
            await next(workers).send("a client", await listener.accept())


if __name__ == "__main__":
    actorcluster.run(main, int(sys.argv[1]))
