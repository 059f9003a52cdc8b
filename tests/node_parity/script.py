"""A worker in script form. A program of its own: imports no test."""

from __future__ import annotations

import os
import sys

import actorcluster


async def tell(actor: actorcluster.Actor) -> None:
    """Send what runs this worker."""
    await actor.send({"executable": sys.executable, "id": actor.id, "pid": os.getpid()})


if actorcluster.is_worker():
    actorcluster.run_worker(tell)
