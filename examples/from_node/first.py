"""$ python first.py PORT"""

import sys

import trio

import actorcluster
from actorcluster import Actor, current_actor


async def web(actor: Actor, port: int) -> None:
    listeners = await actor.listen_tcp(port, host="127.0.0.1")
    await trio.serve_listeners(hello, listeners)


async def hello(stream: trio.SocketStream) -> None:
    await stream.send_all(b"hello from worker %d\n" % current_actor().id)


async def main(port: int) -> None:
    async with actorcluster.open_primary() as primary:
        for _ in range(2):
            worker = await primary.fork(web, port, ready="listening")
            print(f"worker {worker.id} is listening", flush=True)
        await primary.wait()


if __name__ == "__main__":
    actorcluster.run(main, int(sys.argv[1]))
