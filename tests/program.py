"""Runs a program as its users do, and reads what it says; every wait is bounded."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import trio

import actorcluster

ROOT = Path(__file__).parents[1]
"""Where tests/ and examples/ stand: the checkout, or the copy that tests an installed wheel."""

NOBODY = 65534
"""A user that owns nothing, and the group of the same number."""

PATIENCE = 60
"""Seconds for a whole program; more than any takes, so that only one that hangs is cut off."""

# Makes the terminal its own, as a shell does, so that Ctrl-C reaches the program. When it ends the
# kernel drops what nobody has read so far: it says how the program ended, and waits.
_SHELL = """\
import fcntl, os, signal, subprocess, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, lambda *_: None)
print(f"\\0{subprocess.call(sys.argv[1:])}", flush=True)
signal.pause()
"""
_SAID_BY_SHELL = re.compile(r"\0(-?\d+)\r\n")


class Program:
    """A running program and what it has said so far."""

    def __init__(
        self, process: subprocess.Popen[bytes], output: trio.abc.ReceiveStream, terminal: int | None
    ) -> None:
        self.process = process
        self.text = ""
        self._output = output
        self._terminal = terminal
        self._searched = 0

    async def _read(self) -> bool:
        data = await self._output.receive_some()
        self.text += data.decode()
        return bool(data)

    async def says(self, pattern: str) -> re.Match[str]:
        """Wait for a line that matches, after the last one that was waited for."""
        while True:
            if match := re.search(rf"(?m)^.*?{pattern}.*\n", self.text[self._searched :]):
                self._searched += match.end()
                return match
            if not await self._read():
                raise AssertionError(f"ended without saying {pattern!r}: {self.text}")

    async def ends(self) -> int:
        """Read all that it says; returns its exit code, negative for a signal."""
        while await self._read():
            if ended := _SAID_BY_SHELL.search(self.text):
                self.text = self.text[: ended.start()]
                return int(ended[1])
        return await trio.to_thread.run_sync(self.process.wait, abandon_on_cancel=True)

    def interrupt(self) -> None:
        """Press Ctrl-C, or do what that would do."""
        if self._terminal is None:
            self.process.send_signal(signal.SIGINT)
        else:
            os.write(self._terminal, b"\x03")

    def terminal_state(self) -> object:
        """All modes of the terminal, to compare."""
        assert self._terminal is not None
        return termios.tcgetattr(self._terminal)

    async def stop_reading(self) -> None:
        """Close our end of its output."""
        await self._output.aclose()


@contextlib.asynccontextmanager
async def running(
    *command: str,
    interpreter: str = sys.executable,
    terminal: bool = False,
    env: Mapping[str, str] | None = None,
    import_first: Sequence[str] = (),
) -> AsyncIterator[Program]:
    """Run a program while the block runs.

    Args:
        command: what follows ``python``.
        interpreter: another one.
        terminal: give it a terminal of 80 by 24, whose Ctrl-C reaches it.
        env: merged over ours.
        import_first: directories to import from before all others.
    """
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "TERM": "xterm", "NO_COLOR": ""}
    environment["PYTHONPATH"] = os.pathsep.join([*import_first, _home()])
    environment |= env or {}
    argv = [interpreter, *command]
    if terminal:
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 80))
        argv = [sys.executable, "-ISc", _SHELL, *argv]
    else:
        ours, theirs = os.pipe()
    stdin = theirs if terminal else subprocess.DEVNULL
    try:
        process = subprocess.Popen(
            argv, stdin=stdin, stdout=theirs, stderr=theirs, env=environment, cwd=ROOT
        )
    finally:
        os.close(theirs)
    with trio.fail_after(PATIENCE):
        async with trio.lowlevel.FdStream(ours) as output:
            try:
                yield Program(process, output, ours if terminal else None)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()


def _home() -> str:
    """Where the package is that we test."""
    return str(Path(actorcluster.__file__).parents[1])


def run_as_nobody(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program to its end as a user without rights; what follows ``python``."""
    return subprocess.run(
        [sys.executable, *command],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


async def read_all(stream: trio.abc.ReceiveStream | None) -> str:
    """What comes up to the end of file; closes it."""
    assert stream is not None
    data = b""
    async with stream:
        async for chunk in stream:
            data += chunk
    return data.decode()
