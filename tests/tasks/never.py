"""A program with a task that never comes to a checkpoint, and one in a process."""

from __future__ import annotations

import sys

import trio

import actorcluster
from actorcluster import Actor, Child, Supervisor


async def spins(_: Actor) -> None:
    """Hold the loop for ever."""
    print("spins", flush=True)
    while True:
        pass


async def waits(_: Actor) -> None:
    """Do nothing."""
    await trio.sleep_forever()


async def main() -> None:
    tree = Supervisor(
        children=[Child("p", waits), Child("a", spins, run="task", ready=sys.argv[1])]  # type: ignore[arg-type]  # one of the three words
    )
    async with actorcluster.open_primary(tree):
        await trio.sleep_forever()


if __name__ == "__main__":
    actorcluster.run(main)
