"""Things to pass: one of each kind, each closed by the test that asked for it."""

from __future__ import annotations

import os
import pty
import socket
import tempfile
from collections.abc import Callable
from typing import Any

import pytest

from actorcluster.wire._generated import HandleKind
from tests.descriptors import is_open


def open_numbers() -> set[int]:
    numbers = set(map(int, os.listdir("/proc/self/fd")))
    return {fd for fd in numbers if is_open(fd)}  # without the one that read the directory


def tcp_listener(host: str = "127.0.0.1") -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.bind((host, 0))
    sock.listen()
    return sock


def tcp_pair(host: str = "127.0.0.1") -> tuple[socket.socket, socket.socket]:
    with tcp_listener(host) as listener:
        client = socket.create_connection(listener.getsockname()[:2])
        server, _ = listener.accept()
    return client, server


def udp_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


def unix_listener(path: str | bytes) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen()
    return sock


def one_of(pair: tuple[Any, Any]) -> Any:
    """The first of two; the other, a socket or a number, is closed."""
    other = pair[1]
    os.close(other) if isinstance(other, int) else other.close()
    return pair[0]


def abstract_name() -> bytes:
    return f"\0actorcluster-test-{os.getpid()}".encode()


MAKERS: dict[str, tuple[Callable[[], Any], str, HandleKind]] = {
    "tcp": (lambda: one_of(tcp_pair()), "tcp_stream", HandleKind.TCP_SOCKET),
    "tcp6": (lambda: one_of(tcp_pair("::1")), "tcp_stream", HandleKind.TCP_SOCKET),
    "tcp-listener": (tcp_listener, "tcp_listener", HandleKind.TCP_LISTENER),
    "udp": (udp_socket, "udp_socket", HandleKind.UDP_SOCKET),
    "unix": (lambda: one_of(socket.socketpair()), "unix_stream", HandleKind.UNIX_STREAM),
    "unix-listener": (
        lambda: unix_listener(abstract_name()),
        "unix_listener",
        HandleKind.UNIX_LISTENER,
    ),
    "unix-dgram": (
        lambda: one_of(socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)),
        "other",
        HandleKind.UNIX_DGRAM,
    ),
    "unix-seqpacket": (
        lambda: one_of(socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)),
        "other",
        HandleKind.UNIX_SEQPACKET,
    ),
    "netlink": (
        lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "other",
        HandleKind.OPAQUE,
    ),
    "pipe-read": (lambda: one_of(os.pipe()), "pipe", HandleKind.PIPE_READ),
    "pipe-write": (lambda: one_of(os.pipe()[::-1]), "pipe", HandleKind.PIPE_WRITE),
    "file": (lambda: os.open(__file__, os.O_RDONLY), "file", HandleKind.FILE),
    "unlinked-file": (tempfile.TemporaryFile, "file", HandleKind.FILE),
    "device": (lambda: os.open("/dev/null", os.O_RDWR), "file", HandleKind.FILE),
    "memfd": (lambda: os.memfd_create("test"), "memfd", HandleKind.MEMFD),
    "tty": (lambda: one_of(pty.openpty()), "other", HandleKind.TTY),
    "eventfd": (lambda: os.eventfd(0), "other", HandleKind.EVENTFD),
    "pidfd": (lambda: os.pidfd_open(os.getpid()), "other", HandleKind.PIDFD),
    "epoll": (lambda: __import__("select").epoll(), "other", HandleKind.OPAQUE),
    "directory": (lambda: os.open("/", os.O_RDONLY), "other", HandleKind.OPAQUE),
}


every_kind = pytest.mark.parametrize(("make", "name", "kind"), MAKERS.values(), ids=MAKERS)
