"""$ python leave.py PORT"""

import functools
import sys

import trio

import actorcluster
from actorcluster import Actor


async def web(actor: Actor, port: int) -> None:
    listeners = await actor.listen_tcp(port, host="127.0.0.1")
    await trio.serve_listeners(functools.partial(serve, actor), listeners)


async def serve(actor: Actor, stream: trio.SocketStream) -> None:
    await stream.send_all(b"welcome\n")
    await actor.send("there is a client")
    await stream.receive_some()
    await stream.send_all(b"goodbye\n")


async def main(port: int) -> None:
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(web, port, ready="listening")
        print("listening", flush=True)
        await worker.mailbox.receive()
        print("the worker is told to leave", flush=True)
        await worker.disconnect()
        told = "yes" if worker.exited_after_disconnect else "no"
        print(f"it has left, because it was told to: {told}")


if __name__ == "__main__":
    actorcluster.run(main, int(sys.argv[1]))
