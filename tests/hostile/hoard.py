"""A primary whose workers fill it with descriptors: ``python -m tests.hostile.hoard``.

Prints what came of it as JSON. It has a process of its own, because of the limit.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any, Final

import trio

import actorcluster
from actorcluster import Actor, Child, Handle, Supervisor, Worker
from tests.e2e import actors
from tests.hostile.hoarder import TO

LIMIT: Final = 1024
#: Open at once by the application, while they are at it.
OWN: Final = 50


async def idle(actor: Actor) -> None:
    """Has a mailbox, and does not look into it."""
    await trio.sleep_forever()


async def gives(actor: Actor) -> None:
    """Sends the primary one handle."""
    reader, writer = os.pipe()
    os.close(writer)
    await actor.send({"here": 1, "handle": Handle.of(reader)})
    await trio.sleep_forever()


def _open() -> int:
    return len(os.listdir("/proc/self/fd"))


async def _hoard(primary: actorcluster.Primary, how: str) -> Worker:
    """Start one of them and wait until it has done its worst."""
    heard, said = os.pipe()
    worker = await primary.fork(
        exec=(sys.executable, "-m", "tests.hostile.hoarder", how),
        name=how,
        shutdown=0.1,
        settings={"stdio": ("ignore", said)},
    )
    os.close(said)
    async with trio.lowlevel.FdStream(heard) as stream:
        await stream.receive_some(100)
    if how == "half":  # it cannot say when that was read
        while not any(_share(worker).values()):  # noqa: ASYNC110  (nobody tells)
            await trio.sleep(0.01)
    return worker


def _share(worker: Worker) -> dict[str, int]:
    channel = worker.statistics().channel
    assert channel is not None
    waiting = worker.statistics().mailbox.handles
    return {
        "held": channel.handles_held,
        "refused": channel.handles_refused,
        "waiting": waiting,
    }


async def _play(kinds: tuple[str, ...]) -> dict[str, Any]:
    before = _open()
    facts: dict[str, Any] = {}
    tree = Supervisor(children=[Child("idle", idle, run="task")])
    async with actorcluster.open_primary(tree) as primary:
        late = primary.fork_soon(exec=("sleep", "1000"), name="late", start_timeout=1000)
        deaf = await _hoard(primary, "deaf")
        hoarders = [await _hoard(primary, how) for how in kinds]
        facts["shares"] = {worker.name: _share(worker) for worker in hoarders}
        facts["deaf"] = _share(deaf)
        facts["open"] = _open()
        await _go_on(primary, facts)
        late.kill("SIGKILL")
        await late.wait()  # what waits for it holds handles of others until then
        for worker in (*hoarders, deaf):
            worker.kill("SIGKILL")
            await worker.wait()
            with contextlib.suppress(trio.EndOfChannel):
                while True:
                    worker.mailbox.receive_nowait()._discard()
        facts["after"] = [_share(worker)["held"] for worker in (*hoarders, deaf)]
    facts["left"] = [_open() - before, primary.mailbox._budget.held]
    return facts


async def _go_on(primary: actorcluster.Primary, facts: dict[str, Any]) -> None:
    """Do what a primary is for, with what is left."""
    echo = await primary.fork(actors.echo)
    facts["answer"] = await echo.ask("hi")
    with contextlib.ExitStack() as stack:
        for _ in range(OWN):
            stack.enter_context(open(os.devnull))
    giver = await primary.fork(gives)
    with await giver.mailbox.receive() as message:
        message.body["handle"].close()
        facts["given"] = message.body["here"]


async def main() -> None:
    for kinds in (*([how] for how in (*TO, "half")), (*TO, "half")):
        print(json.dumps(await _play(tuple(kinds))), flush=True)


if __name__ == "__main__":
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (LIMIT, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    )
    os.chdir(Path(__file__).parents[2])
    trio.run(main)
