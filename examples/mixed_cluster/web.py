"""The Python program of the mixed cluster: a script that is a worker when a primary starts it."""

from __future__ import annotations

import os
import sys

import trio

import actorcluster
from actorcluster import Actor


async def main(actor: Actor) -> None:
    log = open(os.environ.get("ACCESS_LOG", os.devnull), "ab", buffering=0)  # noqa: SIM115, ASYNC230  (open to the end)
    most = int(os.environ.get("MAX_CONNECTIONS", "0")) or None

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            try:
                request = await read_head(stream)
                if not request:
                    return  # it connected and left
                path = request.split()[1]
                log.write(path + b"\n")  # one write, before anything else
                body = b"hello from %s, process %d\n" % (actor.name.encode(), os.getpid())
                head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
                await stream.send_all(head % len(body) + body)
            except trio.BrokenResourceError:
                pass  # gone in the middle of it

    port, host = int(sys.argv[1]), "127.0.0.1"
    listeners = await actor.listen_tcp(port, host=host, max_connections=most)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        async for message in actor.mailbox:
            with message:
                match message.body:
                    case ["echo", value]:
                        await message.reply(value)


async def read_head(stream: trio.SocketStream) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        piece = await stream.receive_some()
        if not piece:
            return b""
        head += piece
    return head


if __name__ == "__main__":
    if actorcluster.is_worker():
        actorcluster.run_worker(main)
    else:
        print("this is a worker: run mixed.py, which starts it")
