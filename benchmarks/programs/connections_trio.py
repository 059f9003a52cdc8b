"""Connections with Trio alone: two forked processes accept on the socket that they share."""

from __future__ import annotations

import os
import signal
import socket
import sys

import trio

from benchmarks.programs.common import arguments, say
from benchmarks.programs.connections_ours import WORKERS, Server


def serve(listening: socket.socket, style: str, ask: int, answer: int) -> None:
    """Be a worker: serve, and say how much was served when asked."""
    server = Server()

    async def main() -> None:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
        async with trio.open_nursery() as nursery:
            if style == "listeners":
                nursery.start_soon(trio.serve_listeners, server.answer, [listener])
            else:
                nursery.start_soon(server.serve, listener)
            await trio.lowlevel.wait_readable(ask)
            os.write(answer, server.served.to_bytes(8, "big"))

    trio.run(main)


def main() -> None:
    style = arguments().text("style", "listeners")
    listening = socket.create_server(("127.0.0.1", 0), backlog=511)
    ask, ask_all = os.pipe()
    pids, answers = [], []
    for _ in range(WORKERS):
        answers.append(os.pipe())
        pids.append(os.fork())
        if not pids[-1]:
            serve(listening, style, ask, answers[-1][1])
    say(port=listening.getsockname()[1])
    sys.stdin.read()  # until the client is through
    os.write(ask_all, b"?")
    say(served=[int.from_bytes(os.read(ours, 8), "big") for ours, _ in answers])
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
