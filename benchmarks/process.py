"""Starts the programs, reads what they say, and ends what they leave behind."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from benchmarks import procfs
from benchmarks.model import Wrong

__all__ = ["PROGRAMS", "ROOT", "Program", "command", "program", "run"]

ROOT: Final = Path(__file__).parents[1]
"""Where programs are started: in the directory that holds `benchmarks`."""

PROGRAMS: Final = ROOT / "benchmarks" / "programs"

_PATIENCE: Final = 60.0
"""Seconds that no program takes: one that does hangs, and is ended."""

_DYING_SECONDS: Final = 1.0
"""After SIGKILL; what is dying would disturb the program that is next."""

_MOST_SHOWN: Final = 2000
"""Characters shown of what a program that failed wrote to its standard error."""


def command(file: str, arguments: Mapping[str, object]) -> list[str]:
    """Give the command line of a program, a Python, a Node or an Erlang one."""
    given = [f"{name}={value}" for name, value in arguments.items()]
    if file.endswith(".js"):
        return ["node", str(PROGRAMS / file), *given]
    if file.endswith(".escript"):
        return ["escript", str(PROGRAMS / file), *given]
    return [sys.executable, "-m", f"benchmarks.programs.{file.removesuffix('.py')}", *given]


class Program:
    """A running program.

    Attributes:
        pid: of its process, which leads a group of its own.
    """

    def __init__(
        self, argv: Sequence[str], process: subprocess.Popen[str], errors: IO[str]
    ) -> None:
        self.pid = process.pid
        self._argv = argv
        self._process = process
        self._errors = errors

    def says(self) -> dict[str, Any]:
        """Read the next line it prints.

        Raises:
            Wrong: it ended, or was ended, without one.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("{"):
            raise self._wrong(line)
        result: dict[str, Any] = json.loads(line)
        return result

    def tell(self) -> None:
        """Close its standard input: what was wanted of it is done."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def ends(self) -> None:
        """Wait until it has ended.

        Raises:
            Wrong: it did not end well.
        """
        if _wait(self.pid):
            raise self._wrong("")

    def _wrong(self, line: str) -> Wrong:
        code = _wait(self.pid)
        self._errors.seek(0)
        said = line + self._errors.read()[-_MOST_SHOWN:]
        return Wrong(f"{shlex.join(self._argv)} ended with {code}\n{said}")


@contextlib.contextmanager
def program(argv: Sequence[str], *, patience: float = _PATIENCE) -> Iterator[Program]:
    """Run a program while the block runs; in the end nothing of its process group is left.

    Args:
        argv: its command line.
        patience: seconds after which it is ended in any case.
    """
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            argv,
            stdin=pipe,
            stdout=pipe,
            stderr=errors,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        ) as process,
    ):
        watchdog = threading.Timer(patience, _end_group, [process.pid])
        watchdog.start()
        try:
            yield Program(argv, process, errors)
        finally:
            watchdog.cancel()
            watchdog.join()
            _end_group(process.pid)


def _wait(pid: int) -> int:
    """Wait until our child has ended, but leave it to be reaped: its number stays its own."""
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _end_group(pid: int) -> None:
    """Kill what is left of the group that our child, not reaped so far, leads; see it go."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    until = time.monotonic() + _DYING_SECONDS
    while procfs.others_of_group(pid) and time.monotonic() < until:
        time.sleep(0.001)


def run(file: str, arguments: Mapping[str, object]) -> dict[str, Any]:
    """Run a program that prints one line and ends."""
    with program(command(file, arguments)) as started:
        result = started.says()
        started.ends()
    return result
