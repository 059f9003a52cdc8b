"""The program that is wrapped: started with its sockets, and everything of it ended.

Runs in: worker

Sockets are handed over as systemd does it: descriptors from 3 on, LISTEN_FDS, LISTEN_FDNAMES, and
LISTEN_PID, which only the new process itself can know. So this forks and executes by itself.

The program leads a process group. A terminal's Ctrl-C is for the primary, which tells its workers.
If the wrapper is killed, the kernel kills the program (not what it has started).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

__all__ = ["Child", "environment", "start"]

_FIRST: Final = 3
_PR_SET_PDEATHSIG: Final = 1
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
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: int | None = None

    def poll(self) -> bool:
        """Whether the program has ended. What it has left in its group is killed then."""
        if self.status is None:
            # Still a zombie: so nobody else has its number, nor that of its group.
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return False
            self._kill_group()
            _, self.status = os.waitpid(self.pid, 0)
        return True

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
