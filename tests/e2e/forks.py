"""A worker that tells what was imported in its very process; to be preloaded."""

from __future__ import annotations

import os
import sys

import trio

from actorcluster import Actor

before: set[str] = set()

os.register_at_fork(after_in_child=lambda: before.update(sys.modules))


async def imported(actor: Actor) -> None:
    """Send which modules were imported since the fork, if there was one."""
    await actor.send(sorted(sys.modules.keys() - before))
    await trio.sleep_forever()
