"""A worker that tells how it was started; also a script, and a module."""

from __future__ import annotations

import os
import sys
from typing import Any

import actorcluster
from actorcluster import Actor


def facts() -> dict[str, Any]:
    """What the settings have made of this process."""
    return {
        "argv": sys.argv[1:],
        "cwd": os.getcwd(),
        "env": {name: value for name, value in os.environ.items() if name.startswith("TOLD")},
        "flags": [sys.flags.optimize, sys.flags.dont_write_bytecode],
        "preloaded": "json.tool" in sys.modules,
    }


async def tell(actor: Actor) -> None:
    """Send it, and print something."""
    os.write(1, b"printed")
    if "3" in os.environ.get("TOLD_STREAMS", ""):
        os.write(3, b"further")
    await actor.send({**facts(), "id": actor.id, "name": actor.name})


if actorcluster.is_worker() and __name__ == "__main__":
    actorcluster.run_worker(tell)
