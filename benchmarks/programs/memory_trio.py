"""So many interpreters that run Trio, each of which has answered one message."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import trio

from benchmarks.programs.common import Arguments, arguments, say

WORKER = """\
import trio, msgpack
async def main():
    source, sink = trio.lowlevel.FdStream(0), trio.lowlevel.FdStream(1)
    while data := await source.receive_some():
        await sink.send_all(msgpack.packb(msgpack.unpackb(data)))
trio.run(main)
"""


async def main(given: Arguments) -> None:
    command = [sys.executable, "-c", WORKER]
    pipe = subprocess.PIPE
    run = partial(trio.run_process, command, stdin=pipe, stdout=pipe, check=False)
    async with trio.open_nursery() as nursery:
        workers: list[trio.Process] = [
            await nursery.start(run) for _ in range(given.whole("workers", 8))
        ]
        received = 0
        for worker in workers:
            assert worker.stdin is not None
            assert worker.stdout is not None
            await worker.stdin.send_all(b"\x07")
            received += await worker.stdout.receive_some() == b"\x07"
        say(workers=[worker.pid for worker in workers])
        await trio.lowlevel.wait_readable(sys.stdin)  # closed when they have been looked at
        for worker in workers:
            worker.kill()
    say(sent=len(workers), received=received)


if __name__ == "__main__":
    trio.run(main, arguments())
