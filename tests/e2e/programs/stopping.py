"""Programs that are stopped by signals: ``python -m tests.e2e.programs.stopping NAME``.

They say at which moment they are; whoever started them sends the signals.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

import trio

import actorcluster
from actorcluster import Actor, Worker

METHODS = ("forkserver", "exec")
ROUNDS = 4


def handlers() -> list[object]:
    """Who gets the signals that `actorcluster.run` takes over for a while."""
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


async def obedient(actor: Actor) -> None:
    """Leave when told to."""
    await trio.sleep_forever()


async def stubborn(actor: Actor) -> None:
    """Never leave; say when told to."""
    with trio.CancelScope(shield=True):
        await actor.draining.wait()
        print("told to stop", flush=True)
        await trio.sleep_forever()


def fork_both(primary: actorcluster.Primary) -> list[Worker]:
    """A worker by each method."""
    return [primary.fork_soon(obedient, settings={"start_method": name}) for name in METHODS]


async def say(text: str, workers: list[Worker]) -> None:
    """Say how they ended."""
    print(text, *[(await worker.wait()).reason for worker in workers], flush=True)


async def graceful() -> str:
    """Stopped while everything is up; what comes after the block still happens."""
    async with actorcluster.open_primary() as primary:
        workers = [await primary.fork(obedient) for _ in range(2)]
        try:
            print("up", flush=True)
            await trio.sleep_forever()
        finally:
            print("body cancelled", flush=True)
    await say("after the block:", workers)
    await trio.lowlevel.checkpoint()
    return "a value"


async def rounds() -> None:
    """Stopped again and again, at whatever moment of a start."""
    for _ in range(ROUNDS):
        workers: list[Worker] = []
        async with actorcluster.open_primary() as primary:
            print("entered", flush=True)
            workers = fork_both(primary)
            await trio.sleep_forever()
        await say("left:", workers)


async def patient() -> None:
    """Would wait for its worker for ever."""
    async with actorcluster.open_primary() as primary:
        await primary.fork(stubborn, shutdown=float("inf"))
        print("up", flush=True)
        await trio.sleep_forever()


async def before() -> None:
    """There is no primary yet."""
    print("up", flush=True)
    await trio.sleep_forever()


async def after() -> None:
    """There is no primary any more."""
    async with actorcluster.open_primary():
        pass
    print("up", flush=True)
    await trio.sleep_forever()


def main(run: Callable[..., object], name: str) -> None:
    """Run one of them, and say whether signals are as they were."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job
    was = handlers()
    print("returned", run(globals()[name]), was == handlers(), flush=True)


if __name__ == "__main__":
    main({"run": actorcluster.run, "trio": trio.run}[sys.argv[1]], sys.argv[2])
