"""``python -m benchmarks.tasks``: how long ten thousand tasks take to start and to stop."""

from __future__ import annotations

import sys
import time
from typing import Final

import click
import trio

from actorcluster import Actor, Child, Supervisor, open_primary

#: Seconds for each of the two, on a quiet machine.
MOST: Final = 5.0


async def _rests(_: Actor) -> None:
    """Live until it is told to stop."""
    await trio.sleep_forever()


async def measure(count: int) -> tuple[float, float]:
    """Start so many, one after the other, and stop them; gives the seconds of each."""
    children = [Child(f"t{number}", _rests, run="task") for number in range(count)]
    begin = time.perf_counter()
    async with open_primary(Supervisor(children=children)) as primary:
        started = time.perf_counter()
        if len(primary.workers) != count:
            raise RuntimeError(f"{len(primary.workers)} of {count} tasks are there")
        stop = time.perf_counter()
    return started - begin, time.perf_counter() - stop


@click.command()
@click.option("--count", default=10_000, show_default=True, type=click.IntRange(min=1))
def main(count: int) -> None:
    """Start many tasks and stop them; fail if either takes more than five seconds."""
    start, stop = trio.run(measure, count)
    click.echo(f"{count} tasks: started in {start:.2f} s, stopped in {stop:.2f} s")
    sys.exit(1 if max(start, stop) > MOST else 0)


if __name__ == "__main__":
    main()
