"""A service whose one worker repeats what its clients say: prints its port, until it is stopped."""

from __future__ import annotations

import trio

from actorcluster import events, open_primary, run
from tests.node_parity import actors


async def main() -> None:
    async with open_primary() as primary:
        worker = await primary.fork(actors.obeys, ["listen"], ready="listening", shutdown=60)
        print((await primary.wait_for(events.Listening, worker)).address[1], flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    run(main)
