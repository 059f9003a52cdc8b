"""A primary that prints with what flags it and its workers run, and who knew when who they are."""

from __future__ import annotations

import sys

import trio

from actorcluster import open_primary
from tests.node_parity import actors, hand


async def main() -> None:
    own = [sys.warnoptions, sorted(sys._xoptions)]
    same = []
    async with open_primary() as primary:
        for method in ("forkserver", "exec"):
            worker = await primary.fork(actors.obeys, settings={"start_method": method})
            about = await worker.ask(["about"])
            same += [own == about["flags"], about["is_worker"]]
        nested = await worker.ask(["nested"])
        same.append(own == nested["flags"])
    print(len(own[0]), len(own[1]), hand.IS_WORKER, *same)


if __name__ == "__main__":
    trio.run(main)
