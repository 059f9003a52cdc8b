"""Nobody is accused who has hardly a processor to answer with; the long form is a command."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

import trio

from actorcluster import events, open_primary
from tests.liveness import actors
from tests.program import running


async def test_a_busy_machine() -> None:
    command = ("-m", "tests.liveness", "--minutes", "0.1", "--cost", "0.5")
    async with running(*command) as program:
        code = await program.ends()
    cost, load = program.text.splitlines()[-2:]
    assert cost.startswith("cost: a question takes ")
    assert load.startswith("load: ok alarms=0 ") or "void" in load, program.text
    assert code == (0 if load.startswith("load: ok ") else 1)


async def test_workers_that_get_no_processor() -> None:
    """All on one, and everybody else there is more important."""
    burn = (sys.executable, "-Sc", "import os; os.sched_setaffinity(0, {%d})\nwhile True: pass")
    processor = min(os.sched_getaffinity(0))
    command = (*burn[:2], burn[2] % processor)
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            process = stack.enter_context(subprocess.Popen(command))
            stack.callback(process.kill)
        async with open_primary(shutdown_timeout=0) as primary:
            with primary.events(events.Hung) as hung:
                for _ in range(4):
                    await primary.fork(actors.unimportant, processor, heartbeat=0.15)
                with trio.move_on_after(4):
                    raise AssertionError(repr(await anext(hung)))
