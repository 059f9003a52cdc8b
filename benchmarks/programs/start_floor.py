"""From the start of a worker to its first message: the least that is possible.

See ``floorfork.py``, and `start_ours` for ``mode``.
"""

from __future__ import annotations

import trio

from benchmarks.programs.common import Arguments, arguments, now, say, spread
from benchmarks.programs.floorfork import ForkFloor, kill, receive


async def start_one(floor: ForkFloor) -> float:
    """Start a worker, wait for its first message, end it; returns when the message came."""
    end = floor.start()
    body = await receive(end)
    arrived = now()
    assert body == "hello"
    await kill(floor.pid())
    end.close()
    return arrived


async def main(given: Arguments) -> None:
    warmup, seconds = given.phases()
    times = []
    floor = ForkFloor()
    if given.text("mode", "warm") == "cold":
        times.append(await start_one(floor) - given.number("since", 0))
    else:
        measured = now() + warmup
        await start_one(floor)  # for this one Python and Trio are imported
        while now() < measured:
            await start_one(floor)
        until = now() + seconds
        while (started := now()) < until:
            times.append(await start_one(floor) - started)
    floor.close()
    say(sent=len(times), received=len(times), seconds=sum(times), **spread(times))


if __name__ == "__main__":
    trio.run(main, arguments())
