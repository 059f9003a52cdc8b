"""Workers and programs for what forking could copy, share or forget."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import trio

import actorcluster
from actorcluster import Actor

METHODS = ("forkserver", "exec")


async def draws(actor: Actor) -> None:
    """Send random numbers, and the hash of a text."""
    from tests.hardened import loud

    await actor.send([*loud.draw(), hash("one seed")])


async def says(actor: Actor, path: str) -> None:
    """Leave something in each buffer, and an atexit function."""
    from tests.hardened import loud  # not in the primary

    sys.stdout.write(f"{actor.name}: stdout\n")
    loud.file.write(f"{actor.name}: file\n")
    loud.at_exit(path, f"{actor.name}: atexit\n")


async def starts_a_program(actor: Actor) -> None:
    """Send which variables and descriptors a program gets from this worker."""
    env = subprocess.check_output(["env", "-0"], text=True)
    # close_fds=False: what is not meant for others has to be closed on exec by itself.
    listing = ["ls", "/proc/self/fd"]
    fds = subprocess.check_output(listing, stdin=subprocess.DEVNULL, text=True, close_fds=False)
    names = [line.partition("=")[0] for line in env.split("\0")]
    await actor.send({"env": names, "fds": fds.split()})


async def idle(actor: Actor) -> None:
    """Do nothing until told to stop."""
    await trio.sleep_forever()


async def ends(actor: Actor, how: str) -> None:
    """End in one of several ways, at once."""
    if how == "exit":
        raise SystemExit(7)
    if how == "_exit":
        os._exit(9)
    if how == "signal":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "error":
        raise ArithmeticError("on purpose")


async def main(path: str) -> None:
    """Leave something in the buffers of this process, and start workers that do so too."""
    print("primary: stdout")
    with open(path, "a") as file:
        file.write("primary: file\n")
        settings = {"preload": ["tests.hardened.loud"]}
        async with actorcluster.open_primary(settings=settings) as primary:
            for method in METHODS * 2:
                settings_of_one = {"start_method": method}
                worker = await primary.fork(says, path, name=method, settings=settings_of_one)
                await worker.wait()


if __name__ == "__main__":
    if actorcluster.is_worker():  # a script whose first deed is to start a program
        environment = subprocess.check_output(["env", "-0"], text=True)
        known = [line.partition("=")[0] for line in environment.split("\0")]

        async def tell(actor: Actor) -> None:
            await actor.send({"env": known, "fds": ["0", "1", "2", "3"]})

        actorcluster.run_worker(tell)
    else:
        trio.run(main, sys.argv[1])
