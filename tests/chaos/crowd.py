"""The clients' program, run beside a test: it reports when its standard input ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

__all__ = ["Crowd", "crowd"]

_ROOT = Path(__file__).parents[2]


class Crowd:
    """The running program."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process

    async def finish(self) -> dict[str, Any]:
        """Let it end; give what it says."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        await self._process.stdin.aclose()
        said = b""
        async for chunk in self._process.stdout:
            said += chunk
        report: dict[str, Any] = json.loads(said)
        return report


@asynccontextmanager
async def crowd(module: str, port: int, clients: int, patience: float) -> AsyncIterator[Crowd]:
    """Run ``python -m MODULE PORT CLIENTS PATIENCE`` for as long as the block."""
    command = [sys.executable, "-m", module, str(port), str(clients), str(patience)]
    process = await trio.lowlevel.open_process(
        command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield Crowd(process)
    finally:
        process.kill()  # it has ended by itself, unless something went wrong
        with trio.CancelScope(shield=True):
            await process.wait()
            for stream in (process.stdin, process.stdout):
                assert stream is not None
                await stream.aclose()
