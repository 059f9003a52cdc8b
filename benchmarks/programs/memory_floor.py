"""So many workers, each of which has answered one message: the least that is possible.

See ``floorfork.py``.
"""

from __future__ import annotations

import sys

import msgpack
import trio

from benchmarks.programs.common import Arguments, arguments, say
from benchmarks.programs.floorfork import ForkFloor, kill, receive


async def main(given: Arguments) -> None:
    floor = ForkFloor()
    workers, ends, received = [], [], 0
    for number in range(given.whole("workers", 8)):
        end = floor.start()
        assert await receive(end) == "hello"
        end.send(msgpack.packb(number))
        received += await receive(end) == number
        workers.append(floor.pid())
        ends.append(end)
    say(workers=workers)
    await trio.lowlevel.wait_readable(sys.stdin)  # closed when they have been looked at
    for pid in workers:
        await kill(pid)
    for end in ends:
        end.close()
    floor.close()
    say(sent=len(workers), received=received)


if __name__ == "__main__":
    trio.run(main, arguments())
