"""Streams made in few steps do what Trio's do, and are given only where nobody can tell."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from actorcluster._worker.inet import STREAM_OPTIONS, bind_inet
from actorcluster._worker.lean import Streams, _Lean
from actorcluster._worker.opened import OpenConnections
from tests.worker.boss import Background

Pair = tuple[socket.socket, trio.SocketStream]


def accepted(listening: socket.socket) -> tuple[socket.socket, socket.socket]:
    """Connect; returns the client and what was accepted."""
    client = socket.create_connection(listening.getsockname())
    listening.setblocking(True)
    return client, listening.accept()[0]


@contextmanager
def lean(
    opened: OpenConnections | None = None,
) -> Iterator[Pair]:
    """Give a client and its stream, the second of a listener."""
    streams = Streams()
    with bind_inet("127.0.0.1", 0) as listening:
        first_client, first = accepted(listening)
        plain = streams.make(first)
        assert not isinstance(plain.socket, _Lean)
        plain.socket.close()
        first_client.close()
        client, sock = accepted(listening)
    stream = streams.make(sock)
    if opened is not None:
        opened.add(stream.socket)
    with client:
        yield client, stream
        stream.socket.close()


async def test_it_is_like_one_that_trio_made() -> None:
    with lean() as (client, stream):
        assert isinstance(stream.socket, _Lean)
        plain = trio.SocketStream(trio.socket.from_stdlib_socket(client))
        assert type(plain.socket).__name__ == type(stream.socket).__name__
        assert isinstance(stream.socket, trio.socket.SocketType)
        assert type(plain) is type(stream)
        for option, value in STREAM_OPTIONS:
            assert value == stream.getsockopt(socket.IPPROTO_TCP, option)
            assert value == plain.getsockopt(socket.IPPROTO_TCP, option)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(plain.send_all, b"there" * 100_000)
            nursery.start_soon(stream.send_all, b"back" * 100_000)
            for end, text in ((stream, b"there"), (plain, b"back")):
                got = b""
                while len(got) < 100_000 * len(text):
                    got += await end.receive_some()
                assert got == text * 100_000
        await plain.send_eof()
        assert b"" == await stream.receive_some()
        await stream.send_eof()
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"!")
        await stream.aclose()
        for act in (stream.receive_some, stream.wait_send_all_might_not_block):
            with pytest.raises(trio.ClosedResourceError):
                await act()


async def test_what_is_done_at_once_is_a_checkpoint() -> None:
    with lean() as (client, stream):
        client.sendall(b"?")
        with assert_checkpoints():
            assert b"?" == await stream.receive_some()
        with assert_checkpoints():
            await stream.send_all(b"!")
        assert b"!" == client.recv(10)
        client.sendall(b"?")
        with trio.CancelScope() as scope:
            scope.cancel()
            await stream.receive_some()
        assert scope.cancelled_caught
        assert b"?" == await stream.receive_some()  # it was not taken
        client.close()
        stream.socket.close()
        with assert_checkpoints(), pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()


async def _until_readable(stream: trio.SocketStream) -> None:
    await trio.lowlevel.wait_readable(stream.socket)


async def _fill(stream: trio.SocketStream) -> None:
    while True:
        await stream.send_all(bytes(100_000))


async def _receive_into(stream: trio.SocketStream) -> None:
    await stream.socket.recv_into(bytearray(1))


@pytest.mark.parametrize(
    "wait", [trio.SocketStream.receive_some, _fill, _until_readable, _receive_into]
)
async def test_who_waits_hears_of_the_closing(
    wait: Callable[[trio.SocketStream], Awaitable[object]],
) -> None:
    with lean() as (_, stream):
        async with trio.open_nursery() as nursery:
            waiter = Background(nursery, wait, stream)
            await wait_all_tasks_blocked()
            await stream.aclose()
            with pytest.raises(trio.ClosedResourceError):
                await waiter.wait()


async def test_a_cancelled_wait_takes_nothing() -> None:
    with lean() as (client, stream):
        with trio.move_on_after(0.01):
            await stream.receive_some()
        client.sendall(b"later")
        assert b"later" == await stream.receive_some()


def _leave(sock: trio.socket.SocketType) -> int | None:
    with sock:
        return None


@pytest.mark.parametrize("kind", ["lean", "trio"])
@pytest.mark.parametrize("end", ["close", "detach", "leave"])
async def test_who_counts_is_told(end: str, kind: str) -> None:
    told = trio.Event()
    opened = OpenConnections(told.set)
    with lean(opened if kind == "lean" else None) as (_, stream):
        sock = stream.socket
        if kind == "trio":
            sock = trio.socket.from_stdlib_socket(socket.socket(fileno=sock.detach()))
            opened.add(sock)
        assert 1 == len(opened)
        number = _leave(sock) if end == "leave" else getattr(sock, end)()
        assert -1 == sock.fileno()
        assert 0 == len(opened)
        await told.wait()
        if number is not None:
            socket.close(number)


async def test_objects_that_are_made_in_another_way_stay_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A Trio to come may give them slots."""

    class Slotted:
        __slots__ = ("_held", "_msg")

        def __init__(self, message: str) -> None:
            self._msg, self._held = message, False

    monkeypatch.setattr("trio._highlevel_socket.ConflictDetector", Slotted)
    streams = Streams()
    with bind_inet("127.0.0.1", 0) as listening:
        for _ in range(2):
            client, sock = accepted(listening)
            stream = streams.make(sock)
            assert not isinstance(stream.socket, _Lean)
            stream.socket.close()
            client.close()


async def test_where_options_are_not_handed_down_trio_makes_all() -> None:
    streams = Streams()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        for _ in range(3):
            client, sock = accepted(listening)
            stream = streams.make(sock)
            assert not isinstance(stream.socket, _Lean)
            assert 1 == stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            stream.socket.close()
            client.close()


async def test_unix_streams_have_no_such_options() -> None:
    streams = Streams()
    for number in range(2):
        ours, theirs = socket.socketpair()
        stream = streams.make(ours)
        assert bool(number) == isinstance(stream.socket, _Lean)
        theirs.sendall(b"?")
        assert b"?" == await stream.receive_some()
        stream.socket.close()
        theirs.close()


async def test_a_descriptor_is_opened_where_it_is_a_connection() -> None:
    """All else is left as it is, for those who know what to say."""
    streams = Streams()
    with bind_inet("127.0.0.1", 0) as listening:
        clients = []
        for number in range(2):
            client, sock = accepted(listening)
            clients.append(client)
            sock.setblocking(False)
            if number == 0:
                assert streams.open(sock.fileno()) is None  # nothing is known so far
                streams.make(sock).socket.close()
        stream = streams.open(sock.detach())
        assert stream is not None
        facts = (stream.socket.family, stream.socket.type, stream.socket.proto)
        assert (socket.AF_INET, socket.SOCK_STREAM, 0) == facts
        clients[1].sendall(b"?")
        assert b"?" == await stream.receive_some()
        stream.socket.close()
        others = [listening, socket.socket(type=socket.SOCK_DGRAM), *socket.socketpair()]
        for other in others:
            assert streams.open(other.fileno()) is None
            assert other.fileno() >= 0
        with open(__file__) as file:
            assert streams.open(file.fileno()) is None
        for one in others + clients:
            one.close()


async def _send_twice(stream: trio.SocketStream) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_fill, stream)
        await wait_all_tasks_blocked()
        try:
            await stream.send_all(b"!")
        finally:
            nursery.cancel_scope.cancel()


async def _wait_and_send(stream: trio.SocketStream) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_fill, stream)
        await wait_all_tasks_blocked()
        try:
            await stream.wait_send_all_might_not_block()
        finally:
            nursery.cancel_scope.cancel()


async def _send_when_closed(stream: trio.SocketStream) -> None:
    stream.socket.close()
    await stream.send_all(b"")


async def _receive_when_reset(stream: trio.SocketStream) -> None:
    while True:
        await stream.send_all(b"!")
        await stream.receive_some()


async def _receive_of_another_file(stream: trio.SocketStream) -> None:
    """Its number was closed behind its back."""
    number = stream.socket.fileno()
    ends = os.pipe()
    os.dup2(ends[0], number)
    for end in ends:
        os.close(end)
    await stream.receive_some()


_MISUSES: list[Callable[[trio.SocketStream], Awaitable[object]]] = [
    _send_twice,
    _wait_and_send,
    _send_when_closed,
    _receive_when_reset,
    _receive_of_another_file,
    lambda stream: stream.receive_some(0),
    lambda stream: stream.send_all("text"),  # type: ignore[arg-type]  # wrong on purpose
]


@pytest.mark.parametrize("misuse", _MISUSES)
async def test_errors_are_those_of_trio(
    misuse: Callable[[trio.SocketStream], Awaitable[object]],
) -> None:
    said = []
    for kind in ("lean", "trio"):
        with lean() as (client, made):
            stream = made
            if kind == "trio":
                sock = socket.socket(fileno=made.socket.detach())
                stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
            if misuse is _receive_when_reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, *bytes(7)]))
                client.close()
            with pytest.raises(Exception) as caught:
                await misuse(stream)
            error = caught.value
            while isinstance(error, ExceptionGroup):
                (error,) = error.exceptions
            cause = type(error.__cause__)
            said.append((type(error), str(error), cause, error.__suppress_context__))
            stream.socket.close()
    assert said[0] == said[1]


async def test_any_bytes_are_sent() -> None:
    with lean() as (client, stream):
        for data in (b"a", bytearray(b"b"), memoryview(b"cd")[1:], b"", bytearray(b"")):
            with assert_checkpoints():
                await stream.send_all(data)
        assert b"abd" == client.recv(10)


async def test_closing_is_a_checkpoint_and_cancelled_as_ever() -> None:
    with lean() as (client, stream):
        with assert_checkpoints():
            await stream.aclose()
        with assert_checkpoints():
            await stream.aclose()
        await trio.aclose_forcefully(stream)
        with trio.CancelScope() as scope:
            scope.cancel()
            await stream.aclose()
        assert scope.cancelled_caught
        with trio.CancelScope() as scope, trio.CancelScope(shield=True):
            scope.cancel()
            await stream.aclose()
        assert not scope.cancelled_caught
        assert b"" == client.recv(1)
