import os
import signal
import sys

import actorcluster
from actorcluster import Actor, events


async def dies(actor: Actor) -> None:
    if actor.id == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit(actor.id)


async def main() -> None:
    async with actorcluster.open_primary() as primary:
        with primary.events(events.Exit) as exits:
            primary.fork_soon(dies)
            async for event in exits:
                print(f"worker {event.worker.id} ended: {event.status.signal or event.status.code}")
                if event.worker.id == 3:
                    break
                primary.fork_soon(dies)


if __name__ == "__main__":
    actorcluster.run(main)
