"""What a forked process does to become the worker that was asked for.

Runs in: worker
"""

from __future__ import annotations

import io
import os
import runpy
import signal
import stat
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, final

import attrs

from . import bootstrap

__all__ = ["Job", "Model"]

_STDERR: Final = 2


@final
@attrs.frozen
class Job:
    """What a new worker process is for.

    Attributes:
        module: name of the module to run as ``__main__``, or None.
        script: path of the script to run as ``__main__`` if there is no module, or None.
        entry: called when there is neither; returns the exit code.
    """

    module: str | None
    script: str | None
    entry: Callable[[], int]

    def run(self) -> int:
        """Do it; returns the exit code."""
        if self.module is not None:
            runpy.run_module(self.module, run_name="__main__", alter_sys=True)
            return 0
        if self.script is None:
            return self.entry()
        if os.path.isfile(self.script) and not sys.flags.safe_path:
            _put_first(os.path.dirname(os.path.abspath(self.script)))
        runpy.run_path(self.script, run_name="__main__")
        return 0


def _put_first(directory: str) -> None:
    """What the interpreter does for a script: its directory is where imports look first."""
    if sys.path[:1] != [directory]:
        sys.path.insert(0, directory)


@final
class Model:
    """What a forked process begins with, looked at once and before: pages it touches are copied."""

    def __init__(self) -> None:
        self._env = dict(os.environ)
        self._handled = [n for n in signal.valid_signals() if callable(signal.getsignal(n))]

    def settle(self, request: dict[str, Any], channel: int, *stdio: int) -> None:
        """Take the place described by ``request``. The order matters: rights go last."""
        self._reset_signals()
        _place_streams(request["stdio"], stdio)
        if request["umask"] is not None:
            os.umask(request["umask"])
        if request["cwd"] is not None:
            os.chdir(request["cwd"])
        self._replace_environment(request["env"])
        sys.argv[:] = [request["script"] or request["program"], *request["args"]]
        sys.path[:] = request["path"]
        bootstrap.set_identity(bootstrap.Identity(channel, request["worker_id"]))
        _change_user(request["uid"], request["gid"])

    def _reset_signals(self) -> None:
        """No handler of a preloaded module; what was ignored before Python started stays so."""
        signal.set_wakeup_fd(-1)
        for signum in self._handled:
            signal.signal(signum, signal.SIG_DFL)
        bootstrap.prepare_signals()
        bootstrap.prepare_sigterm()

    def _replace_environment(self, env: Mapping[str, str]) -> None:
        for name in self._env:
            if name not in env:
                os.environ.pop(name, None)
        for name, value in env.items():
            if self._env.get(name) != value:
                os.environ[name] = value
        if env.get("TZ") != self._env.get("TZ"):
            time.tzset()


def _change_user(uid: int | None, gid: int | None) -> None:
    """Groups first: after the others there would be no right left to drop them."""
    if uid is None and gid is None:
        return
    what = f"uid={uid} gid={gid}"
    try:
        if os.geteuid() == 0:
            os.setgroups([])
        if gid is not None:
            os.setgid(gid)
        if uid is not None:
            os.setuid(uid)
    except OSError as exc:
        raise OSError(exc.errno, f"{exc.strerror} ({what})") from None


# ---- standard streams -------------------------------------------------------------------------


def _place_streams(numbers: Sequence[int], fds: Sequence[int]) -> None:
    """Move descriptors to 0, 1 and 2; all of them have higher numbers, see `template`."""
    given = dict(zip(numbers, fds, strict=True))
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        fd = given[number] if number in given else os.open(os.devnull, os.O_RDWR)
        old = getattr(sys, f"__{name}__")
        if old is None or not _same_device(fd, number):
            os.dup2(fd, number)
            # A new object: how it buffers, and whether it can seek, depends on the descriptor.
            new = _stream(number, name, old)
            setattr(sys, name, new)
            setattr(sys, f"__{name}__", new)
        os.close(fd)


def _same_device(a: int, b: int) -> bool:
    """Whether two descriptors are the same terminal, pipe or socket. A file has a position too."""
    one, other = os.fstat(a), os.fstat(b)
    same = (one.st_dev, one.st_ino, one.st_rdev) == (other.st_dev, other.st_ino, other.st_rdev)
    return same and not stat.S_ISREG(one.st_mode)


def _stream(fd: int, name: str, old: object) -> io.TextIOWrapper:
    """What the interpreter makes of a standard stream when it starts, to the letter."""
    writing = fd > 0
    unbuffered = getattr(old, "write_through", False) is True  # the interpreter's flag -u
    raw = io.FileIO(fd, "wb" if writing else "rb", closefd=False)
    raw.name = f"<{name}>"
    binary: io.FileIO | io.BufferedReader | io.BufferedWriter = raw
    if not writing:
        binary = io.BufferedReader(raw)
    elif not unbuffered:
        binary = io.BufferedWriter(raw)
    text = io.TextIOWrapper(
        binary,
        encoding=getattr(old, "encoding", None),
        errors=getattr(old, "errors", "backslashreplace" if fd == _STDERR else None),
        newline="\n",
        line_buffering=not unbuffered and (fd == _STDERR or os.isatty(fd)),
        write_through=unbuffered,
    )
    text.mode = "w" if writing else "r"  # type: ignore[misc]
    return text
