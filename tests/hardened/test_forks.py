"""What a fork would copy, share or pass on, and must not."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import trio

import actorcluster
from actorcluster import events
from tests.hardened import forks
from tests.program import running

WORKERS = 8


async def test_two_workers_draw_different_numbers() -> None:
    settings = {"preload": ["tests.hardened.loud"], "start_method": "forkserver"}
    async with actorcluster.open_primary(settings=settings) as primary:
        drawn = []
        for _ in range(2):
            worker = await primary.fork(forks.draws)
            drawn.append((await worker.mailbox.receive()).body)
    (*one, seed), (*other, same_seed) = drawn
    assert [] == [number for number in one if number in other]
    assert seed == same_seed  # documented: an interpreter chooses it once


async def test_what_was_buffered_appears_once(tmp_path: Path) -> None:
    """And never not at all; and atexit functions run, in workers by both methods."""
    path = tmp_path / "said"
    # The program's own output is a pipe, so it is buffered too.
    env = {"PYTHONUNBUFFERED": "", "LOUD": str(path)}
    async with running("-m", "tests.hardened.forks", str(path), env=env) as program:
        assert 0 == await program.ends(), program.text
    said = Counter(re.findall(r"[\w-]+: \w+", program.text + path.read_text()))
    preloaded = {f"loud: {where}": 1 for where in ("stdout", "stderr", "file", "C")}
    of_workers = {
        f"{method}: {what}": 2 for method in forks.METHODS for what in ("stdout", "file", "atexit")
    }
    executed = dict.fromkeys(preloaded, 2)  # two workers, each has imported the module itself
    own = {"primary: stdout": 1, "primary: file": 1}
    assert Counter(preloaded) + Counter(executed) + Counter(own) + Counter(of_workers) == said


@pytest.mark.parametrize("method", forks.METHODS)
@pytest.mark.parametrize("form", ["function", "script"])
async def test_a_program_that_a_worker_starts_is_no_worker(method: str, form: str) -> None:
    """It gets neither our variables nor a descriptor, also before `run_worker` is called."""
    target = forks.starts_a_program if form == "function" else None
    settings = {"start_method": method, "exec": forks.__file__}
    async with actorcluster.open_primary(settings=settings) as primary:
        worker = await primary.fork(target)
        told = (await worker.mailbox.receive()).body
    ours = {name for name in told["env"] if name.startswith("ACTORCLUSTER_")}
    assert ours <= os.environ.keys()  # what somebody has set for all, as this test run has
    assert ["0", "1", "2", "3"] == told["fds"]  # the fourth is the directory that is listed


# ---- channels -----------------------------------------------------------------------------


def sockets(pid: int) -> set[str]:
    """What the descriptors of a process above its standard streams are sockets of."""
    found = set()
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{number}")
        except FileNotFoundError:
            continue  # our own descriptor, with which the list was read
        if int(number) > 2 and target.startswith("socket:"):
            found.add(target)
    return found


def guards(primary: Any) -> list[int]:
    """The pid of its fork server."""
    server = primary._seating.starter._server
    return [] if server is None or server.pid is None else [server.pid]


@pytest.mark.own_fork_server
@pytest.mark.parametrize("method", forks.METHODS)
async def test_no_worker_holds_the_channel_of_another(method: str) -> None:
    """Nor does the fork server, so a worker's end is the end of its channel, at once."""
    async with actorcluster.open_primary(settings={"start_method": method}) as primary:
        workers = [primary.fork_soon(forks.idle) for _ in range(WORKERS)]
        for worker in workers:
            await primary.wait_for(events.Online, worker)
        pids = [worker.pid for worker in workers if worker.pid is not None]
        assert WORKERS == len(pids)
        holders = Counter(
            socket for pid in (*pids, *guards(primary), os.getpid()) for socket in sockets(pid)
        )
        assert {} == {socket: count for socket, count in holders.items() if count > 1}
        with primary.events(events.Disconnect) as ends, trio.fail_after(60):
            began = trio.current_time()
            workers[3].kill("SIGKILL")
            assert workers[3] is (await anext(ends)).worker
            seconds = trio.current_time() - began
        print(f"{method}: seen after {seconds * 1000:.1f} ms")
        assert [True] * 7 == [w.is_connected() for w in workers if w is not workers[3]]
