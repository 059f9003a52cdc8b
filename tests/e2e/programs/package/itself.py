"""One program, primary and worker, in Node's style: the worker is this program once more.

Run by ``python -m``, as its relative import needs.
"""

from __future__ import annotations

import json
import sys

import trio

import actorcluster
from actorcluster import Actor

from .neighbour import WORD


async def worker(actor: Actor) -> None:
    """Send what this worker is."""
    await actor.send({"word": WORD, "name": __name__, "argv": sys.argv[1:]})


async def main() -> None:
    """Print a line for each worker."""
    async with actorcluster.open_primary(settings={"args": ["its", "own"]}) as primary:
        for method in ("forkserver", "exec"):
            forked = await primary.fork(settings={"start_method": method})
            with trio.fail_after(60):
                message = await forked.mailbox.receive()
                status = await forked.wait()
            facts = message.body | {"method": forked.start_method, "status": str(status)}
            print(json.dumps(facts))
    print("after the block")


if __name__ == "__main__":
    if actorcluster.is_worker():
        actorcluster.run_worker(worker)
    else:
        actorcluster.run(main)
