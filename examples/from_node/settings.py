import os
import sys

import actorcluster
from actorcluster import Actor, events


async def tells(actor: Actor) -> None:
    await actor.send(f"arguments: {','.join(sys.argv[1:])}, colour: {os.environ['COLOUR']}")


async def main() -> None:
    async with actorcluster.open_primary() as primary:
        with primary.events(events.Setup) as setups:
            primary.setup_primary(args=["one", "two"])
            print(f"setup: {','.join((await anext(setups)).settings.args)}")
        worker = primary.fork_soon(tells, env={"COLOUR": "blue"})
        async for message in worker.mailbox:
            print(message.body)


if __name__ == "__main__":
    actorcluster.run(main)
