"""A primary that is process 1, in a namespace that ``unshare --pid --fork --mount-proc`` makes.

It says who is left, dead or alive, when nobody should be.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import trio

import actorcluster
from actorcluster import Actor
from actorcluster._worker import adopted

METHODS = ("forkserver", "exec")


async def leaves_orphans(actor: Actor) -> None:
    """Start one process that loses its parent at once, and one that does when this one dies."""
    command = ["sh", "-c", "sleep 1000 & echo $!"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as shell:
        assert shell.stdout is not None
        orphan = int(shell.stdout.readline())
    child = subprocess.Popen(["sleep", "1000"])
    await actor.send([orphan, child.pid])
    await trio.sleep_forever()


def processes() -> dict[int, tuple[str, int]]:
    """State and parent of everybody here."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        words = Path(f"/proc/{name}/stat").read_text(errors="replace").rpartition(")")[2].split()
        found[int(name)] = words[0], int(words[1])
    return found


async def gone(pids: set[int]) -> None:
    """Wait until somebody has reaped them."""
    with trio.fail_after(60):
        while pids & processes().keys():  # noqa: ASYNC110  (the kernel tells nobody)
            await trio.sleep(0.01)


async def main() -> None:
    """Adopt, and let others have what is theirs."""
    assert os.getpid() == 1
    vars(adopted)["PATIENCE"] = 0.1
    kept = subprocess.Popen(["sh", "-c", "exit 5"])
    orphans: set[int] = set()
    async with actorcluster.open_primary() as primary:
        for method in METHODS:
            worker = await primary.fork(leaves_orphans, settings={"start_method": method})
            pids = (await worker.mailbox.receive()).body
            worker.kill("SIGKILL")
            assert "SIGKILL" == (await worker.wait()).signal
            for pid in pids:
                state, parent = processes()[pid]  # it sleeps, or is about to
                assert (False, 1) == (state == "Z", parent), processes()
                os.kill(pid, signal.SIGKILL)
            orphans.update(pids)
        server: Any = primary._seating.starter._server
        await gone(orphans)
        # Who has died before them is still there, for whoever has the object.
        assert ("Z", 1) == processes()[kept.pid]
        assert 5 == kept.wait()
        assert {1, server.pid} == processes().keys()
    assert {1} == processes().keys()
    print(f"reaped {len(orphans)}")


if __name__ == "__main__":
    actorcluster.run(main)
