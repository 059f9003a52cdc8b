"""A task that never comes to a checkpoint holds the loop; a signal still ends the program."""

from __future__ import annotations

import signal

import pytest

from tests.program import running


@pytest.mark.parametrize("ready", ["online", "called"])
async def test_the_second_signal_ends_it(ready: str) -> None:
    """The first one asks the loop, which never hears it; nothing is left of the processes."""
    async with running("-m", "tests.tasks.never", ready) as program:
        await program.says("spins")
        program.process.send_signal(signal.SIGTERM)
        program.process.send_signal(signal.SIGINT)
        # Whichever of them is heard last.
        assert await program.ends() in (-signal.SIGINT, -signal.SIGTERM)
