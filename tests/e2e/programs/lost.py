"""A primary that starts workers, says their pids, and waits to be killed."""

from __future__ import annotations

import sys

import trio

from actorcluster import open_primary
from tests.e2e import actors


async def main(method: str) -> None:
    async with open_primary(settings={"start_method": method}) as primary:
        idle = await primary.fork(actors.idle)
        busy = await primary.fork(actors.never_returns)
        cleaning = await primary.fork(actors.cleans_up)
        await busy.mailbox.receive()
        with await busy.mailbox.receive() as question:
            await question.reply("yes")
        print(idle.pid, busy.pid, cleaning.pid, flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
