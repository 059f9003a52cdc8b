"""Names and monitors: one key for many jobs; who dies while he has it gives it back by dying.

$ python examples/key_keeper.py

The keeper is found by its name. It watches whom it has given the key, and hears of the end of
that very life, however it comes: the others wait for their answer meanwhile, and no longer.
"""

from __future__ import annotations

import os
import signal

import actorcluster
from actorcluster import Actor, Child, Down, Supervisor

JOBS = {"tidy": "returns", "careless": "gives up", "doomed": "is killed"}


async def keeper(actor: Actor) -> None:
    async for message in actor.mailbox:
        with message:
            async with message.sender.monitor() as monitor:  # before it can end unseen
                await message.reply("the key")
                await actor.send(f"{message.sender.name} has the key")
                down = await monitor.wait()
        await actor.send(f"the key is back: {told(down)}")


async def job(actor: Actor, how: str) -> None:
    await actor.ref("keeper").ask("may I?")  # waits for its turn, and for the keeper
    if how == "gives up":
        raise SystemExit(3)
    if how == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)


def told(down: Down) -> str:
    return f"{down.ref.name} has ended, {down.status}"


def tree() -> Supervisor:
    jobs = [Child(name, job, args=[how], restart="temporary") for name, how in JOBS.items()]
    return Supervisor(children=[Child("keeper", keeper), *jobs])


async def main() -> None:
    async with actorcluster.open_primary(tree()) as primary:
        for _ in range(2 * len(JOBS)):
            with await primary.mailbox.receive() as message:
                print(message.body, flush=True)
        for name in "doomed", "nobody":
            async with primary.ref(name).monitor() as monitor:  # too late, which it says at once
                print(f"the primary asks: {told(await monitor.wait())}", flush=True)


if __name__ == "__main__":
    actorcluster.run(main)
