"""Things to give to a worker, one of each kind, and how to see that they are what they were."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from actorcluster import Handle, PeerClosed, Worker
from tests.descriptors import is_open


async def receive(end: socket.socket) -> bytes:
    """What arrives at our end."""
    await trio.lowlevel.wait_readable(end)
    return end.recv(100)


async def connect_and_receive(address: Any) -> bytes:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with trio.socket.socket(family) as sock:
        await sock.connect(address)
        return await sock.recv(100)


async def told(worker: Worker) -> bytes:
    """What the worker says to have read."""
    body = (await worker.mailbox.receive()).body
    assert isinstance(body, bytes)
    return body


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        return listener.accept()[0], client


@attrs.frozen
class Gift:
    """Something to hand over.

    Attributes:
        thing: as it is given.
        kind: what the receiver calls it.
        used: waits for what a worker that uses it tells whoever is at its other end.
        hint: what the worker needs to know.
    """

    thing: Any
    kind: str
    used: Callable[[Worker], Awaitable[bytes]]
    hint: Any = None

    @property
    def fd(self) -> int:
        """The number of its descriptor; negative, or an error, when that is not here any more."""
        if isinstance(self.thing, int):
            return self.thing
        return int(getattr(self.thing, "socket", self.thing).fileno())

    @property
    def is_gone(self) -> bool:
        """Whether its giver cannot use it any more."""
        try:
            return not is_open(self.fd)
        except (trio.ClosedResourceError, ValueError):
            return True

    async def goes(self) -> None:
        """Wait until it is gone; a mere number is the link's until the receiver has it."""
        assert isinstance(self.thing, int) or self.is_gone
        while not self.is_gone:  # noqa: ASYNC110 (there is nobody who would tell)
            await trio.sleep(0.001)


Maker = Callable[[contextlib.ExitStack], Gift]
"""Makes a gift; the stack closes its other end."""


def same(thing: Any) -> Any:
    return thing


def as_trio(sock: socket.socket) -> trio.socket.SocketType:
    sock.setblocking(False)
    return trio.socket.from_stdlib_socket(sock)


def as_stream(sock: socket.socket) -> trio.SocketStream:
    return trio.SocketStream(as_trio(sock))


def as_listener(sock: socket.socket) -> trio.SocketListener:
    return trio.SocketListener(as_trio(sock))


def as_number(sock: socket.socket) -> int:
    return sock.detach()


def tcp(wrap: Callable[[socket.socket], Any]) -> Maker:
    def make(stack: contextlib.ExitStack) -> Gift:
        ours, theirs = tcp_pair()
        stack.enter_context(theirs)
        return Gift(wrap(ours), "tcp_stream", lambda _: receive(theirs))

    return make


def unix(wrap: Callable[[socket.socket], Any]) -> Maker:
    def make(stack: contextlib.ExitStack) -> Gift:
        ours, theirs = socket.socketpair()
        stack.enter_context(theirs)
        return Gift(wrap(ours), "unix_stream", lambda _: receive(theirs))

    return make


def tcp_listener(wrap: Callable[[socket.socket], Any]) -> Maker:
    def make(_: contextlib.ExitStack) -> Gift:
        sock = socket.create_server(("127.0.0.1", 0))
        address = sock.getsockname()
        return Gift(wrap(sock), "tcp_listener", lambda _: connect_and_receive(address))

    return make


def unix_listener(stack: contextlib.ExitStack) -> Gift:
    path = os.path.join(stack.enter_context(tempfile.TemporaryDirectory()), "socket")
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen()
    return Gift(sock, "unix_listener", lambda _: connect_and_receive(path))


def udp(stack: contextlib.ExitStack) -> Gift:
    ours, theirs = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    stack.enter_context(theirs).bind(("127.0.0.1", 0))
    return Gift(ours, "udp_socket", lambda _: receive(theirs), list(theirs.getsockname()))


def file(wrap: Callable[[Any], Any], *, at: int) -> Maker:
    def make(_: contextlib.ExitStack) -> Gift:
        thing = tempfile.TemporaryFile()
        thing.write(b"x" * at + b"used")
        thing.seek(at)
        return Gift(wrap(thing), "file", told)

    return make


def pipe_to_write(wrap: Callable[[int], Any]) -> Maker:
    def make(stack: contextlib.ExitStack) -> Gift:
        reading, writing = os.pipe()
        end = stack.enter_context(open(reading, "rb", 0))

        async def used(_: Worker) -> bytes:
            await trio.lowlevel.wait_readable(end)
            return end.read(100)

        return Gift(wrap(writing), "pipe", used, "write")

    return make


def pipe_to_read(wrap: Callable[[int], Any]) -> Maker:
    def make(_: contextlib.ExitStack) -> Gift:
        reading, writing = os.pipe()
        os.write(writing, b"used")
        os.close(writing)
        return Gift(wrap(reading), "pipe", told)

    return make


def memory(_: contextlib.ExitStack) -> Gift:
    fd = os.memfd_create("test")
    os.write(fd, b"used")
    os.lseek(fd, 0, os.SEEK_SET)
    return Gift(fd, "memfd", told)


GIFTS: dict[str, Maker] = {
    "tcp socket": tcp(same),
    "tcp socket of trio": tcp(as_trio),
    "tcp SocketStream": tcp(as_stream),
    "tcp socket, its number": tcp(as_number),
    "tcp Handle": tcp(Handle.of),
    "unix socket": unix(same),
    "unix SocketStream": unix(as_stream),
    "tcp listening socket": tcp_listener(same),
    "tcp SocketListener": tcp_listener(as_listener),
    "unix listening socket": unix_listener,
    "udp socket": udp,
    "file": file(same, at=0),
    "file in the middle": file(same, at=1000),
    "file of trio": file(trio.wrap_file, at=10),
    "pipe to write, its number": pipe_to_write(same),
    "pipe to write, a file": pipe_to_write(lambda fd: open(fd, "wb")),
    "pipe to read, its number": pipe_to_read(same),
    "pipe to read, a file": pipe_to_read(lambda fd: open(fd, "rb", 0)),
    "memfd": memory,
}


def as_closed() -> socket.socket:
    sock = socket.socket()
    sock.close()
    return sock


async def raises_peer_closed(act: Callable[..., Awaitable[Any]], *args: Any) -> None:
    with pytest.raises(PeerClosed):
        await act(*args)
