"""Connections with actorcluster: two workers on one port, each request on a connection of its own.

``style=listeners`` is ``trio.serve_listeners`` and its streams; ``style=raw`` accepts in a loop of
its own and uses the Trio socket inside each stream.
"""

from __future__ import annotations

import sys

import trio

import actorcluster
from actorcluster import SCHED_NONE, SCHED_RR, Actor, events
from benchmarks.programs.common import RESPONSE, Arguments, arguments, say

WORKERS = 2


class Server:
    """Answers requests and counts them."""

    def __init__(self) -> None:
        self.served = 0

    def look(self, request: bytes) -> None:
        """Look at a request."""
        if request.startswith(b"GET ") and request.endswith(b"\r\n\r\n"):
            self.served += 1

    async def answer(self, stream: trio.SocketStream) -> None:
        """Answer one request on a stream."""
        async with stream:
            self.look(await stream.receive_some(4096))
            await stream.send_all(RESPONSE)

    async def serve(self, listener: trio.abc.Listener[trio.SocketStream]) -> None:
        """Accept, and answer each connection in a task of its own, without streams."""
        async with trio.open_nursery() as nursery:
            while True:
                stream = await listener.accept()
                nursery.start_soon(self.answer_raw, stream.socket)

    async def answer_raw(self, sock: trio.socket.SocketType) -> None:
        """Answer one request on a Trio socket."""
        with sock:
            self.look(await sock.recv(4096))
            await sock.send(RESPONSE)


async def worker(actor: Actor, style: str) -> None:
    """Serve, and say how much was served when asked."""
    server = Server()
    listeners = await actor.listen_tcp(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        if style == "listeners":
            nursery.start_soon(trio.serve_listeners, server.answer, listeners)
        else:
            nursery.start_soon(server.serve, listeners[0])
        async for message in actor.mailbox:
            with message:
                await message.reply(server.served)


async def main(given: Arguments) -> None:
    policy = SCHED_RR if given.text("policy", "rr") == "rr" else SCHED_NONE
    async with actorcluster.open_primary(scheduling_policy=policy) as primary:
        style = given.text("style", "listeners")
        workers = [await primary.fork(worker, style, ready="listening") for _ in range(WORKERS)]
        listening = await primary.wait_for(events.Listening, workers[0])
        say(port=listening.address[1])
        await trio.lowlevel.wait_readable(sys.stdin)  # closed when the client is through
        say(served=[await one.ask(None) for one in workers])
        for one in workers:
            one.kill("SIGKILL")


if __name__ == "__main__":
    trio.run(main, arguments())
