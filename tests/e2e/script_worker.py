"""A worker in script form, as `Settings.exec` names it. A program of its own: imports no test."""

from __future__ import annotations

import os
import sys

import actorcluster


async def tell(actor: actorcluster.Actor) -> None:
    """Send what this worker was started with."""
    await actor.send(
        {
            "args": [],
            "argv": sys.argv,
            "id": actor.id,
            "name": actor.name,
            "incarnation": actor.incarnation,
            "pid": os.getpid(),
            "ppid": os.getppid(),
        }
    )


if actorcluster.is_worker():
    actorcluster.run_worker(tell)
