"""Helpers to try sockets that carry descriptors: what is kept, what arrives, in which groups."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence

from actorcluster._link.fdsocket import RECEIVE_SIZE, FdSocket
from actorcluster._link.handles import close_descriptors

FULL = RECEIVE_SIZE


def number_of_open() -> int:
    return len(os.listdir("/proc/self/fd"))


def open_memfds(count: int) -> list[int]:
    """Descriptors that can be told apart: the i-th is a file of i bytes."""
    fds = [os.memfd_create("test") for _ in range(count)]
    for size, fd in enumerate(fds):
        os.truncate(fd, size)
    return fds


def sizes(fds: Sequence[int]) -> list[int]:
    """Which descriptors of `open_memfds` these are; closes them."""
    try:
        return [os.fstat(fd).st_size for fd in fds]
    finally:
        close_descriptors(fds)


def read_all(sock: FdSocket) -> tuple[bytes, list[list[int]]]:
    """Everything that is there: the bytes, and each group of descriptors."""
    data, groups = bytearray(), []
    while (got := sock.receive_now()) is not None and len(got[0]):
        data += got[0]
        assert got[2] is False
        if got[1]:
            groups.append(got[1])
    return bytes(data), groups


def at_end(sock: FdSocket) -> bool:
    got = sock.receive_now()
    return got is not None and (b"", [], False) == (bytes(got[0]), *got[1:])


def fill(sock: FdSocket) -> int:
    """Send until the socket is full, nothing kept; returns how much it took."""
    total = 0
    while True:
        sock.send_now([b"f" * 4096])
        if sock.unsent:
            total += 4096 - sock.unsent
            break
        total += 4096
    sock._queue.clear()
    sock.unsent = 0
    return total


def transfer(sender: FdSocket, receiver: FdSocket) -> tuple[bytes, list[list[int]]]:
    """Send on and read until the sender has nothing left."""
    data, groups = bytearray(), []
    done = False
    while not done:
        done = sender.send_now(())
        more, more_groups = read_all(receiver)
        data += more
        groups += more_groups
    return bytes(data), groups


def run_script(code: str) -> None:
    code = textwrap.dedent("""
        import os, resource, socket, sys
        from actorcluster._link.fdsocket import FdSocket

        ours, theirs = map(FdSocket, socket.socketpair())
    """) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)
