"""Restarts of a process that fails as soon as it runs: the least that is possible.

See ``floorfork.py``. Like every program, the process ends by the exit of its interpreter.
"""

from __future__ import annotations

import trio

from benchmarks.programs.common import Arguments, arguments, now, say
from benchmarks.programs.floorfork import ForkFloor, ended, receive


async def count_until(floor: ForkFloor, until: float) -> int:
    """Count processes that said that they are up, and ended."""
    count = 0
    while now() < until:
        end = floor.start()
        assert await receive(end) == "hello"
        await ended(floor.pid())
        end.close()
        count += 1
    return count


async def main(given: Arguments) -> None:
    warmup, seconds = given.phases()
    floor = ForkFloor("fail")
    await count_until(floor, now() + warmup)
    started = now()
    count = await count_until(floor, started + seconds)
    took = now() - started
    floor.close()
    say(sent=count, received=count, seconds=took)


if __name__ == "__main__":
    trio.run(main, arguments())
