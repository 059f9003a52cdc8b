"""The primary of a container: the orphans of its namespace are its own."""

from __future__ import annotations

import actorcluster
from actorcluster._worker import adopted
from tests.program import running
from tests.require import require

CONTAINER = """
import os, sys
unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable]
os.execvp(unshare[0], unshare + sys.argv[1:])
"""


@require("namespaces", "root")
async def test_nothing_is_left_unreaped() -> None:
    """Orphans are reaped; the statuses of workers and of other children are not stolen."""
    async with running("-c", CONTAINER, "-m", "tests.hardened.process1") as program:
        assert 0 == await program.ends(), program.text
    assert "reaped 4\n" == program.text


async def test_whoever_is_not_process_1_reaps_nobody() -> None:
    assert not adopted.is_process_1()
    async with actorcluster.open_primary() as primary:
        tasks = {task.name for task in primary._nursery.child_tasks}
        assert adopted.reap_adopted.__qualname__ not in {name.rpartition(".")[2] for name in tasks}
