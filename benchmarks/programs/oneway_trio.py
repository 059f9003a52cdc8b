"""One-way messages with Trio and msgpack alone: no credit, no acknowledgements, no mailbox."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator
from typing import Any

import trio

from benchmarks.programs.common import Arguments, arguments, now, say
from benchmarks.programs.triopipe import TrioPipe, start


async def send_for(pipe: TrioPipe, seconds: float, data: str | bytes, chunk: int) -> None:
    """Send for so long, looking at the clock once in a chunk; then say how many it were."""
    sent, until = 0, now() + seconds
    while now() < until:
        for _ in range(chunk):
            await pipe.send({"n": sent, "data": data})
            sent += 1
    await pipe.send({"end": sent})


async def receive_all(messages: AsyncIterator[Any]) -> dict[str, Any]:
    """Look at every message until the one that says how many were sent."""
    received = checksum = 0
    async for body in messages:
        if "end" in body:
            return {"sent": body["end"], "received": received, "checksum": checksum}
        received += 1
        checksum += body["n"] + len(body["data"])
    raise AssertionError("the pipe ended before the messages did")


async def receiver(end: socket.socket) -> None:
    """Receive all, say what it was, and again."""
    pipe = TrioPipe(end)
    messages = pipe.messages()
    while True:
        await pipe.send(await receive_all(messages))


async def sender(end: socket.socket, data: str | bytes, chunk: int) -> None:
    """Send for as many seconds as the primary says."""
    pipe = TrioPipe(end)
    async for seconds in pipe.messages():
        await send_for(pipe, seconds, data, chunk)


async def measure(end: socket.socket, given: Arguments, *, to_worker: bool) -> None:
    """Be the primary."""
    data, chunk = given.data(), given.whole("chunk", 256)
    pipe = TrioPipe(end)
    messages = pipe.messages()
    result: dict[str, Any] = {}
    for seconds in given.phases():
        started = now()
        if to_worker:
            await send_for(pipe, seconds, data, chunk)
            result = await anext(messages)
        else:
            await pipe.send(seconds)
            result = await receive_all(messages)
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
