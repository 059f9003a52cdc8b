"""One-way messages with actorcluster: ``await send`` in a loop, ``async for`` in the mailbox."""

from __future__ import annotations

from typing import Any

import trio

import actorcluster
from actorcluster import Actor, Mailbox, Worker
from benchmarks.programs.common import Arguments, arguments, now, say


async def send_for(receiver: Worker | Actor, seconds: float, data: str | bytes, chunk: int) -> None:
    """Send for so long, looking at the clock once in a chunk; then say how many it were."""
    sent, until = 0, now() + seconds
    while now() < until:
        for _ in range(chunk):
            await receiver.send({"n": sent, "data": data})
            sent += 1
    await receiver.send({"end": sent})


async def receive_all(mailbox: Mailbox) -> dict[str, Any]:
    """Look at every message until the one that says how many were sent."""
    received = checksum = 0
    async for message in mailbox:
        body = message.body
        if "end" in body:
            return {"sent": body["end"], "received": received, "checksum": checksum}
        received += 1
        checksum += body["n"] + len(body["data"])
    raise AssertionError("the mailbox ended before the messages did")


async def receiver(actor: Actor) -> None:
    """Receive all, say what it was, and again."""
    while True:
        await actor.send(await receive_all(actor.mailbox))


async def sender(actor: Actor, argv: list[str]) -> None:
    """Send for as many seconds as the primary says."""
    given = Arguments(argv)
    data, chunk = given.data(), given.whole("chunk", 256)
    async for message in actor.mailbox:
        await send_for(actor, message.body, data, chunk)


async def main(given: Arguments) -> None:
    data, chunk = given.data(), given.whole("chunk", 256)
    result: dict[str, Any] = {}
    async with actorcluster.open_primary() as primary:
        to_worker = given.text("direction", "to_worker") == "to_worker"
        if to_worker:
            worker = await primary.fork(receiver)
        else:
            worker = await primary.fork(sender, given.argv)
        for seconds in given.phases():
            started = now()
            if to_worker:
                await send_for(worker, seconds, data, chunk)
                result = (await worker.mailbox.receive()).body
            else:
                await worker.send(seconds)
                result = await receive_all(worker.mailbox)
            result["seconds"] = now() - started
        worker.kill("SIGKILL")
    say(**result)


if __name__ == "__main__":
    trio.run(main, arguments())
