"""The program under test as the operating system sees it: started, watched from outside, ended.

Runs in: both

Every program is the leader of a session of its own, so that whatever it starts can be ended with
it. It is ended while its exit status still waits to be read: the number of its group cannot
belong to anybody else before that. What has left the group is ended by `orphans`.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import resource
import signal
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import IO, Final

import trio

from .forge import Forge, Process, started
from .orphans import MARK, orphanage

__all__ = ["PURPOSE", "Program", "status_text"]

PURPOSE: Final[ContextVar[str]] = ContextVar("PURPOSE", default="")
"""What programs are started for by the task at hand: the name of a case."""

_NUMBERS: Final = itertools.count(1)

_LAST_WORDS: Final = 2000
_LARGEST_FILE: Final = 256 * 1024 * 1024
"""That a program may write, its output for one: far more than any case makes it write."""
_OF_WORKERS: Final = ("ACTORCLUSTER_", "NODE_CHANNEL_", "NODE_UNIQUE_ID")
_O_CLOEXEC: Final = 0o2000000
_WAIT_FOR_END_SECONDS: Final = 10.0


def status_text(status: int | None) -> str:
    """Say how a process ended, of what `subprocess` calls its return code."""
    if status is None:
        return "is still running"
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


class Program:
    """A running program and our end of its connection.

    Args:
        command: program and arguments.
        environment: added to ours.
        number: descriptor at which the program finds its end; None: it gets no connection.
        lane: the form of a side lane that it gets, too; of "node" we have an end.
        forge: starts the program, if it is this one.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        number: int | None = -1,
        lane: str = "",
        forge: Forge | None = None,
    ) -> None:
        self.forge = forge
        self.end: socket.socket | None = None
        self.lane_end: socket.socket | None = None
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `close`)
        theirs: list[socket.socket] = []
        mark = f"{os.getpid()}.{next(_NUMBERS)}"
        told = {MARK: mark}
        try:
            if number is not None:
                self.end, other = _pair(number)
                theirs.append(other)
                told["ACTORCLUSTER_CHANNEL"] = f"fd:{other.fileno()}"
            if lane:
                told["ACTORCLUSTER_LANE"] = lane
            if lane == "node":
                self.lane_end, other = _pair(-1)
                theirs.append(other)
                told["NODE_CHANNEL_FD"] = str(other.fileno())
                told["NODE_CHANNEL_SERIALIZATION_MODE"] = "json"
            self._process = self._start(command, {**told, **environment}, theirs)
            self.pid = self._process.pid
            self._orphanage = orphanage()
            if self._orphanage is not None:
                self._orphanage.enter(self.pid, mark, PURPOSE.get())
            self._pidfd = os.pidfd_open(self.pid)
            self._bound_files()
        except BaseException:
            self._close_ours()
            raise
        finally:
            for sock in theirs:
                sock.close()

    def _bound_files(self) -> None:
        """What does nothing but write would fill the disk within the time of a case."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            _, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
            most = _LARGEST_FILE if hard == resource.RLIM_INFINITY else min(_LARGEST_FILE, hard)
            resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (most, most))

    def _close_ours(self) -> None:
        self._output.close()
        for sock in (self.end, self.lane_end):
            if sock is not None:
                sock.close()

    def _start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        theirs: Sequence[socket.socket],
    ) -> Process:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(_OF_WORKERS)}
        environment = {**clean, **environment}
        fds = [sock.fileno() for sock in theirs]
        if self.forge is not None and self.forge.makes(command):
            return self.forge.started(environment, self._output, fds)
        # As a primary does: Ctrl-C is for it alone.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return started(command, environment, self._output, fds)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    # ---- its end --------------------------------------------------------------------------

    @property
    def status(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.status()

    async def wait(self) -> int:
        """Wait until it has ended; it is not reaped yet.

        Cancellation:
            Nothing has changed.
        """
        while (status := self.status) is None:
            await trio.lowlevel.wait_readable(self._pidfd)
        return status

    async def close(self) -> None:
        """End it and all that it has started, and reap it.

        Cancellation:
            It is done all the same; the wait is one for the kernel.
        """
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with trio.CancelScope(shield=True), trio.move_on_after(_WAIT_FOR_END_SECONDS):
            await self.wait()
        self._process.reap()
        if self._orphanage is not None:
            await self._orphanage.leave(self.pid)
        os.close(self._pidfd)
        self._close_ours()

    def last_words(self) -> str:
        """Give the end of what it wrote to its standard streams."""
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - _LAST_WORDS))
        return self._output.read().decode(errors="backslashreplace")

    def kill(self, number: int) -> None:
        """Send a signal to it alone."""
        if self.status is None:
            signal.pidfd_send_signal(self._pidfd, number)

    # ---- what it has ----------------------------------------------------------------------

    def descriptors(self) -> dict[int, str]:
        """Give its open descriptors, each with what /proc says it is: ``socket:[inode]``."""
        found = {}
        for name in self._listed("fd"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found[int(name)] = os.readlink(f"/proc/{self.pid}/fd/{name}")
        return found

    def holds(self, inode: int, device: int = 0) -> list[int]:
        """Give the descriptors behind which there is this inode, of that device if it is named."""
        found = []
        for name in self._listed("fd"):
            with contextlib.suppress(OSError):
                found_there = os.stat(f"/proc/{self.pid}/fd/{name}")
                if found_there.st_ino == inode and device in (0, found_there.st_dev):
                    found.append(int(name))
        return found

    def _listed(self, what: str) -> list[str]:
        try:
            return os.listdir(f"/proc/{self.pid}/{what}")
        except (FileNotFoundError, ProcessLookupError):
            return []

    def is_close_on_exec(self, number: int) -> bool | None:
        """Tell whether a descriptor of it has that flag; None: it is not there any more."""
        for line in self._lines(f"fdinfo/{number}"):
            name, _, value = line.partition(":")
            if name == "flags":
                return bool(int(value, 8) & _O_CLOEXEC)
        return None

    def memory(self) -> int:
        """Give its resident memory in bytes, 0 when it is gone."""
        for line in self._lines("status"):
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
        return 0

    def _lines(self, what: str) -> Iterator[str]:
        try:
            with open(f"/proc/{self.pid}/{what}", encoding="utf-8", errors="replace") as file:
                yield from file
        except (FileNotFoundError, ProcessLookupError):
            return

    def forbid_descriptors(self) -> None:
        """From now on it cannot open any descriptor more."""
        taken = self.descriptors()
        self.limit_descriptors(next(n for n in range(len(taken) + 1) if n not in taken))

    def limit_descriptors(self, most: int) -> None:
        """From now on it cannot open descriptors with this number or higher ones."""
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (most, hard))


def _pair(number: int) -> tuple[socket.socket, socket.socket]:
    """Make our end of a connection, and the program's, with that number unless it is negative."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return ours, _at_number(theirs, number)


def _at_number(sock: socket.socket, number: int) -> socket.socket:
    """Move a socket to a descriptor of this number or above, unless that is negative."""
    if number < 0:
        return sock
    moved = fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, number)
    sock.close()
    return socket.socket(fileno=moved)
