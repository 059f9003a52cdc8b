"""The program that is wrapped: started with its sockets, and everything of it ended.

Runs in: worker

Sockets are handed over as systemd does it: descriptors from 3 on, LISTEN_FDS, LISTEN_FDNAMES, and
LISTEN_PID, which only the new process itself can know. So this forks and executes by itself.

The program leads a process group. A terminal's Ctrl-C is for the primary, which tells its workers.
If the wrapper is killed, the kernel kills the program (not what it has started).

Nothing outlives the program, daemons neither: this process is a *subreaper*, so whoever loses its
parent becomes its child. It has started nobody else, so all its children are of the program.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

__all__ = ["Child", "adopt_orphans", "environment", "start"]

_FIRST: Final = 3
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
#: Generations: who is ended leaves those whom it has started.
_MOST_ROUNDS: Final = 100
_CANNOT_EXECUTE: Final = 126
_NOT_FOUND: Final = 127
#: Of the environment, what tells a program of sockets; others begin so as well (LISTEN_ADDRESS).
_OF_SOCKETS: Final = ("LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "LISTEN_PIDFDID")
#: What Python ignores or handles; and SIGQUIT, which a shell lets jobs in the background ignore:
#: a program that inherits that can never be told to stop by it, and no shell can trap it again.
_TO_DEFAULT: Final = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGCHLD,
)


class Child:
    """A program that was started, and leads a process group.

    Attributes:
        pid: of the program.
        status: as `os.waitpid` gives it, once the program has ended.
        left: how many processes it then had left behind.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: int | None = None
        self.left = 0

    def poll(self) -> bool:
        """Whether the program has ended. What it has left behind is killed then."""
        if self.status is None:
            for pid in _children():
                if pid != self.pid:
                    _has_ended(pid)
            # Still a zombie: so nobody else has its number, nor that of its group.
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return False
            self._bury()
        return True

    def end(self) -> None:
        """Kill the program and all that it has started, if they are still there."""
        if self.status is None:
            self.signal(signal.SIGKILL)
            self._bury()

    def _bury(self) -> None:
        self.left = sum(not _has_ended(pid) for pid in _children() if pid != self.pid)
        self._kill_group()
        _, self.status = os.waitpid(self.pid, 0)
        _end_children()

    def signal(self, number: int) -> None:
        """Send a signal to the program alone; SIGKILL goes to all of its group."""
        if self.status is not None:
            return
        if number == signal.SIGKILL:
            self._kill_group()
        os.kill(self.pid, number)

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def _end_children() -> None:
    """Kill all children of this process, and those who become such by that."""
    spared: set[int] = set()
    for _ in range(_MOST_ROUNDS):
        pids = [pid for pid in _children() if pid not in spared and not _has_ended(pid)]
        if not pids:
            return
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except PermissionError:  # it runs as somebody else
                spared.add(pid)
        for pid in pids:
            if pid not in spared:
                os.waitpid(pid, 0)


def _has_ended(pid: int) -> bool:
    """Whether a child of ours has; it is reaped then."""
    return os.waitpid(pid, os.WNOHANG)[0] == pid


def _children() -> list[int]:
    """Our children, zombies included."""
    lists = []
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):  # a thread that has ended; or a kernel without it
            lists.append(Path(f"/proc/self/task/{task}/children").read_text().split())
    if not lists:
        lists = [[name for name in os.listdir("/proc") if name.isdigit() and _is_child(name)]]
    return [int(pid) for found in lists for pid in found]


def _is_child(pid: str) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return int(stat.rpartition(b")")[2].split()[1]) == os.getpid()


def adopt_orphans() -> None:
    """From now on, whoever of our descendants loses its parent is a child of this process."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def start(command: Sequence[str], sockets: Sequence[tuple[str, int]]) -> Child:
    """Start a program.

    Args:
        command: program and arguments.
        sockets: name and descriptor of each; they stay open here.

    Raises:
        OSError: there are not enough processes.
    """
    libc = ctypes.CDLL(None)
    parent = os.getpid()
    # What comes before the program has its own handlers must not meet ours, and get lost.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            try:
                os.setpgid(0, 0)
                libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() != parent:  # it died before it could be watched
                    os._exit(_CANNOT_EXECUTE)
                _become(command, sockets)
            except BaseException as exc:  # noqa: BLE001 - nothing may come back from here
                # Not all of an OSError: it names the last directory of PATH that was tried.
                why = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
                os.write(2, f"actorcluster-run: {command[0]}: {why}\n".encode(errors="replace"))
                os._exit(_NOT_FOUND if isinstance(exc, FileNotFoundError) else _CANNOT_EXECUTE)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)  # whoever comes first
    return Child(pid)


def _become(command: Sequence[str], sockets: Sequence[tuple[str, int]]) -> NoReturn:
    for number in _TO_DEFAULT:
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    # First out of the way of each other, then into their places.
    least = _FIRST + len(sockets)
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, least) for _, fd in sockets]
    for place, fd in enumerate(high, _FIRST):
        os.dup2(fd, place, inheritable=True)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.execvpe(command[0], list(command), environment(os.environ, [name for name, _ in sockets]))


def environment(inherited: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """What the program finds: how many sockets there are, and what each is for."""
    ours = {name: value for name, value in inherited.items() if name not in _OF_SOCKETS}
    if not names:
        return ours
    return ours | {
        "LISTEN_FDS": str(len(names)),
        "LISTEN_FDNAMES": ":".join(names),
        "LISTEN_PID": str(os.getpid()),
    }
