"""Descriptors of every kind to send, and a look at who still has them.

Runs in: both
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Callable
from typing import Final

import attrs

from ..wire._generated import HandleKind

__all__ = ["MAKERS", "Thing", "make_thing", "tcp_pair"]


@attrs.define
class Thing:
    """A descriptor that is to be sent, and what belongs to it.

    Attributes:
        fd: ours; closed by `close_ours` once it was sent.
        inode: as `fstat` gives it.
        device: likewise; 0: the kernel has one inode for all of the kind.
        others: what keeps it alive or useful: the other end of a pipe, for example.
    """

    kind: int
    fd: int
    inode: int
    others: list[socket.socket | int]
    name: str = ""
    device: int = 0

    def close_ours(self) -> None:
        """Close our own copy."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def close(self) -> None:
        """Close it and all that belongs to it."""
        self.close_ours()
        for other in self.others:
            if isinstance(other, int):
                with contextlib.suppress(OSError):
                    os.close(other)
            else:
                other.close()
        self.others = []


def make_thing(kind: int, name: str = "") -> Thing:
    """Open a descriptor that is what the code of a handle kind says; of unknown ones a pipe."""
    fd, others = MAKERS.get(kind, _pipe_read)()
    found = os.fstat(fd)
    device = 0 if kind in _ANONYMOUS else found.st_dev
    return Thing(kind, fd, found.st_ino, others, name, device)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Connect two sockets over loopback: as a server has it, and as its client has it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        served, _ = listener.accept()
    served.setblocking(False)
    return served, client


_ANONYMOUS: Final = (HandleKind.EVENTFD, HandleKind.PIDFD)
_Made = tuple[int, list[socket.socket | int]]


def _tcp_socket() -> _Made:
    served, client = tcp_pair()
    return served.detach(), [client]


def _tcp_listener() -> _Made:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    return listener.detach(), []


def _udp_socket() -> _Made:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.bind(("127.0.0.1", 0))
    return sock.detach(), []


def _unix(kind: int) -> Callable[[], _Made]:
    def make() -> _Made:
        one, other = socket.socketpair(type=kind)
        one.setblocking(False)
        return one.detach(), [other]

    return make


def _unix_listener() -> _Made:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    sock.bind("")  # an address that the kernel chooses, without a file
    sock.listen()
    return sock.detach(), []


def _pipe_read() -> _Made:
    read, write = os.pipe()
    return read, [write]


def _pipe_write() -> _Made:
    read, write = os.pipe()
    return write, [read]


def _file() -> _Made:
    fd, path = tempfile.mkstemp()
    os.unlink(path)
    return fd, []


def _memfd() -> _Made:
    return os.memfd_create("conform"), []


def _eventfd() -> _Made:
    return os.eventfd(0), []


def _tty() -> _Made:
    ours, theirs = os.openpty()
    return theirs, [ours]


def _pidfd() -> _Made:
    return os.pidfd_open(os.getpid()), []


MAKERS: Final[dict[int, Callable[[], _Made]]] = {
    HandleKind.TCP_SOCKET: _tcp_socket,
    HandleKind.TCP_LISTENER: _tcp_listener,
    HandleKind.UDP_SOCKET: _udp_socket,
    HandleKind.UNIX_STREAM: _unix(socket.SOCK_STREAM),
    HandleKind.UNIX_LISTENER: _unix_listener,
    HandleKind.UNIX_DGRAM: _unix(socket.SOCK_DGRAM),
    HandleKind.UNIX_SEQPACKET: _unix(socket.SOCK_SEQPACKET),
    HandleKind.PIPE_READ: _pipe_read,
    HandleKind.PIPE_WRITE: _pipe_write,
    HandleKind.FILE: _file,
    HandleKind.MEMFD: _memfd,
    HandleKind.TTY: _tty,
    HandleKind.EVENTFD: _eventfd,
    HandleKind.PIDFD: _pidfd,
}
