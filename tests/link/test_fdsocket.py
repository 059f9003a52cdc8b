from __future__ import annotations

import errno
import os
import socket
from typing import Any

import pytest
import trio
import trio.testing

from actorcluster._link.fdsocket import FdSocket
from actorcluster._link.handles import close_descriptors
from tests.link.fdsockets import FULL, at_end, fill, open_memfds, read_all, sizes, transfer

# ---- bytes ----


def test_bytes_travel(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    assert ours.send_now([b"hello"])
    got = theirs.receive_now()
    assert got is not None
    assert (b"hello", [], False) == (bytes(got[0]), *got[1:])
    assert theirs.receive_now() is None
    assert (1, 2) == (ours.sends, theirs.receives)


@pytest.mark.parametrize(
    "buffers",
    [
        [b"one", bytearray(b"two"), memoryview(b"three")],
        [b"head", b"b" * 30_000, b"", b"tail" * 5000],
        [b"", b""],
        [],
    ],
)
def test_several_buffers_are_one_system_call(
    pair: tuple[FdSocket, FdSocket], buffers: list[Any]
) -> None:
    ours, theirs = pair
    assert ours.send_now(buffers)
    expected = b"".join(buffers)
    assert min(1, len(expected)) == ours.sends
    assert expected == read_all(theirs)[0]


def test_more_buffers_than_one_system_call_takes(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    fds = open_memfds(1)
    buffers = [bytes([i % 251]) * 5000 for i in range(1500)]
    assert not ours.send_now(buffers, fds)
    data, groups = transfer(ours, theirs)
    assert b"".join(buffers) == data
    assert [[0]] == list(map(sizes, groups))
    close_descriptors(fds)


def test_more_than_1024_buffers_that_fit(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    buffers = [b"x"] * 1025 + [b"y" * 5_000_000]
    assert not ours.send_now(buffers)
    assert 2 == ours.sends  # 1024 bytes, then as much as the socket takes
    assert b"".join(buffers) == transfer(ours, theirs)[0]


def test_what_does_not_fit_is_kept_uncopied(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    payload = os.urandom(3_000_000)
    assert not ours.send_now([b"head", payload, payload])
    kept = ours._queue[0].buffers
    assert isinstance(kept[0], memoryview)
    assert kept[0].obj is payload
    assert kept[1] is payload
    assert sum(map(len, kept)) == ours.unsent
    sends = ours.sends
    assert not ours.send_now([b"tail"])
    assert not ours.send_now([])  # tries, in vain
    assert sends + 1 == ours.sends
    assert b"head" + payload + payload + b"tail" == transfer(ours, theirs)[0]
    assert 0 == ours.unsent
    assert ours.send_now([b"next"])
    assert b"next" == read_all(theirs)[0]


def test_a_full_socket_takes_nothing(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    size = fill(ours)
    assert not ours.send_now([b"more"])
    assert 4 == ours.unsent
    assert not ours.stalled
    assert b"f" * size + b"more" == transfer(ours, theirs)[0]


def test_is_full_read() -> None:
    raw, other = socket.socketpair()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * FULL)
    ours, theirs = FdSocket(raw), FdSocket(other)
    ours.send_now([b"x" * FULL + b"y"])
    seen = []
    while (got := theirs.receive_now()) is not None:
        seen.append((len(got[0]), theirs.is_full_read))
    assert [(FULL, True), (1, False)] == seen
    ours.close()
    theirs.close()


def test_is_full_read_behind_descriptors(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    fds = open_memfds(1)
    ours.send_now([b"x"], fds)
    ours.send_now([b"y"])
    got = theirs.receive_now()
    assert got is not None
    assert b"x" == bytes(got[0])
    assert theirs.is_full_read
    assert (b"y", []) == read_all(theirs)
    close_descriptors(fds)
    close_descriptors(got[1])


# ---- the end ----


def test_sending_to_a_peer_that_is_gone(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    ours.send_now([b"x" * 1_000_000])
    assert ours.unsent
    theirs.close()
    for _ in range(2):
        with pytest.raises(trio.BrokenResourceError):
            ours.send_now(()) if ours.unsent else ours.send_now([b"x"])
        assert 0 == ours.unsent
    assert ours.send_now(())


def test_end_of_file(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    ours.send_now([b"last words"])
    ours.shutdown_write()
    with pytest.raises(trio.BrokenResourceError):
        ours.send_now([b"more"])
    assert b"last words" == read_all(theirs)[0]
    for _ in range(2):
        assert at_end(theirs)
    assert theirs.send_now([b"the other way"])
    assert b"the other way" == read_all(ours)[0]
    theirs.close()
    ours.shutdown_write()


def test_a_reset_is_an_end_of_file(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    fds = open_memfds(1)
    theirs.send_now([b"unread"])
    ours.send_now([b"last words"], fds)
    ours.close()
    got = theirs.receive_now()
    assert got is not None
    assert (b"last words", [0]) == (bytes(got[0]), sizes(got[1]))
    assert at_end(theirs)
    assert at_end(theirs)
    close_descriptors(fds)


async def test_nothing_goes_after_close(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, _ = pair
    ours.close()
    ours.close()
    for use in (lambda: ours.send_now([b"x"]), ours.receive_now, ours.shutdown_write):
        with pytest.raises(trio.ClosedResourceError):
            use()
    for wait in (ours.wait_readable, ours.wait_writable):
        with pytest.raises(trio.ClosedResourceError):
            await wait()


def test_close_forgets_what_was_kept(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, _ = pair
    ours.send_now([b"x" * 1_000_000])
    ours.close()
    assert 0 == ours.unsent
    with pytest.raises(trio.ClosedResourceError):
        ours.send_now([b"x"])


@pytest.mark.parametrize(
    ("family", "type_"),
    [(socket.AF_INET, socket.SOCK_STREAM), (socket.AF_UNIX, socket.SOCK_SEQPACKET)],
)
def test_only_unix_streams(family: int, type_: int) -> None:
    with socket.socket(family, type_) as sock:
        with pytest.raises(ValueError, match="AF_UNIX stream"):
            FdSocket(sock)


def test_other_errors_are_not_hidden() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"\0actorcluster-test-{os.getpid()}")
        sock.listen()
        listener = FdSocket(sock)
        with pytest.raises(OSError) as caught:
            listener.receive_now()
        assert errno.EINVAL == caught.value.errno
        with pytest.raises(trio.BrokenResourceError):
            listener.send_now([b"x"])


# ---- waiting ----


async def test_waiting_for_bytes(
    pair: tuple[FdSocket, FdSocket], autojump_clock: trio.testing.MockClock
) -> None:
    ours, theirs = pair
    with trio.move_on_after(1) as scope:
        await theirs.wait_readable()
    assert scope.cancelled_caught
    ours.send_now([b"x"])
    await theirs.wait_readable()
    assert b"x" == read_all(theirs)[0]


async def test_waiting_for_room(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    await ours.wait_writable()
    payload = os.urandom(2_000_000)
    received = bytearray()

    async def read() -> None:
        while len(received) < len(payload):
            await theirs.wait_readable()
            received.extend(read_all(theirs)[0])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        done = ours.send_now([payload])
        while not done:
            await ours.wait_writable()
            done = ours.send_now(())
    assert payload == received


async def test_close_wakes_whoever_waits(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, _ = pair
    fill(ours)

    async def wait(what: Any) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await what()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, ours.wait_readable)
        nursery.start_soon(wait, ours.wait_writable)
        await trio.testing.wait_all_tasks_blocked()
        ours.close()
