"""The least that the start of a worker asks of Python and Trio; see ``start_floor.py``.

A process that has imported what a worker needs forks for whoever asks. Its child runs Trio and
speaks, and there is nothing else: no settings, no rights, no protocol, nobody who guards it, and no
program of the user's that it imports. As a program this is that process; it takes the number of its
end of a socket, and the name of what its children do.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import struct
import subprocess
import sys

import msgpack
import trio

__all__ = ["ForkFloor"]

_PID = struct.Struct("i")
_REHEARSALS = 10


class ForkFloor:
    """That process, as its primary sees it.

    Args:
        what: the name of what its children do: ``work`` or ``fail``.
    """

    def __init__(self, what: str = "work") -> None:
        self._control, theirs = socket.socketpair()
        command = [sys.executable, "-m", __name__, str(theirs.fileno()), what]
        with theirs:
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()])

    def start(self) -> socket.socket:
        """Ask for a worker; gives our end of the socket to it."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [b"!"], [theirs.fileno()])
        return ours

    def pid(self) -> int:
        """Wait for the process id of the next of those that were asked for."""
        number: int = _PID.unpack(self._control.recv(_PID.size))[0]
        return number

    def close(self) -> None:
        """End it."""
        self._control.close()
        self._process.wait()


async def receive(end: socket.socket) -> object:
    """Wait for a message; None at the end of file."""
    await trio.lowlevel.wait_readable(end)
    data = end.recv(4096)
    return msgpack.unpackb(data) if data else None


async def kill(pid: int) -> None:
    """Kill a worker, and wait until it has ended."""
    pidfd = os.pidfd_open(pid)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    await trio.lowlevel.wait_readable(pidfd)
    os.close(pidfd)


async def ended(pid: int) -> None:
    """Wait until a worker has ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return  # already
    await trio.lowlevel.wait_readable(pidfd)
    os.close(pidfd)


async def work(end: socket.socket) -> None:
    """Say that it is up, then answer every message with what it carries."""
    end.send(msgpack.packb("hello"))
    while (body := await receive(end)) is not None:
        end.send(msgpack.packb(body))


async def fail(end: socket.socket) -> None:
    """Say that it is up, and fail."""
    end.send(msgpack.packb("hello"))
    raise SystemExit(1)


async def _rehearse() -> None:
    ours, theirs = socket.socketpair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work, theirs)
        await receive(ours)
        ours.send(msgpack.packb(1))
        await receive(ours)
        ours.close()


def serve(control: socket.socket, what: str) -> None:
    """Fork for whoever asks, until nobody can ask any more."""
    main = {"work": work, "fail": fail}[what]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for its children
    for _ in range(_REHEARSALS):
        trio.run(_rehearse)
    gc.collect()
    gc.freeze()
    while True:
        asked, (*fds,), _, _ = socket.recv_fds(control, 1, 1)
        if not asked:
            return
        pid = os.fork()
        if not pid:
            control.close()
            with socket.socket(fileno=fds[0]) as end:
                trio.run(main, end)
            return
        os.close(fds[0])
        control.send(_PID.pack(pid))


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as given:
        serve(given, sys.argv[2])
