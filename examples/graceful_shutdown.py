"""Ask workers whose connections never end to leave; kill the one that does not within a second.

$ python examples/graceful_shutdown.py [PORT]     # then connect two clients
"""

from __future__ import annotations

import contextlib
import functools
import sys

import trio

import actorcluster
from actorcluster import Actor, ExitStatus, Worker, events


async def serve(actor: Actor, port: int, polite: bool) -> None:
    closing = trio.Event()

    async def hold(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(f"hello from {actor.name}\n".encode())
            await actor.send("a client came")
            await closing.wait()  # a connection that never ends by itself
            with contextlib.suppress(trio.BrokenResourceError):  # the client has left by itself
                await stream.send_all(b"goodbye\n")

    listeners = await actor.listen_tcp(port, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(functools.partial(trio.serve_listeners, hold, listeners))
        async for message in actor.mailbox:
            if message.body == "shutdown" and polite:
                closing.set()


async def shut_down(worker: Worker) -> ExitStatus:
    """What ``worker.disconnect(timeout=...)`` does in finer steps, by hand."""
    await worker.send("shutdown")
    with trio.move_on_after(1):
        return await worker.disconnect()  # gone as soon as its connections are
    print(f"{worker.name} is still here after a second")
    worker.kill("SIGKILL")
    return await worker.wait()


async def report(worker: Worker) -> None:
    print(f"{worker.name} is gone: {await shut_down(worker)}")


async def main(port: int = 8000) -> None:
    async with actorcluster.open_primary() as primary:
        workers = [
            await primary.fork(serve, port, True, name="polite"),
            await primary.fork(serve, port, False, name="stubborn"),
        ]
        for worker in workers:
            listening = await primary.wait_for(events.Listening, worker)
            print(f"{worker.name} listens on", *listening.address)
        for worker in workers:
            await worker.mailbox.receive()  # each has a client now
        async with trio.open_nursery() as nursery:
            for worker in workers:
                nursery.start_soon(report, worker)


if __name__ == "__main__":
    actorcluster.run(main, *map(int, sys.argv[1:]))
