"""What SIGINT, SIGTERM and Ctrl-C at a terminal do to whole programs."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path

import pytest
import trio

from tests.e2e.programs.stopping import ROUNDS
from tests.orphans import adopting_orphans
from tests.program import Program, running
from tests.require import require

SIGNALS = [signal.SIGINT, signal.SIGTERM]
PROGRAM = "tests.e2e.programs.stopping"
CONTAINER = """
import os, sys
unshare = ["unshare", "--pid", "--fork", "--kill-child", sys.executable]
os.execvp(unshare[0], unshare + sys.argv[1:])
"""


def stopping(
    name: str, *, run: str = "run", terminal: bool = False
) -> contextlib.AbstractAsyncContextManager[Program]:
    """One of the programs in `stopping`."""
    return running("-m", PROGRAM, run, name, terminal=terminal)


# ---- under run() --------------------------------------------------------------------------


@pytest.mark.parametrize("number", SIGNALS)
async def test_first_signal_stops(number: signal.Signals) -> None:
    """The body is cancelled, the workers leave, and the program goes on behind the block."""
    async with stopping("graceful") as program:
        await program.says("up")
        program.process.send_signal(number)
        assert 0 == await program.ends()
    assert [
        "up",
        "body cancelled",
        "after the block: shutdown shutdown",
        "returned a value True",
    ] == program.text.splitlines()


@pytest.mark.parametrize(
    ("first", "second"), [(signal.SIGTERM, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)]
)
async def test_second_signal_kills(first: signal.Signals, second: signal.Signals) -> None:
    """Nobody waits for the worker any more, and the program's end tells by which signal."""
    async with adopting_orphans(patience=2), stopping("patient") as program:
        await program.says("up")
        program.process.send_signal(first)
        await program.says("told to stop")
        program.process.send_signal(second)
        assert -second == await program.ends()
    assert ["up", "told to stop"] == program.text.splitlines()


async def test_without_a_primary_sigterm_has_its_default_action() -> None:
    async with stopping("before") as program:
        await program.says("up")
        program.process.send_signal(signal.SIGTERM)
        assert -signal.SIGTERM == await program.ends()
    assert "up\n" == program.text


async def test_after_the_primary_sigint_is_keyboard_interrupt_again() -> None:
    async with stopping("after") as program:
        await program.says("up")
        program.process.send_signal(signal.SIGINT)
        assert -signal.SIGINT == await program.ends()
    assert "KeyboardInterrupt" == program.text.splitlines()[-1]


@require("namespaces")
async def test_second_signal_ends_process_1() -> None:
    """In a container, where the kernel spares it from default actions."""
    async with running("-c", CONTAINER, "-m", PROGRAM, "run", "patient") as program:
        await program.says("up")
        shell = program.process.pid
        (pid,) = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
        os.kill(int(pid), signal.SIGTERM)
        await program.says("told to stop")
        os.kill(int(pid), signal.SIGTERM)
        assert 128 + signal.SIGTERM == await program.ends()


# ---- Ctrl-C at a terminal -----------------------------------------------------------------


@require("pty")
@pytest.mark.parametrize("run", ["run", "trio"])
async def test_ctrl_c_is_graceful(run: str) -> None:
    """It reaches the workers too, and the fork server: only the primary answers."""
    async with stopping("graceful", run=run, terminal=True) as program:
        await program.says("up")
        program.interrupt()
        assert 0 == await program.ends()
    assert [
        "up",
        "^Cbody cancelled",
        "after the block: shutdown shutdown",
        "returned a value True",
    ] == program.text.splitlines()


@require("pty")
@pytest.mark.parametrize("run", ["run", "trio"])
async def test_ctrl_c_while_workers_start(run: str) -> None:
    """At any moment of a start by either method: nobody prints a traceback, nobody is left.

    Who is not ready yet is killed, the others leave gracefully.
    """
    async with stopping("rounds", run=run, terminal=True) as program:
        for number in range(ROUNDS):
            await program.says("entered")
            await trio.sleep(number * 0.035)  # not to wait for something: the moment is the subject
            program.interrupt()
        assert 0 == await program.ends()
    *lines, last = program.text.splitlines()
    assert "returned None True" == last
    assert ["entered"] * ROUNDS == lines[::2]
    # KeyboardInterrupt may come before anything was forked.
    expected = re.compile(r"\^Cleft:( shutdown| killed)*")
    assert [] == [line for line in lines[1::2] if not expected.fullmatch(line)]


@require("pty")
async def test_second_ctrl_c_is_immediate() -> None:
    async with adopting_orphans(patience=2), stopping("patient", terminal=True) as program:
        await program.says("up")
        program.interrupt()
        await program.says("told to stop")
        program.interrupt()
        assert -signal.SIGINT == await program.ends()
    assert ["up", "^Ctold to stop", "^C"] == program.text.splitlines()


@require("pty")
async def test_second_ctrl_c_under_trio_run() -> None:
    """The workers are killed before KeyboardInterrupt goes on up."""
    async with stopping("patient", run="trio", terminal=True) as program:
        await program.says("up")
        program.interrupt()
        await program.says("told to stop")
        program.interrupt()
        assert -signal.SIGINT == await program.ends()
    assert "_worker" not in program.text  # where the traceback of a worker would come from
    assert "KeyboardInterrupt" == program.text.splitlines()[-1]
