"""Two functions for workers; a test looks at which of their lines coverage has seen."""

from __future__ import annotations

import actorcluster
from actorcluster import Actor


async def by_forkserver(actor: Actor) -> None:
    """Run by a forked worker."""
    await actor.send("forkserver")


async def by_exec(actor: Actor) -> None:
    """Run by an executed worker."""
    await actor.send("exec")


async def main() -> None:
    """Run each by the method that its name says."""
    async with actorcluster.open_primary() as primary:
        for target, method in ((by_forkserver, "forkserver"), (by_exec, "exec")):
            worker = await primary.fork(target, settings={"start_method": method})
            await worker.wait()


if __name__ == "__main__":
    actorcluster.run(main)
