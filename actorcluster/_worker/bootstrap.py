"""What comes first inside a worker process: who am I, which signals count, how long do I live.

Runs in: worker

Importing this module takes the identity out of the environment, so that nothing which the worker
starts later can mistake itself for the worker. It is the one room file that ``import actorcluster``
needs at once, so it imports nothing but the standard library, and of that little.
"""

from __future__ import annotations

import _thread
import os
import select
import signal
import socket
import struct
import sys
import threading
from collections.abc import MutableMapping
from typing import Final, NamedTuple, final

__all__ = [
    "IDENTITY",
    "LIMITS",
    "Identity",
    "Lifeline",
    "identity",
    "is_worker",
    "prepare_signals",
    "prepare_sigterm",
    "refuse_before_run_worker",
    "set_identity",
    "take_identity",
]


_SEND_BUFFER: Final = 1024 * 1024  # as the primary asks for
_UCRED: Final = struct.Struct("3i")  # what SO_PEERCRED gives: pid, uid, gid


IDENTITY: Final = (
    "ACTORCLUSTER_CHANNEL",
    "ACTORCLUSTER_WORKER_ID",
    "ACTORCLUSTER_TOKEN",
    "ACTORCLUSTER_LANE",
)
"""Environment variables that name a worker's channel; nobody inherits somebody else's."""


@final
class Identity(NamedTuple):
    """What makes this process a worker.

    Attributes:
        channel_fd: its end of the channel to its primary; -1: it has yet to connect.
        worker_id: its number there.
    """

    channel_fd: int
    worker_id: int


LIMITS: Final = "ACTORCLUSTER_LIMITS"
"""Environment variable: limits that the primary's settings want this worker to announce."""


class _Self:
    """What this process knows of itself; the one place where it is kept."""

    limits: str | None = None
    path: str | None = None  # where it has yet to connect
    token: str | None = None

    identity: Identity | None = None
    error: str | None = None  # why the environment names an identity that cannot be used
    taken = False


def _read_environment(environ: MutableMapping[str, str]) -> None:
    _Self.limits = environ.pop(LIMITS, None)
    channel, number, _Self.token, lane = (environ.pop(name, None) for name in IDENTITY)
    if channel is None:
        return
    try:
        if lane is not None:
            raise ValueError("a lane for handles is for other runtimes")
        scheme, _, rest = channel.partition(":")
        if scheme == "unix":
            _Self.identity, _Self.path = Identity(-1, int(number or "")), rest
            return
        if scheme != "fd":
            raise ValueError("only fd:N and unix:/path are known")
        fd = int(rest)
        _check_channel(fd)
        _Self.identity = Identity(fd, int(number or ""))
    except (OSError, ValueError) as exc:
        # Raised when asked for, not at import. It must be raised: a worker that took itself for
        # a primary would start workers of its own, and so would they.
        _Self.error = f"ACTORCLUSTER_CHANNEL={channel} ACTORCLUSTER_WORKER_ID={number}: {exc}"


def _check_channel(fd: int) -> None:
    sock = socket.socket(fileno=fd)
    try:
        if (sock.family, sock.type) != (socket.AF_UNIX, socket.SOCK_STREAM):
            raise ValueError(f"descriptor {fd} is not a stream socket of family AF_UNIX")
        sock.set_inheritable(False)
    finally:
        sock.detach()


def identity() -> Identity | None:
    """This worker's identity; None if this process is not a worker.

    Raises:
        RuntimeError: the environment names a channel that is not there.
    """
    if _Self.error is not None:
        raise RuntimeError(f"this process was started as a worker, but: {_Self.error}")
    return _Self.identity


def is_worker() -> bool:
    """Whether this process is a worker; see `identity`."""
    return identity() is not None


def take_limits() -> dict[str, int]:
    """Take what the primary's settings want this worker to announce in HELLO.

    Raises:
        RuntimeError: the variable is not of the form ``name=bytes name=bytes``.
    """
    return read_limits(_Self.limits)


def read_limits(text: str | None) -> dict[str, int]:
    """Read what `LIMITS` holds.

    Raises:
        RuntimeError: it is not of that form.
    """
    words = (word.partition("=") for word in (text or "").split())
    try:
        return {name: int(value) for name, _, value in words}
    except ValueError:
        raise RuntimeError(f"{LIMITS}={text!r} is not a list of name=bytes") from None


def set_identity(new: Identity, limits: str | None) -> None:
    """Say who this process is, when it did not come from the environment: a forked worker.

    Args:
        new: who.
        limits: what `LIMITS` would hold.
    """
    _Self.limits = limits
    _Self.path = _Self.token = None
    _Self.identity = new
    _Self.error = None
    _Self.taken = False


def take_identity() -> Identity:
    """Like `identity`, for the one who takes over the channel.

    Raises:
        RuntimeError: this process is not a worker, or its channel was taken before.
    """
    mine = identity()
    if mine is None:
        raise RuntimeError(
            "this process is not a worker: ask actorcluster.is_worker() before run_worker()"
        )
    if _Self.taken:
        raise RuntimeError("this worker runs, or ran, already: run_worker() can be called once")
    _Self.taken = True
    if _Self.path is not None:
        mine = _Self.identity = Identity(_connect(_Self.path), mine.worker_id)
        _Self.path = None
    return mine


def take_token() -> str | None:
    """Take what the primary knows this worker by, which has yet to introduce itself."""
    token, _Self.token = _Self.token, None
    return token


def _connect(path: str) -> int:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        sock.connect(path)
    except OSError as exc:
        sock.close()
        raise RuntimeError(f"this worker cannot connect to its primary at {path}: {exc}") from exc
    return sock.detach()


def refuse_before_run_worker(what: str) -> None:
    """Raise RuntimeError in a worker in script form that takes itself for the whole program.

    It would start workers that start workers, and so on.

    Args:
        what: the call that makes no sense then, e.g. ``"actorcluster.run()"``.
    """
    if is_worker() and not _Self.taken:
        raise RuntimeError(
            f"{what} was reached in a worker that runs this script and has not called "
            "actorcluster.run_worker(); ask actorcluster.is_worker() first, and let the worker "
            "call run_worker(async_fn), or fork a function"
        )


def prepare_signals() -> None:
    """Ignore SIGINT, and only then lift the block it was started with.

    Ctrl-C reaches every process of the terminal's foreground group; the primary decides.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def prepare_sigterm() -> None:
    """Let SIGTERM end this process. A primary that ignores or blocks it has us inherit that.

    For the very beginning: what a worker's own code makes of SIGTERM later on is its business.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


@final
class Lifeline:
    """Ends this process, exit code 0, when its primary is gone and it does not end by itself.

    A thread of the operating system that sleeps in ``poll`` until the other end of the channel is
    closed or the primary has ended; then the process has ``grace`` seconds. This covers code that
    never comes back to its event loop. It does not cover code that never releases the interpreter,
    nor a stopped process: those the fork server kills from outside, a little later.

    It never reads, and keeps nothing alive. `disarm` it before the channel is closed: a thread that
    polls a socket keeps it open, so the primary would not see the end of file.

    Args:
        channel_fd: the worker's end of the channel.
        grace: seconds from the primary's end to this process's.
    """

    def __init__(self, channel_fd: int, grace: float = 1.0) -> None:
        self._channel_fd = channel_fd
        self._grace = grace
        self._armed_by: int | None = os.getpid()
        self._disarmed, self._disarm = os.pipe2(os.O_CLOEXEC)
        self._primary = _pidfd_of_peer(channel_fd)
        self._lock = threading.Lock()
        self._watching = threading.Lock()
        self._watching.acquire()
        # Not by `threading`: that waits until the thread has had a turn.
        self._thread = _thread.start_new_thread(self._watch, ())

    def disarm(self) -> None:
        """Let this process live on. Any number of calls."""
        with self._lock:
            if self._armed_by != os.getpid():  # done already, or this is a forked copy without it
                return
            self._armed_by = None
        os.write(self._disarm, b"!")  # not by closing: a forked copy would hold it open
        self._watching.acquire()  # it does no more now than to end
        os.close(self._disarm)
        os.close(self._disarmed)
        if self._primary >= 0:
            os.close(self._primary)

    def _watch(self) -> None:
        try:
            self._wait()
        finally:
            self._watching.release()

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._disarmed, select.POLLIN)
        poll.register(self._channel_fd, select.POLLRDHUP)
        if self._primary >= 0:
            poll.register(self._primary, select.POLLIN)
        if self._disarmed in dict(poll.poll()):
            return
        patience = select.poll()
        patience.register(self._disarmed, select.POLLIN)
        if not patience.poll(self._grace * 1000):
            os._exit(0)


def _pidfd_of_peer(channel_fd: int) -> int:
    """A pidfd of the process that made the channel, or -1.

    A copy of the primary, made by a fork without exec, would keep the channel's other end open.
    """
    if sys.platform != "linux":
        return -1
    sock = socket.socket(fileno=channel_fd)
    try:
        creds = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        pid, _, _ = _UCRED.unpack(creds)
        return os.pidfd_open(pid) if pid > 0 else -1
    except OSError:  # it is gone, then the channel hangs up; or it lives where we cannot see it
        return -1
    finally:
        sock.detach()


_read_environment(os.environ)
