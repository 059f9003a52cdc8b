"""From the start of a worker to its first message, with Trio alone: an interpreter for each.

For ``mode`` see `start_ours`.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import trio

from benchmarks.programs.common import Arguments, arguments, now, say, spread

WORKER = """\
import trio
async def main():
    async with trio.lowlevel.FdStream(1) as stream:
        await stream.send_all(b"hello")
        await trio.sleep_forever()
trio.run(main)
"""


async def start_one() -> float:
    """Start a worker, wait for its first message, end it; returns when the message came."""
    command = [sys.executable, "-c", WORKER]
    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, command, stdout=subprocess.PIPE, check=False)
        process: trio.Process = await nursery.start(run)
        assert process.stdout is not None
        body = await process.stdout.receive_some()
        arrived = now()
        assert body == b"hello"
        process.kill()
    return arrived


async def main(given: Arguments) -> None:
    warmup, seconds = given.phases()
    times = []
    if given.text("mode", "warm") == "cold":
        times.append(await start_one() - given.number("since", 0))
    else:
        measured = now() + warmup
        await start_one()
        while now() < measured:
            await start_one()
        until = now() + seconds
        while (started := now()) < until:
            times.append(await start_one() - started)
    say(sent=len(times), received=len(times), seconds=sum(times), **spread(times))


if __name__ == "__main__":
    trio.run(main, arguments())
