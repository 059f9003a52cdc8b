"""Whole programs: their primary ends in some way, and what becomes of the workers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.node_parity.clauses import clause
from tests.node_parity.scene import PATIENCE, is_there
from tests.orphans import adopting_orphans


class Ended:
    """A program of dying.py that has ended: its code, workers, port, and other words."""

    def __init__(self, code: int, output: str) -> None:
        self.code = code
        first, port, *rest = output.splitlines()
        self.pids = list(map(int, first.split()))
        self.port = int(port)
        self.rest = rest


async def ended(how: str, path: Path) -> Ended:
    command = [sys.executable, "-m", "tests.node_parity.dying", how, str(path)]
    done = await trio.run_process(
        command, capture_stdout=True, stderr=subprocess.DEVNULL, check=False
    )
    return Ended(done.returncode, done.stdout.decode())


async def status_of(pid: int) -> int:
    """Wait for an adopted process, and reap it."""
    return (await trio.to_thread.run_sync(os.waitpid, pid, 0))[1]


async def test_the_primary_dies(tmp_path: Path) -> None:
    told = tmp_path / "told"
    programs: dict[str, Ended] = {}

    async def run(how: str) -> None:
        programs[how] = await ended(how, told)

    with trio.fail_after(PATIENCE):
        async with adopting_orphans(patience=PATIENCE), trio.open_nursery() as nursery:
            async with trio.open_nursery() as running:
                for how in ("fails", "last resort", "exits"):
                    running.start_soon(run, how)
            exits = programs["exits"]
            codes = [await status_of(pid) for pid in exits.pids]
            nursery.cancel_scope.cancel()

    fails, last_resort = programs["fails"], programs["last resort"]
    with clause("LC-15.a"):
        assert 1 == fails.code
    with clause("LC-15.b"):
        assert [False, False] == [is_there(pid) for pid in fails.pids]
    with clause("LC-16.a"):
        assert 0 == exits.code
    with clause("LC-16.b"):
        assert 0 == codes[0]
    with clause("LC-11.c"):
        assert 0 == codes[1]
    with clause("LC-09.d"):
        assert "connected: False" == told.read_text()
    with clause("LC-17.a"):
        assert 42 == last_resort.code
    with clause("LC-17.b"):
        assert ["KeyError"] == last_resort.rest
    with clause("ST-26.a"):
        assert 0 == codes[3]
    with clause("HP-21.a"), pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", exits.port))


def test_flags_and_identity() -> None:
    command = [sys.executable, "-W", "error::BytesWarning", "-X", "utf8", "-m"]
    done = subprocess.run(
        [*command, "tests.node_parity.flags"],
        stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    warnings, options, in_primary, *in_workers, nested = done.stdout.split()
    assert ("1", "1") == (warnings, options)
    with clause("LC-19.a"):
        assert ["True", "True"] == in_workers[0::2]
    with clause("LC-19.b"):
        assert ["True", "True"] == in_workers[1::2]
    with clause("LC-19.c"):
        assert "False" == in_primary
    with clause("ST-18.a"):
        assert "True" == nested
