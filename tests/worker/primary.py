"""A primary that starts workers, says their pids, and then only waits: to be killed by a test.

It has a channel of its own, and ends when the test does not kill it but ends itself.
"""

from __future__ import annotations

import os
import signal

import trio

from actorcluster._worker import bootstrap
from actorcluster._worker.forkserver import ForkServer
from actorcluster._worker.process import Launch, start_exec
from tests.worker.helpers import entry_argv


async def with_both_methods(*entries: str) -> None:
    """Start each entry by both methods; the fork server's pid comes first."""
    server = ForkServer(entry="tests.worker.entries:named")
    processes = []
    for entry in entries:
        argv = entry_argv("named", entry)
        processes.append(await server.start(Launch(worker_id=1, args=(entry,))))
        processes.append(await start_exec(Launch(worker_id=2, argv=argv)))
        await server.guard(processes[-1])
    for process in processes:
        await trio.lowlevel.wait_readable(process.channel)
    await _say(server.pid, *(process.pid for process in processes))


async def with_a_copy(entry: str) -> None:
    """Start one worker, then fork without exec; the copy's pid comes first."""
    process = await start_exec(Launch(worker_id=1, argv=entry_argv(entry)))
    await trio.lowlevel.wait_readable(process.channel)
    copy = os.fork()
    if copy == 0:
        signal.pause()
    await _say(copy, process.pid)


async def _say(*pids: int | None) -> None:
    channel = bootstrap.take_identity().channel_fd
    os.write(channel, " ".join(map(str, pids)).encode() + b"\n")
    await trio.lowlevel.wait_readable(channel)
