"""A program whose tree never gets ready: ``python -m tests.e2e.supervised_program``."""

from __future__ import annotations

import trio

import actorcluster
from actorcluster import Actor, Child, Supervisor


async def says(actor: Actor, is_ready: bool) -> None:
    """Say when it begins and ends."""
    print(f"{actor.name} begins", flush=True)
    if is_ready:
        actor.ready()
    try:
        await trio.sleep_forever()
    finally:
        print(f"{actor.name} ends", flush=True)


async def main() -> str:
    tree = Supervisor(
        children=[
            Child("a", says, args=(True,), ready="called"),
            Child("b", says, args=(False,), ready="called"),
        ]
    )
    async with actorcluster.open_primary(tree):
        await trio.lowlevel.checkpoint()
        print("inside the block", flush=True)
    print("behind the block", flush=True)
    return "a value"


if __name__ == "__main__":
    print("returned", actorcluster.run(main), flush=True)
