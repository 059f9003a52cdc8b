"""Starting programs: each from nothing, or, for those in Python, as a fork of one that has begun.

Runs in: both

Most of what a case against a worker in Python costs is the start of the interpreter and its
imports. A `Forge` is a process of the same interpreter that has loaded them, see `forging`; each
case still has a process of its own, with an environment and descriptors of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, Protocol

__all__ = ["Forge", "Process", "started"]

_LONGEST: Final = 1 << 20
_SCRIPT: Final = Path(__file__).with_name("forging.py")


class Process(Protocol):
    """A program that was started, and is reaped by `reap` alone."""

    pid: int

    def status(self) -> int | None:
        """Give how it ended, a signal as a negative number; None: it runs."""

    def reap(self) -> None:
        """Have the kernel forget it, once it has ended."""


class _Child:
    """A child of ours."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self.pid = popen.pid

    def status(self) -> int | None:
        if self._popen.returncode is not None:
            return self._popen.returncode
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def reap(self) -> None:
        self._popen.wait(timeout=0)


def started(
    command: Sequence[str],
    environment: Mapping[str, str],
    output: IO[bytes],
    fds: Sequence[int],
) -> Process:
    """Start a program from nothing.

    Args:
        command: program and arguments.
        environment: all of it.
        output: where its standard streams go.
        fds: descriptors that it has, too, under the same numbers.
    """
    popen = subprocess.Popen(
        command,
        env=environment,
        pass_fds=fds,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    return _Child(popen)


class Forge:
    """A process that forks programs in Python.

    Args:
        command: the interpreter, then a script or ``-m`` and a module, then arguments.
        modules: to be loaded before.

    Raises:
        ValueError: it is no such command.
        RuntimeError: the modules cannot be loaded; says what it said.
    """

    def __init__(self, command: Sequence[str], modules: Sequence[str]) -> None:
        interpreter, *program = command
        if not program or (program[0].startswith("-") and program[0] != "-m"):
            raise ValueError("only `python FILE ...` and `python -m MODULE ...` can be preloaded")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._end = ours
        number = theirs.fileno()
        words = [interpreter, str(_SCRIPT), str(number), ",".join(modules), *program]
        try:
            with theirs:
                self._popen = subprocess.Popen(
                    words,
                    pass_fds=[number],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            raise
        self._command = tuple(command)
        if not ours.recv(_LONGEST):
            said = self.close()
            raise RuntimeError(f"{', '.join(modules)} cannot be loaded: {said[-2000:]}")

    def makes(self, command: Sequence[str]) -> bool:
        """Whether it is this program that it has loaded."""
        return tuple(command) == self._command

    def started(
        self, environment: Mapping[str, str], output: IO[bytes], fds: Sequence[int]
    ) -> Process:
        """Start the program; see the function of this name."""
        order = {"start": dict(environment), "numbers": list(fds)}
        pid = self.ask(order, [output.fileno(), *fds])["pid"]
        return _Forked(self, pid)

    def ask(self, order: Mapping[str, Any], fds: Sequence[int] = ()) -> dict[str, Any]:
        """Have it do something; it answers at once."""
        socket.send_fds(self._end, [json.dumps(order).encode()], fds)
        answer: dict[str, Any] = json.loads(self._end.recv(_LONGEST))
        return answer

    def close(self) -> str:
        """End it; gives its last words."""
        self._end.close()
        with self._popen, contextlib.suppress(OSError):
            assert self._popen.stderr is not None
            return self._popen.stderr.read().decode(errors="backslashreplace")
        return ""


class _Forked:
    """A child of a forge."""

    def __init__(self, forge: Forge, pid: int) -> None:
        self._forge = forge
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)
        self._status: int | None = None

    def status(self) -> int | None:
        if self._status is None and self._has_ended():
            self._status = self._forge.ask({"pid": self.pid})["status"]
        return self._status

    def _has_ended(self) -> bool:
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def reap(self) -> None:
        self._forge.ask({"pid": self.pid, "reap": True})
        os.close(self._pidfd)
