"""From the start of a worker to its first message, with actorcluster.

``mode=cold`` counts from the moment that the caller gives as ``since``, before this program was
started, to the first message of its first worker; ``mode=warm`` is one worker after another.
"""

from __future__ import annotations

import trio

import actorcluster
from actorcluster import Actor, Primary
from benchmarks.programs.common import Arguments, arguments, now, say, spread


async def hello(actor: Actor) -> None:
    """Say that it is up."""
    await actor.send("hello")
    await trio.sleep_forever()


async def start_one(primary: Primary) -> float:
    """Start a worker, wait for its first message, end it; returns when the message came."""
    worker = await primary.fork(hello)
    message = await worker.mailbox.receive()
    arrived = now()
    assert message.body == "hello"
    worker.kill("SIGKILL")
    await worker.wait()
    return arrived


async def main(given: Arguments) -> None:
    warmup, seconds = given.phases()
    times = []
    async with actorcluster.open_primary() as primary:
        if given.text("mode", "warm") == "cold":
            times.append(await start_one(primary) - given.number("since", 0))
        else:
            measured = now() + warmup
            await start_one(primary)  # this one starts the fork server
            while now() < measured:
                await start_one(primary)
            until = now() + seconds
            while (started := now()) < until:
                times.append(await start_one(primary) - started)
    say(sent=len(times), received=len(times), seconds=sum(times), **spread(times))


if __name__ == "__main__":
    trio.run(main, arguments())
