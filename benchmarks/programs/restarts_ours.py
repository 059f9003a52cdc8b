"""Restarts of a worker that exits as soon as it runs, with actorcluster's supervisor."""

from __future__ import annotations

import trio

import actorcluster
from actorcluster import Actor, Backoff, Child, Supervisor, events
from benchmarks.programs.common import Arguments, arguments, now, say


async def exits(_: Actor) -> None:
    """Fail."""
    raise SystemExit(1)


async def count_until(exited: events.Subscription[events.Event], until: float) -> int:
    """Count workers that exit."""
    count = 0
    while now() < until:
        event = await anext(exited)
        assert isinstance(event, events.Exit)
        assert event.status.code == 1
        count += 1
    return count


async def main(given: Arguments) -> None:
    warmup, seconds = given.phases()
    child = Child("crashes", exits, backoff=Backoff(min=0, max=0))
    tree = Supervisor(children=[child], max_restarts=10**9)
    async with actorcluster.open_primary(tree) as primary:
        with primary.events(events.Exit) as exited:
            await count_until(exited, now() + warmup)
            started = now()
            count = await count_until(exited, started + seconds)
            took = now() - started
    say(sent=count, received=count, seconds=took)


if __name__ == "__main__":
    trio.run(main, arguments())
