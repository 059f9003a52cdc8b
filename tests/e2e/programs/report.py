"""Starts a worker by each method, and says as JSON what each of them is and where it found itself.

The function is this program's own, so a worker has to import the program again.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import trio

import actorcluster
from actorcluster import Actor

METHODS = ("forkserver", "exec")


async def tell(actor: Actor, word: str) -> None:
    """Send what this worker is."""
    main = sys.modules["__main__"]
    await actor.send(
        {
            "word": word,
            "argv": json.dumps(sys.argv),  # a path may have no UTF-8
            "module": __name__,
            "package": __package__,
            "main": main.__name__,
            "same": main is sys.modules.get("__actorcluster_main__"),
        }
    )


async def main(target: Any = tell) -> None:
    """Print a line for each worker."""
    async with actorcluster.open_primary(settings={"args": ["its", "own"]}) as primary:
        for method in METHODS:
            worker = await primary.fork(target, "hello", settings={"start_method": method})
            with trio.fail_after(60):
                message = await worker.mailbox.receive()
                status = await worker.wait()
            facts = message.body | {"method": worker.start_method, "status": str(status)}
            print(json.dumps(facts))
    print("after the block")


if __name__ == "__main__":
    actorcluster.run(main)
