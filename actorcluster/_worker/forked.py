"""What a forked process does to become the worker that was asked for.

Runs in: worker
"""

from __future__ import annotations

import contextlib
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
from .user import change_user

__all__ = ["Job", "Model", "Place"]

_STDERR: Final = 2
_STREAMS: Final = ("stdin", "stdout", "stderr")
_Device = tuple[int, int, int]


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

    @property
    def is_script(self) -> bool:
        """Whether it is a program of the user's."""
        return self.module is not None or self.script is not None

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
@attrs.frozen(kw_only=True)
class Place:
    """What a new worker has to do to take its place; all that can be known before it is forked.

    Attributes:
        job: what it is for.
        worker_id: who it is.
        limits: what `bootstrap.LIMITS` would hold.
        env: what differs from the fork server's; None for a variable that is not there.
        stdio: the numbers of the streams that it was given.
        streams: of those, by number, what `sys` is to have; None for what it has.
        argv: its ``sys.argv``.
        path: its ``sys.path``, None for the fork server's.
        umask: None leaves it, as all that follow.
        cwd: working directory.
        uid: user id.
        gid: group id.
    """

    job: Job
    worker_id: int
    limits: str | None
    env: dict[str, str | None]
    stdio: list[int]
    streams: Mapping[int, io.TextIOWrapper | None]
    argv: list[str]
    path: list[str] | None
    umask: int | None
    cwd: str | None
    uid: int | None
    gid: int | None


@final
class Model:
    """What a forked process begins with.

    All that can be is looked at before there is one: the pages that it touches are copied.

    Args:
        entry: what a worker without a script calls; returns the exit code.
    """

    def __init__(self, entry: Callable[[], int]) -> None:
        self._entry = entry
        self._env = dict(os.environ)
        self._handled = [n for n in signal.valid_signals() if callable(signal.getsignal(n))]
        self._signals_are_prepared = _signals_are_prepared()
        signal.set_wakeup_fd(-1)  # of a preloaded module
        self._streams: dict[int, tuple[_Device, io.TextIOWrapper]] = {}

    def place(self, request: dict[str, Any], stdio: Sequence[int]) -> Place:
        """In the server: what a worker that was asked for has to do.

        Args:
            request: what was asked for.
            stdio: descriptors for its streams.
        """
        script, module, env = request["script"], request["module"], request["env"]
        limits = env.pop(bootstrap.LIMITS, None)
        gone = {name: None for name in self._env if name not in env}
        new = {name: value for name, value in env.items() if self._env.get(name) != value}
        return Place(
            job=Job(module, script, self._entry),
            worker_id=request["worker_id"],
            limits=limits,
            env={**gone, **new},
            stdio=request["stdio"],
            streams=self._streams_for(request["stdio"], stdio),
            argv=[script or request["program"], *request["args"]],
            path=None if request["path"] == sys.path else request["path"],
            umask=request["umask"],
            cwd=request["cwd"],
            uid=request["uid"],
            gid=request["gid"],
        )

    def _streams_for(
        self, numbers: Sequence[int], fds: Sequence[int]
    ) -> dict[int, io.TextIOWrapper | None]:
        """Make the objects for what is no file: only a file is at some place, which may change."""
        found: dict[int, io.TextIOWrapper | None] = {}
        for number, fd in zip(numbers, fds, strict=True):
            device = _device(fd) if number <= _STDERR else None
            if device is None:
                continue
            old = getattr(sys, f"__{_STREAMS[number]}__")
            if old is not None and device == _device(number):
                found[number] = None
                continue
            with contextlib.suppress(OSError):  # no descriptors: it makes its own
                if number not in self._streams or self._streams[number][0] != device:
                    self._streams[number] = device, _stream_for(fd, number, old)
                found[number] = self._streams[number][1]
        return found

    def settle(self, place: Place, channel: int, *stdio: int) -> None:
        """In the worker: take a place. The order matters: rights go last."""
        self._reset_signals()
        _place_streams(place.stdio, stdio, place.streams)
        if place.umask is not None:
            os.umask(place.umask)
        if place.cwd is not None:
            os.chdir(place.cwd)
        if place.env:
            _change_environment(place.env)
        sys.argv[:] = place.argv
        if place.path is not None:
            sys.path[:] = place.path
        bootstrap.set_identity(bootstrap.Identity(channel, place.worker_id), place.limits)
        _change_user(place.uid, place.gid)

    def _reset_signals(self) -> None:
        """No handler of a preloaded module; what was ignored before Python started stays so."""
        for signum in self._handled:
            signal.signal(signum, signal.SIG_DFL)
        if not self._signals_are_prepared:
            bootstrap.prepare_signals()
            bootstrap.prepare_sigterm()


def _signals_are_prepared() -> bool:
    """Whether SIGINT is ignored, SIGTERM has its default action, and neither is blocked."""
    with open("/proc/self/status", "rb") as file:
        lines = (line.split() for line in file if line.startswith(b"Sig"))
        blocked, ignored, caught = (
            int(words[1], 16) for words in lines if words[0] in (b"SigBlk:", b"SigIgn:", b"SigCgt:")
        )
    interrupt, terminate = (1 << number - 1 for number in (signal.SIGINT, signal.SIGTERM))
    is_ignored = bool(ignored & interrupt) and not ignored & terminate
    return is_ignored and not (blocked | caught) & (interrupt | terminate)


def _change_environment(changes: Mapping[str, str | None]) -> None:
    for name, value in changes.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    if "TZ" in changes:
        time.tzset()


def _change_user(uid: int | None, gid: int | None) -> None:
    if uid is None and gid is None:
        return
    try:
        change_user(uid, gid)
    except OSError as exc:
        what = ", ".join(f"{k}={v}" for k, v in (("uid", uid), ("gid", gid)) if v is not None)
        raise OSError(exc.errno, f"{exc.strerror} ({what})") from None


# ---- standard streams -------------------------------------------------------------------------


def _place_streams(
    numbers: Sequence[int], fds: Sequence[int], streams: Mapping[int, io.TextIOWrapper | None]
) -> None:
    """Move descriptors to 0, 1, 2 ...; all of them have higher numbers, see `template`."""
    given = dict(zip(numbers, fds, strict=True))
    for number in filter(lambda number: number > _STDERR, given):
        os.dup2(given[number], number)
        os.close(given[number])
    for number, name in enumerate(_STREAMS):
        fd = given[number] if number in given else os.open(os.devnull, os.O_RDWR)
        if number not in streams or streams[number] is not None:
            os.dup2(fd, number)
            # A new object: how it buffers, and whether it can seek, depends on the descriptor.
            new = streams.get(number) or _stream(number, name, getattr(sys, f"__{name}__"))
            setattr(sys, name, new)
            setattr(sys, f"__{name}__", new)
        os.close(fd)


def _device(fd: int) -> _Device | None:
    """What tells a terminal, pipe or socket from all others; None for a file."""
    it = os.fstat(fd)
    return None if stat.S_ISREG(it.st_mode) else (it.st_dev, it.st_ino, it.st_rdev)


def _stream_for(fd: int, number: int, old: object) -> io.TextIOWrapper:
    """The object that a process has which has that descriptor by that number."""
    kept = os.dup(number)
    try:
        os.dup2(fd, number)
        return _stream(number, _STREAMS[number], old)
    finally:
        os.dup2(kept, number)
        os.close(kept)


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
    text.mode = "w" if writing else "r"  # type: ignore[misc]  # as the interpreter itself does
    return text
