"""A worker that the kernel kills for want of memory, in a cgroup that has little of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import trio

from actorcluster import Actor, open_primary
from tests.program import ROOT
from tests.require import memory_cgroup, require

PATIENCE = 60


async def devours(actor: Actor) -> None:
    """Take memory until there is none left; the kernel is to choose this process."""
    Path("/proc/self/oom_score_adj").write_text("1000")
    kept = []
    while True:
        kept.append(b"x" * 1_000_000)


async def idles(actor: Actor) -> None:
    await trio.sleep_forever()


async def _main() -> list[object]:
    said: list[object] = []
    async with open_primary() as primary:
        others = [await primary.fork(idles) for _ in range(3)]
        greedy = await primary.fork(devours)
        status = await greedy.wait()
        said.append([status.reason, status.signal, str(status.report).splitlines()[0]])
        pid = others[0].pid
        assert pid is not None
        os.kill(pid, 9)
        others[1].kill("SIGKILL")
        said += [(await other.wait()).reason for other in others[:2]]
        greedy = await primary.fork(devours)
        said += [(await greedy.wait()).reason, others[2].state]
    return said


def main(group: str) -> None:
    """Be a primary in a cgroup, and say what has become of its workers."""
    (Path(group) / "cgroup.procs").write_text(str(os.getpid()))
    print(json.dumps(trio.run(_main)))


@require("cgroup")
def test_out_of_memory() -> None:
    """It is told apart from a kill by hand, before and after."""
    code = f"import sys; from {__name__} import main; main(sys.argv[1])"
    with memory_cgroup() as group:
        done = subprocess.run(
            [sys.executable, "-c", code, str(group)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            timeout=PATIENCE,
            check=True,
        )
    assert [
        ["oom", "SIGKILL", "worker-4 failed: oom SIGKILL"],
        "signal",
        "signal",
        "oom",
        "online",
    ] == json.loads(done.stdout)
