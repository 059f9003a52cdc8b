"""``python -m package``: the function of a worker is this file's own."""

from __future__ import annotations

import trio

from actorcluster import Actor
from tests.e2e.programs import report

from .neighbour import WORD


async def tell(actor: Actor, word: str) -> None:
    """Send what this worker is."""
    await actor.send({"word": f"{word}, {WORD}", "module": __name__, "package": __package__})


if __name__ == "__main__":
    trio.run(report.main, tell)
