"""From the start of a worker to its first message, with ``multiprocessing``.

Its fork server has Trio imported beforehand, as ours has. For ``mode`` see `start_ours`.
"""

from __future__ import annotations

import multiprocessing
import signal
from typing import Any

from benchmarks.programs.common import Arguments, arguments, now, say, spread

PRELOAD = ["__main__", "trio"]


def hello(connection: Any) -> None:
    """Say that it is up."""
    connection.send("hello")
    signal.pause()


def start_one(context: Any) -> float:
    """Start a worker, wait for its first message, end it; returns when the message came."""
    ours, theirs = context.Pipe()
    process = context.Process(target=hello, args=(theirs,))
    process.start()
    theirs.close()
    body = ours.recv()
    arrived = now()
    assert body == "hello"
    process.kill()
    process.join()
    process.close()
    ours.close()
    return arrived


def main(given: Arguments) -> None:
    warmup, seconds = given.phases()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    times = []
    if given.text("mode", "warm") == "cold":
        times.append(start_one(context) - given.number("since", 0))
    else:
        measured = now() + warmup
        start_one(context)
        while now() < measured:
            start_one(context)
        until = now() + seconds
        while (started := now()) < until:
            times.append(start_one(context) - started)
    say(sent=len(times), received=len(times), seconds=sum(times), **spread(times))


if __name__ == "__main__":
    main(arguments())
