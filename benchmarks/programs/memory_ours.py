"""So many workers of actorcluster, each of which has answered one message and waits for more."""

from __future__ import annotations

import sys

import trio

import actorcluster
from actorcluster import Actor
from benchmarks.programs.common import Arguments, arguments, say


async def echo(actor: Actor) -> None:
    """Answer every message with what it carries."""
    async for message in actor.mailbox:
        with message:
            await message.reply(message.body)


async def main(given: Arguments) -> None:
    async with actorcluster.open_primary() as primary:
        workers = [await primary.fork(echo) for _ in range(given.whole("workers", 8))]
        answers = [await worker.ask(worker.id) for worker in workers]
        assert answers == [worker.id for worker in workers]
        say(workers=[worker.pid for worker in workers])
        await trio.lowlevel.wait_readable(sys.stdin)  # closed when they have been looked at
        for worker in workers:
            worker.kill("SIGKILL")
    say(sent=len(workers), received=len(answers))


if __name__ == "__main__":
    trio.run(main, arguments())
