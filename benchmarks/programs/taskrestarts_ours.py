"""Restarts of a task that crashes at once, with one who is told of each."""

from __future__ import annotations

import logging

import trio

import actorcluster
from actorcluster import Actor, Backoff, Child, Supervisor, events
from benchmarks.programs.common import Arguments, arguments, now, say


async def crashes(_: Actor) -> None:
    """Fail."""
    raise ValueError("at once")


async def count_until(restarts: events.Subscription[events.Restart], until: float) -> int:
    """Count restarts."""
    count = 0
    while now() < until:
        event = await anext(restarts)
        assert isinstance(event, events.Restart)
        assert event.status.reason == "error"
        count += 1
    return count


async def main(given: Arguments) -> None:
    logging.getLogger("actorcluster").setLevel(logging.CRITICAL)  # the other one logs nothing
    warmup, seconds = given.phases()
    child = Child("crashes", crashes, run="task", backoff=Backoff(min=0, max=0))
    tree = Supervisor(children=[child], max_restarts=10**9, within=1.0)
    async with actorcluster.open_primary(tree) as primary:
        with primary.events(events.Restart) as restarts:
            await count_until(restarts, now() + warmup)
            started = now()
            count = await count_until(restarts, started + seconds)
            took = now() - started
    say(sent=count, received=count, seconds=took)


if __name__ == "__main__":
    trio.run(main, arguments())
