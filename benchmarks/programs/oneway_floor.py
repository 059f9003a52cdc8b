"""One-way messages at the least that our way to send and receive asks of Python and Trio."""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

import trio

from benchmarks.programs.common import Arguments, arguments, now, say
from benchmarks.programs.floorpipe import FloorPipe
from benchmarks.programs.triopipe import start


async def send_for(pipe: FloorPipe, seconds: float, data: str | bytes, chunk: int) -> None:
    """Send for so long, looking at the clock once in a chunk; then say how many it were."""
    sent, until = 0, now() + seconds
    while now() < until:
        for _ in range(chunk):
            await pipe.send({"n": sent, "data": data})
            sent += 1
    await pipe.send({"end": sent})
    await pipe.flush()


async def receive_all(pipe: FloorPipe) -> dict[str, Any]:
    """Look at every message until the one that says how many were sent."""
    received = checksum = 0
    async for message in pipe:
        body = message.body
        if "end" in body:
            return {"sent": body["end"], "received": received, "checksum": checksum}
        received += 1
        checksum += body["n"] + len(body["data"])
    raise AssertionError("the pipe ended before the messages did")


async def receiver(end: socket.socket) -> None:
    """Receive all, say what it was, and again."""
    pipe = FloorPipe(end)
    while True:
        await pipe.send(await receive_all(pipe))
        await pipe.flush()


async def sender(end: socket.socket, data: str | bytes, chunk: int) -> None:
    """Send for as many seconds as the primary says."""
    pipe = FloorPipe(end)
    async for message in pipe:
        await send_for(pipe, message.body, data, chunk)


async def measure(end: socket.socket, given: Arguments, *, to_worker: bool) -> None:
    """Be the primary."""
    data, chunk = given.data(), given.whole("chunk", 256)
    pipe = FloorPipe(end)
    result: dict[str, Any] = {}
    for seconds in given.phases():
        started = now()
        if to_worker:
            await send_for(pipe, seconds, data, chunk)
            result = (await anext(pipe)).body
        else:
            await pipe.send(seconds)
            await pipe.flush()
            result = await receive_all(pipe)
        result["seconds"] = now() - started
    say(**result)


def main(given: Arguments) -> None:
    to_worker = given.text("direction", "to_worker") == "to_worker"
    if to_worker:
        pid, end = start(receiver)
    else:
        pid, end = start(sender, given.data(), given.whole("chunk", 256))
    try:
        trio.run(lambda: measure(end, given, to_worker=to_worker))
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(arguments())
