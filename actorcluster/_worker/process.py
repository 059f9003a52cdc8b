"""One worker process as its primary holds it: started by exec, signalled and reaped by pidfd.

Runs in: primary

The primary is the parent of every worker, however it was started, and waits for exactly its own:
never for "any child", and without a SIGCHLD handler, so that other libraries in the same process
may have children too. If one of them takes our worker's status all the same, the status is None.
(Process 1 has orphans to reap besides: see `adopted`.)
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final, Literal, final

import attrs
import trio

from .._link.adapter import Adapter
from .bootstrap import IDENTITY
from .exit import Status
from .memorykills import MemoryKills
from .rendezvous import Rendezvous
from .streams import Output, Stream
from .tee import Tee

__all__ = [
    "SEND_BUFFER",
    "STDIO",
    "Launch",
    "Process",
    "above_stdio",
    "channel_pair",
    "spawn",
    "start_exec",
    "to_os_error",
    "without_identity",
]

SEND_BUFFER: Final = 1024 * 1024
"""Asked for; the kernel gives at most net.core.wmem_max."""
STDIO: Final = 3
"""Descriptors 0, 1 and 2 are a worker's standard streams; those we make for it lie above."""


@final
@attrs.frozen(kw_only=True)
class Launch:
    """What a new worker process is to be.

    Attributes:
        worker_id: never reused within a primary.
        argv: command line, for `start_exec` only; see `worker_argv`.
        script: Python script to run as ``__main__``; without it, and without a module, the worker
            runs what WELCOME will name. For the fork server only, as the next two.
        module: what to run as ``python -m`` does, rather than the script.
            fork server only.
        args: the worker's ``sys.argv[1:]``. For the fork server only.
        env: the whole environment.
        cwd: working directory; None means the primary's.
        uid: user id to change to, after dropping all supplementary groups; None leaves it. Not
            for `start_exec`, as the next.
        gid: group id to change to; None leaves it.
        stdio: descriptors of the primary that become 0, 1, 2 ...; None means the primary's own.
        rendezvous: where it is to connect; None: it inherits its channel. For `start_exec` only,
            as the next two.
        lane: in which form handles go by a channel of their own; None: beside the bytes.
        adapter: for a program that speaks another protocol.
    """

    worker_id: int
    argv: tuple[str, ...] = ()
    script: str | None = None
    module: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = attrs.Factory(lambda: dict(os.environ))
    cwd: str | None = None
    uid: int | None = None
    gid: int | None = None
    stdio: tuple[int | None, ...] = (None,) * STDIO
    rendezvous: Rendezvous | None = None
    lane: Literal["node"] | None = None
    adapter: Adapter | None = None

    @property
    def changes_user(self) -> bool:
        """Whether it is to be somebody else, or to stay it for good."""
        return (self.uid, self.gid) != (None, None)


@final
class Process:
    """A child of this process, from its start until it is reaped.

    Attributes:
        pid: process id.
        pidfd: readable once it has ended; -1 after `close`.
        start_method: how it came into being.
        rendezvous: where it connects, closed with the rest; None: it was given its channel.
        lane: our end of its channel for handles, if it has one, as `channel`.
        stdio: our ends of its streams, by its number there; None where there is none.
        kills: knows whether it was killed for want of memory; None does not.
        tee: where its stderr goes, when it is captured; closed with the rest.
    """

    def __init__(
        self,
        pid: int,
        start_method: Literal["forkserver", "exec"],
        channel: socket.socket | None,
        rendezvous: Rendezvous | None = None,
    ) -> None:
        self.pid = pid
        self.pidfd = -1
        self.start_method = start_method
        self._channel = channel
        self.rendezvous = rendezvous
        self.lane: socket.socket | None = None
        self.stdio: tuple[Stream | None, ...] = (None,) * STDIO
        self.kills: MemoryKills | None = None
        self.tee: Tee | None = None
        self._status: Status | None = None
        self._waiting = trio.Lock()
        try:
            self.pidfd = os.pidfd_open(pid)
        except ProcessLookupError:  # somebody else reaped it already
            self._status = (None, None)
        except OSError:  # no room for a descriptor; a process that nobody holds must not live
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        else:
            self.poll()  # if it is not our child, the number was reused: then never signal it

    def __repr__(self) -> str:
        return f"<Process {self.pid} {self.start_method} status={self._status and self._status[0]}>"

    @property
    def channel(self) -> socket.socket:
        """Our end of what it was given, non-blocking; whoever takes it over closes it."""
        assert self._channel is not None
        return self._channel

    def poll(self) -> Status | None:
        """Reap it if it has ended.

        Returns:
            The status, also when asked again; None while it lives.
        """
        if self._status is None:
            try:
                # By pidfd first: a number may have been reused, if somebody else reaped ours.
                flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
                if os.waitid(os.P_PIDFD, self.pidfd, flags) is not None:
                    _, status, rusage = os.wait4(self.pid, 0)
                    self._status = status, rusage
            except ChildProcessError:
                self._status = None, None
        return self._status

    async def wait(self) -> Status:
        """Wait until it has ended, and reap it. Any number of tasks may wait.

        Cancellation:
            Nothing is lost; wait again.
        """
        async with self._waiting:  # one descriptor can be waited for by one task only
            while (status := self.poll()) is None:
                with contextlib.suppress(trio.ClosedResourceError):  # reaped and closed by another
                    await trio.lowlevel.wait_readable(self.pidfd)
        return status

    def send_signal(self, signum: int) -> bool:
        """Send a signal; never to another process that has got the same number.

        Returns:
            False if it has been reaped, so that no signal was sent.
        """
        if self._status is not None:
            return False
        try:
            signal.pidfd_send_signal(self.pidfd, signum)
        except ProcessLookupError:  # it ended, and somebody else reaped it
            return False
        return True

    def kill_now(self) -> bool:
        """Send SIGKILL, as `send_signal`."""
        return self.send_signal(signal.SIGKILL)

    @property
    def printed(self) -> dict[int, Output]:
        """Its stdout and stderr, where they are pipes."""
        streams = enumerate(self.stdio[:STDIO])
        return {number: stream for number, stream in streams if isinstance(stream, Output)}

    async def destroy(self) -> Status:
        """Kill it, reap it and close everything of it, shielded from cancellation."""
        with trio.CancelScope(shield=True):
            self.kill_now()
            status = await self.wait()
        for end in (self._channel, self.lane):
            if end is not None:
                end.close()
        self.close()
        return status

    def close(self) -> None:
        """Close what is ours, but not the channel. It must have been reaped, or stays a zombie.

        Raises:
            RuntimeError: it has not.
        """
        if self.poll() is None:
            raise RuntimeError(f"process {self.pid} must be waited for before it is closed")
        if self.pidfd >= 0:
            trio.lowlevel.notify_closing(self.pidfd)
            os.close(self.pidfd)
            self.pidfd = -1
        if self.kills is not None:
            self.kills.forget(self)
        if self.tee is not None:
            self.tee.close()
        if self.rendezvous is not None:
            self.rendezvous.close()
        for stream in self.stdio:
            if stream is not None:
                stream.ended()


# ---- starting one ---------------------------------------------------------------------------


async def start_exec(
    launch: Launch, *, pass_fds: Sequence[int] = (), above: int = STDIO
) -> Process:
    """Start a program with one end of a channel, and no streams but the standard ones.

    The program begins with SIGINT blocked: a Ctrl-C is its primary's to handle, and an interpreter
    that is still starting could only answer it with a traceback. Workers in Python ignore it and
    then lift the block; a program in another language is free to lift it, or leave it.

    Args:
        launch: what it is to be.
        pass_fds: descriptors that it has, too, under the same numbers.
        above: the lowest number that its channel may have.

    Raises:
        OSError: the program cannot be started; names it, or the working directory.

    Cancellation:
        Nothing was started.
    """
    await trio.lowlevel.checkpoint()
    if launch.rendezvous is not None:
        pid = _spawn(launch, _identity(launch, launch.rendezvous.environment), pass_fds)
        return Process(pid, "exec", None, launch.rendezvous)
    ours, theirs = channel_pair(above)
    with theirs:
        number = theirs.fileno()
        told = _identity(launch, {"ACTORCLUSTER_CHANNEL": f"fd:{number}"})
        try:
            if launch.adapter is not None:
                told = launch.adapter.environment(launch.worker_id, number)
            if launch.lane is None:
                pid = _spawn(launch, told, [number, *pass_fds])
                return Process(pid, "exec", ours)
            return _spawn_with_lane(launch, ours, told, [number, *pass_fds], above)
        except BaseException:
            ours.close()
            raise


def _spawn_with_lane(
    launch: Launch,
    channel: socket.socket,
    told: Mapping[str, str],
    pass_fds: Sequence[int],
    above: int,
) -> Process:
    """Start it with a channel of Node's beside ours."""
    ours, theirs = channel_pair(above)
    with theirs:
        number = theirs.fileno()
        lane = {
            "ACTORCLUSTER_LANE": "node",
            "NODE_CHANNEL_FD": str(number),
            "NODE_CHANNEL_SERIALIZATION_MODE": "json",
        }
        try:
            env = {name: text for name, text in launch.env.items() if name != "NODE_UNIQUE_ID"}
            launch = attrs.evolve(launch, env=env)  # with it Node would speak to its own primary
            pid = _spawn(launch, {**told, **lane}, [number, *pass_fds])
            process = Process(pid, "exec", channel)
        except BaseException:
            ours.close()
            raise
    process.lane = ours
    return process


def _identity(launch: Launch, channel: Mapping[str, str]) -> dict[str, str]:
    """What tells a worker of ours who it is, and its channel."""
    return {**channel, "ACTORCLUSTER_WORKER_ID": str(launch.worker_id)}


def _spawn(launch: Launch, identity: Mapping[str, str], pass_fds: Sequence[int]) -> int:
    """Start it with what tells it its channel."""
    env = {**without_identity(launch.env), **identity}
    try:
        return spawn(launch.argv, env=env, cwd=launch.cwd, stdio=launch.stdio, pass_fds=pass_fds)
    except OSError as exc:
        raise to_os_error(exc, launch) from None


def to_os_error(exc: OSError, launch: Launch) -> OSError:
    """Say what could not be started, and as whom."""
    if exc.filename is not None:
        return exc
    changes = [
        f"{name}={value}"
        for name, value in (("uid", launch.uid), ("gid", launch.gid))
        if value is not None
    ]
    text = f"{exc.strerror} ({', '.join(changes)})" if changes else str(exc.strerror)
    return OSError(exc.errno, text, launch.argv[0])


def channel_pair(above: int = STDIO) -> tuple[socket.socket, socket.socket]:
    """Our end of a new channel, non-blocking, and the worker's end, numbered `above` or higher."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):  # the default holds three messages of 64 KiB
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    ours.setblocking(False)
    if theirs.fileno() < above:
        with theirs as low:
            theirs = socket.socket(fileno=above_stdio(low.fileno(), above))
    return ours, theirs


def without_identity(env: Mapping[str, str]) -> dict[str, str]:
    """A copy of ``env`` that makes nobody a worker."""
    return {name: value for name, value in env.items() if name not in IDENTITY}


@trio.lowlevel.enable_ki_protection
def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | None = None,
    stdio: Sequence[int | None] = (None,) * STDIO,
    pass_fds: Sequence[int] = (),
) -> int:
    """Start a program from this very thread, with SIGINT blocked; returns once it executes.

    Whoever calls this reaps the process: to ``subprocess`` it is as good as ended.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        popen = subprocess.Popen(
            argv,
            stdin=stdio[0],
            stdout=stdio[1],
            stderr=stdio[2],
            env=env,
            cwd=cwd,
            pass_fds=pass_fds,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    popen.returncode = 0  # else its destructor would reap the process before we can
    return popen.pid


def above_stdio(fd: int, above: int = STDIO) -> int:
    """A duplicate that no stream of a child can take the place of."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, above)
