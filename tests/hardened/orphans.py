"""A primary with workers that leave in every way or in none: ``python -m tests.hardened.orphans``.

Each worker says ``kind method pid`` when it is as it should be. The primary ends as its first
argument says once it gets SIGUSR1, or by the signal that somebody sends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

import trio

import actorcluster
from actorcluster import Actor, Primary

METHODS = ("forkserver", "exec")
KINDS = ("idle", "stopped", "holding the interpreter", "looping")  # the last need a processor
SHUTDOWN_TIMEOUT = 0.5


async def worker(actor: Actor, kind: str, method: str) -> None:
    """Be of that kind for ever."""
    os.write(1, f"{kind}: {method} {os.getpid()}\n".encode())
    if kind == "looping":
        while True:
            pass
    if kind == "holding the interpreter":
        ctypes.PyDLL(None).pause()
    if kind == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    await trio.sleep_forever()


async def fork(primary: Primary, kind: str, method: str) -> None:
    """Have one worker."""
    await primary.fork(worker, kind, method, settings={"start_method": method})


async def main(end: str) -> None:
    """Have a worker of each kind by each method, and end."""
    with trio.open_signal_receiver(signal.SIGUSR1) as told:
        async with actorcluster.open_primary(shutdown_timeout=SHUTDOWN_TIMEOUT) as primary:
            for kind in KINDS:
                async with trio.open_nursery() as nursery:
                    for method in METHODS:
                        nursery.start_soon(fork, primary, kind, method)
            await anext(told)
            if end == "_exit":
                os._exit(3)
            raise ArithmeticError("the end")


if __name__ == "__main__":
    {"run": actorcluster.run, "trio": trio.run}[sys.argv[2]](main, sys.argv[1])
