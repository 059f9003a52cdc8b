"""Sockets that were read from before they were sent: what was read comes first, and goes along."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from actorcluster._link.handles import HANDLES, Handle, commit
from actorcluster._link.head import HeadSocket
from actorcluster._link.staging import stage, with_head
from actorcluster.errors import HandleError
from actorcluster.wire._generated import HandleKind
from tests.descriptors import is_open
from tests.link.things import one_of, tcp_listener, tcp_pair, udp_socket

HEAD = b"EARLY "


def received(head: Any = HEAD, rest: bytes = b"LATE") -> tuple[Handle, socket.socket]:
    """A handle as it arrives, with more to be read, and the other end of its connection."""
    ours, theirs = tcp_pair()
    theirs.sendall(rest)
    return HANDLES.build(ours.detach(), HandleKind.TCP_SOCKET, {"head": head}), theirs


async def everything(receive: Callable[[int], Awaitable[bytes]], size: int) -> list[bytes]:
    pieces = []
    while piece := await receive(size):
        pieces.append(piece)
    return pieces


async def test_the_head_comes_first() -> None:
    handle, theirs = received()
    assert HEAD == handle.head
    stream = handle.into_stream()
    for ask in (lambda: handle.head, handle.into_stream, handle.detach):
        with pytest.raises(trio.ClosedResourceError):
            ask()
    # It is a stream like any other.
    assert isinstance(stream, trio.SocketStream)
    assert theirs.getsockname() == stream.socket.getpeername()
    assert 1 == stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    await stream.send_all(b"hello")
    assert b"hello" == theirs.recv(100)
    theirs.close()
    assert [b"EARL", b"Y ", b"LATE"] == await everything(stream.receive_some, 4)
    await stream.send_eof()
    assert stream.socket.did_shutdown_SHUT_WR
    await stream.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some()


async def test_nobody_has_what_was_closed() -> None:
    handle, theirs = received()
    stream = handle.into_stream()
    await stream.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some()
    theirs.close()


async def test_who_is_cancelled_has_received_nothing() -> None:
    handle, theirs = received()
    with trio.CancelScope() as scope:
        scope.cancel()
        stream = handle.into_stream()
        await stream.receive_some()
    assert scope.cancelled_caught
    assert HEAD == await stream.receive_some()
    await stream.aclose()
    theirs.close()


async def test_two_receive_at_once() -> None:
    """Who comes second gets what follows the head, and not an end that is none."""
    handle, theirs = received()
    stream = handle.into_stream()
    got: list[bytes] = []

    async def receive() -> None:
        got.append(await stream.receive_some())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        nursery.start_soon(receive)
    assert [HEAD, b"LATE"] == sorted(got)
    await stream.aclose()
    theirs.close()


async def test_every_way_to_receive() -> None:
    handle, theirs = received(b"0123456789")
    sock = handle.into_socket()
    buffer = bytearray(2)

    def content() -> bytes:
        return bytes(buffer)

    assert sock.is_readable()
    assert b"01" == await sock.recv(2, socket.MSG_PEEK)
    assert b"01" == await sock.recv(2)
    assert (b"2", None) == await sock.recvfrom(1)
    assert (2, b"34") == (await sock.recv_into(buffer), content())
    assert (1, b"54") == (await sock.recv_into(buffer, 1), content())
    assert ((1, None), b"64") == (await sock.recvfrom_into(buffer, 1), content())
    assert (b"7", [], 0, None) == await sock.recvmsg(1)
    more = bytearray(1)
    assert 2 == (await sock.recvmsg_into([bytearray(), buffer, more]))[0]
    assert (b"89", b"\0") == (content(), bytes(more))
    # From here on the socket itself is asked, and says what it says.
    assert b"L" == await sock.recv(1)
    assert (1, b"A9") == (await sock.recv_into(buffer, 1), content())
    assert b"T" == (await sock.recvmsg(1))[0]
    assert 1 == (await sock.recvmsg_into([buffer]))[0]
    assert not sock.is_readable()
    with pytest.raises(ValueError, match="negative"):
        await sock.recv(-1)
    sock.close()
    theirs.close()


async def test_nothing_is_lost_in_buffers_that_do_not_fit() -> None:
    handle, theirs = received()
    sock = handle.into_socket()
    with pytest.raises(ValueError, match="nbytes is greater than the length"):
        await sock.recv_into(bytearray(2), 4)
    for buffer in (b"ab", memoryview(bytearray(8))[::2]):
        with pytest.raises(TypeError):
            await sock.recv_into(buffer)
        with pytest.raises(TypeError):
            await sock.recvmsg_into([bytearray(2), buffer])
    assert 0 == await sock.recv_into(bytearray())
    assert HEAD == await sock.recv(100)
    sock.close()
    theirs.close()


def test_all_that_a_socket_can_do_is_passed_on() -> None:
    abstract = vars(trio.socket.SocketType)
    assert [] == [
        name
        for name in abstract
        if getattr(HeadSocket, name) is abstract[name]
        and (not name.startswith("_") or name in ("__enter__", "__exit__", "__repr__"))
    ]


async def test_what_is_left_goes_along() -> None:
    for taken, left in ((0, HEAD), (2, b"RLY "), (6, b"")):
        handle, theirs = received()
        stream = handle.into_stream()
        if taken:
            assert taken == len(await stream.receive_some(taken))
        sent = commit(stage(stream))
        assert left == sent.head
        assert ({"head": left} if left else {}) == HANDLES.describe(sent)[1]
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()
        theirs.close()
        again = sent.into_stream()
        assert left + b"LATE" == b"".join(await everything(again.receive_some, 100))
        await again.aclose()


async def test_what_was_read_goes_before_what_is_left() -> None:
    handle, theirs = received()
    stream = handle.into_stream()
    assert isinstance(stream, trio.SocketStream)
    read = await stream.receive_some(2)
    with Handle.of(stream.socket, head=read).into_socket() as sock:
        assert HEAD == await sock.recv(100)
    theirs.close()


async def test_a_duplicate_has_the_same_head() -> None:
    handle, theirs = received()
    stream = handle.into_stream()
    assert isinstance(stream, trio.SocketStream)
    kept = commit(stage(stream, keep_open=True))
    assert (HEAD, {"head": HEAD, "shared": True}) == (kept.head, HANDLES.describe(kept)[1])
    second = kept.dup()
    assert HEAD == second.head
    for end in (kept, second):
        end.close()
    with stream.socket.dup() as sock:
        assert HEAD == await sock.recv(100)
    assert HEAD == await stream.receive_some()
    await stream.aclose()
    theirs.close()


async def test_read_from_while_it_waits_to_be_sent() -> None:
    handle, theirs = received()
    stream = handle.into_stream()
    for size in (1, 5):
        staged = stage(stream)
        await stream.receive_some(size)
        with pytest.raises(trio.BusyResourceError):
            commit(staged)
    assert b"LATE" == await stream.receive_some()  # nobody took anything
    commit(stage(stream)).close()
    theirs.close()


async def test_a_bare_descriptor_would_lose_it() -> None:
    handle, theirs = received()
    with pytest.raises(HandleError, match=r"would lose the 6 bytes.*into_socket\(\)"):
        handle.detach()
    sock = handle.into_socket()
    with pytest.raises(HandleError, match="would lose 6 bytes"):
        sock.detach()
    assert b"EARLY " == await sock.recv(100)
    fd = sock.detach()
    assert is_open(fd)
    os.close(fd)
    theirs.close()


@pytest.mark.parametrize("head", [b"x", bytearray(b"x"), memoryview(b"x")])
def test_giving_a_head(head: Any) -> None:
    handle = Handle.of(one_of(socket.socketpair()), head=head)
    assert (b"x", "unix_stream") == (handle.head, handle.kind)
    with pytest.raises(HandleError, match="has a head of its own"):
        Handle.of(handle, head=b"y")
    assert not handle.closed
    handle.close()
    plain = Handle.of(one_of(tcp_pair()))
    assert b"" == plain.head
    with_one = Handle.of(plain, head=b"z")
    assert (True, b"z") == (plain.closed, with_one.head)
    with_one.close()


def test_what_has_no_head() -> None:
    pipe = one_of(os.pipe())
    for thing, kind in ((udp_socket(), "udp_socket"), (tcp_listener(), "tcp_listener")):
        with thing, pytest.raises(HandleError, match=f"for stream sockets, not for {kind}"):
            Handle.of(thing, head=b"x")
    with pytest.raises(HandleError, match="not for pipe"):
        Handle.of(pipe, head=b"x")
    os.close(pipe)
    with pytest.raises(TypeError, match=r"head= must be bytes, not str"):
        with_head(5, "x")
    with pytest.raises(TypeError, match="head= goes with handle="):
        with_head(None, b"x")
    with pytest.raises(TypeError, match="BytesIO has no descriptor"):
        Handle.of(io.BytesIO(), head=b"x")
