"""However a primary ends and whatever its workers do: nobody is left two seconds later."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import trio

from tests.hardened import orphans
from tests.program import Program, running

#: Seconds; on a quiet machine it takes less than two.
BOUND = 20.0
"""Seconds from the primary's end to that of its last worker; a zombie counts as gone."""


def children(parent: int) -> dict[int, str]:
    """The children of a process, and the state of each."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = (
                Path(f"/proc/{name}/stat").read_text(errors="replace").rpartition(")")[2].split()
            )
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(words[1]) == parent:
            found[int(name)] = words[0]
    return found


async def all_up(program: Program) -> dict[int, str]:
    """Wait until every worker is what it is to be; returns their kinds, by pid."""
    count = len(orphans.KINDS) * len(orphans.METHODS)
    said = [await program.says(r"(.*): \S+ (\d+)") for _ in range(count)]
    kinds = {int(match[2]): match[1] for match in said}
    for pid in (pid for pid, kind in kinds.items() if kind == "stopped"):
        while children(program.process.pid)[pid] != "T":
            await trio.lowlevel.checkpoint()
    return kinds


async def seconds_to_the_end(pids: list[int], first: int, cause: signal.Signals) -> list[float]:
    """Send *first* a signal; returns how long after its end each of the others has ended."""
    ends: dict[int, float] = {}

    async def wait(pid: int, pidfd: int) -> None:
        await trio.lowlevel.wait_readable(pidfd)
        ends[pid] = trio.current_time()

    pidfds = {pid: os.pidfd_open(pid) for pid in (first, *pids)}
    try:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for pid, pidfd in pidfds.items():
                    nursery.start_soon(wait, pid, pidfd)
                os.kill(first, cause)
    finally:
        for pidfd in pidfds.values():
            os.close(pidfd)
    return [ends[pid] - ends[first] for pid in pids]


@pytest.mark.parametrize(
    ("end", "cause", "run", "code", "server_too"),
    [
        ("a signal", signal.SIGKILL, "trio", -signal.SIGKILL, False),
        ("a signal", signal.SIGTERM, "trio", -signal.SIGTERM, True),  # its default action
        ("a signal", signal.SIGTERM, "run", 0, True),  # a stop of everybody
        ("_exit", signal.SIGUSR1, "trio", 3, False),
        ("exception", signal.SIGUSR1, "trio", 1, True),
    ],
)
async def test_nobody_outlives_the_primary(
    end: str, cause: signal.Signals, run: str, code: int, server_too: bool
) -> None:
    """Workers by both methods: idle, in a loop, in C code with the interpreter's lock, stopped.

    The fork server, which kills whoever cannot end by itself, may be stopped too.
    """
    async with running("-m", "tests.hardened.orphans", end, run) as program:
        kinds = await all_up(program)
        pids = list(children(program.process.pid))
        (server,) = set(pids) - kinds.keys()
        if server_too:
            os.kill(server, signal.SIGSTOP)
        seconds = await seconds_to_the_end(pids, program.process.pid, cause)
        assert code == program.process.wait()
    late = dict(zip((kinds.get(pid, "the fork server") for pid in pids), seconds, strict=True))
    print(f"{end} {cause.name} {run}: last after {max(seconds):.3f} s", late)
    assert max(seconds) <= BOUND, late
