"""What a program under test leaves behind: processes that are in no group of its any more.

Runs in: both

Who calls ``setsid``, or forks twice and ends, is not ended with the program's process group. So the
kit becomes a *subreaper*: whoever outlives the one that has started it becomes a child of ours, and
cannot get out of our sight. A child that nobody here has started was started by a program under
test. By which one shows its session, or an entry of its environment; where both are gone it is
known as soon as no other program runs. A child's number is nobody else's before it is reaped,
which is done here.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Final

import attrs
import trio

__all__ = ["MARK", "Orphanage", "open_orphanage", "orphanage"]

MARK: Final = "CONFORM_PROGRAM"
"""In a program's environment: which one it is. Libraries may drop what begins ``ACTORCLUSTER_``."""

_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_GET_CHILD_SUBREAPER: Final = 37
#: Generations: who is ended leaves those whom it has started.
_MOST_ROUNDS: Final = 100
_PATIENCE_SECONDS: Final = 10.0


@attrs.frozen
class _Stat:
    """A process, as /proc has it."""

    pid: int
    state: str
    parent: int
    group: int
    session: int


class Orphanage:
    """The processes that programs under test have left behind.

    Attributes:
        left: how many were ended, by what the program was started for.
    """

    def __init__(self) -> None:
        self.left: Counter[str] = Counter()
        self._others = {one.pid for one in _children()}
        self._running: dict[int, tuple[str, str]] = {}
        #: who was killed, and is reaped by somebody; by nobody else, or the number might be a
        #: stranger's by then.
        self._ending: set[int] = set()

    def enter(self, pid: int, mark: str, purpose: str) -> None:
        """A program was started."""
        self._running[pid] = (mark, purpose)

    async def leave(self, pid: int) -> None:
        """End what a program has left behind, which was ended with its group, and reaped.

        Cancellation:
            It is done all the same; the wait is one for the kernel.
        """
        mark, purpose = self._running.pop(pid)
        with trio.CancelScope(shield=True):
            self.left += Counter({purpose: await self._end(pid, mark)})

    async def _end(self, pid: int, mark: str) -> int:
        ended = 0
        for _ in range(_MOST_ROUNDS):
            found = [one for one in self._adopted() if self._is_of(one, pid, mark)]
            if not found:
                break
            ended += sum(one.group != pid for one in found)  # else it was ended already
            for one in found:
                try:
                    os.kill(one.pid, signal.SIGKILL)
                except PermissionError:  # it runs as somebody else
                    self._others.add(one.pid)
            await self._reap_all({one.pid for one in found} - self._others)
        return ended

    async def _reap_all(self, pids: set[int]) -> None:
        self._ending |= pids
        try:
            for pid in pids:
                await _reap(pid)
        finally:
            self._ending -= pids

    def _adopted(self) -> list[_Stat]:
        """Children of ours that nobody here has started, and that live."""
        found = []
        for one in _children():
            if one.pid in self._others or one.pid in self._running or one.pid in self._ending:
                continue
            if one.state == "Z":  # it has ended by itself
                os.waitid(os.P_PID, one.pid, os.WEXITED | os.WNOHANG)
            else:
                found.append(one)
        return found

    def _is_of(self, one: _Stat, pid: int, mark: str) -> bool:
        return not self._running or one.session == pid or _has(one.pid, f"{MARK}={mark}")


#: That of this process, while it tries programs.
_open: list[Orphanage] = []


def orphanage() -> Orphanage | None:
    """Give the one that is open, if one is."""
    return _open[-1] if _open else None


@contextlib.contextmanager
def open_orphanage() -> Iterator[Orphanage]:
    """Have orphans become our children, as long as the block lasts."""
    libc = ctypes.CDLL(None)
    before = ctypes.c_int()
    libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(before))
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _open.append(Orphanage())
    try:
        yield _open[-1]
    finally:
        _open.pop()
        libc.prctl(_PR_SET_CHILD_SUBREAPER, before.value)


async def _reap(pid: int) -> None:
    """Wait until a child that was killed has ended, and have the kernel forget it."""
    number = os.pidfd_open(pid)
    try:
        with trio.move_on_after(_PATIENCE_SECONDS):
            await trio.lowlevel.wait_readable(number)
        _forget(number)
    finally:
        os.close(number)


def _forget(pidfd: int) -> None:
    with contextlib.suppress(ChildProcessError):  # another program's end has come across it
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)


def _children() -> list[_Stat]:
    """Our children, zombies included."""
    us = os.getpid()
    lists = []
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):  # a thread that has ended; or a kernel without it
            lists.append(_read(f"/proc/self/task/{task}/children").split())
    pids = [int(pid) for found in lists for pid in found]
    if not lists:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    stats = (_stat(pid) for pid in pids)
    return [one for one in stats if one is not None and one.parent == us]


def _stat(pid: int) -> _Stat | None:
    try:
        data = _read(f"/proc/{pid}/stat")
    except OSError:
        return None
    state, *numbers = data.rpartition(b")")[2].split()[:4]
    return _Stat(pid, state.decode(), *map(int, numbers))


def _has(pid: int, entry: str) -> bool:
    """Whether a process has been started with that in its environment, as far as we may know."""
    try:
        return entry.encode() in _read(f"/proc/{pid}/environ").split(b"\0")
    except OSError:
        return False


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
