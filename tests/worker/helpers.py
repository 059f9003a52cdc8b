"""What the tests of workers do with processes and targets."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import trio

from actorcluster import Primary
from actorcluster._worker.commands import python_argv
from actorcluster._worker.forkserver import ForkServer
from actorcluster._worker.process import Launch, Process, start_exec
from actorcluster._worker.targets import Target


def entry_argv(entry: str, *args: str) -> tuple[str, ...]:
    """The command line of a worker by exec that runs a function of `entries`."""
    code = "from actorcluster._worker.__main__ import main; "
    code += f"sys.exit(main('tests.worker.entries:{entry}'))"
    return python_argv(code, args=args)


async def receive_line(process: Process) -> bytes:
    """The first line the worker says, or what it said before the end of file."""
    line = b""
    while not line.endswith(b"\n"):
        await trio.lowlevel.wait_readable(process.channel)
        piece = process.channel.recv(65536)
        if not piece:
            break
        line += piece
    return line


async def receive_facts(process: Process) -> dict[str, Any]:
    """What the worker says of itself, see `entries.facts`."""
    facts: dict[str, Any] = json.loads(await receive_line(process))
    return facts


async def started(process: Process) -> None:
    """Wait until the worker has said something."""
    await trio.lowlevel.wait_readable(process.channel)


async def finish(process: Process) -> int | None:
    """End the channel, wait for the worker, close everything of it; returns its wait status."""
    process.channel.close()
    status, _ = await process.wait()
    process.close()
    return status


@contextlib.asynccontextmanager
async def killable_primary(
    function: str, *entries: str
) -> AsyncIterator[tuple[Process, list[int]]]:
    """Another process that is the primary of workers, see `primary`; and the pids it says."""
    code = "import trio; import tests.worker.primary as program; "
    code += f"trio.run(program.{function}, *{entries!r})"
    process = await start_exec(Launch(worker_id=1, argv=python_argv(code)))
    try:
        yield process, [int(pid) for pid in (await receive_line(process)).split()]
    finally:
        await process.destroy()


def server_for(entry: str, **options: Any) -> ForkServer:
    return ForkServer(entry=f"tests.worker.entries:{entry}", **options)


def config_of(main: dict[str, str]) -> dict[str, Any]:
    target = Target(form="function", module="__main__", qualname="web", main=main)
    return target.to_config()


async def cancel_a_start(primary: Primary, target: Any, passes: int) -> None:
    """Cancel a fork after so many passes of the scheduler."""
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(primary.fork, target)
            for _ in range(passes):
                await trio.lowlevel.checkpoint()
            scope.cancel()
    assert scope.cancelled_caught
