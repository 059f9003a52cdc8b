"""What a socket in memory does as one of the kernel does, and a channel over it."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from actorcluster._link.channel import Channel
from actorcluster._link.fdsocket import RECEIVE_SIZE
from actorcluster._link.handles import HANDLES, Handle, close_descriptors
from actorcluster._link.memory import MemorySocket, memory_pair
from actorcluster._link.pipe import LINK_LIMITS
from actorcluster.wire import events
from actorcluster.wire.connection import Connection

Pair = tuple[MemorySocket, MemorySocket]


def read_all(sock: MemorySocket, most: int = RECEIVE_SIZE) -> bytes:
    """Read what is there, which has no descriptors with it."""
    data = b""
    while (got := sock.gather_now(most)) is not None:
        more, groups = got
        assert [] == groups
        if not more:
            break
        data += more
    return data


async def test_bytes_arrive_in_order() -> None:
    one, other = memory_pair()
    assert other.gather_now() is None
    assert one.send_now([b"a", memoryview(b"bc")])
    assert one.send_now([b"d"])
    assert 4 == other.pending()
    assert b"abcd" == read_all(other)
    assert other.send_now([b"back"])
    assert b"back" == read_all(one)
    one.close()
    other.close()


async def test_no_more_than_asked_for() -> None:
    one, other = memory_pair()
    one.send_now([b"abcde"])
    data, fds, truncated = other.receive_now(2) or (b"", [], True)
    assert (b"ab", [], False, True) == (bytes(data), fds, truncated, other.is_full_read)
    assert b"cde" == read_all(other, 2)
    assert not other.is_full_read


async def test_what_has_no_room_is_kept_until_it_is_read() -> None:
    one, other = memory_pair()
    big = bytes(RECEIVE_SIZE)
    assert one.send_now([big])
    assert not one.send_now([b"x"])
    assert not one.send_now([b"y"])
    assert 2 == one.unsent
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.wait_writable)
        await trio.testing.wait_all_tasks_blocked()
        assert 1 == len(nursery.child_tasks)
        assert len(big) == len(read_all(other))
    assert one.send_now(())
    assert b"xy" == read_all(other)
    assert 0 == one.unsent


@pytest.mark.parametrize("how", ["close", "shutdown_write"])
async def test_the_end_comes_after_all_else(how: str) -> None:
    one, other = memory_pair()
    one.send_now([b"last"])
    getattr(one, how)()
    await other.wait_readable()
    assert b"last" == bytes((other.gather_now() or (b"",))[0])
    await other.wait_readable()
    got = other.gather_now()
    assert got is not None
    assert [0, 0] == [len(part) for part in got]
    assert one.is_closed is (how == "close")


async def test_nobody_reads_any_more() -> None:
    one, other = memory_pair()
    one.send_now([bytes(RECEIVE_SIZE)])
    one.send_now([b"kept"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.wait_writable)
        await trio.testing.wait_all_tasks_blocked()
        other.close()
    with pytest.raises(trio.BrokenResourceError):
        one.send_now(())
    assert 0 == one.unsent


@pytest.mark.parametrize("wait", ["wait_readable", "wait_writable"])
async def test_closed_while_somebody_waits(wait: str) -> None:
    one, other = memory_pair()
    one.send_now([bytes(RECEIVE_SIZE)])
    async with trio.open_nursery() as nursery:

        async def waits() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await getattr(one, wait)()

        nursery.start_soon(waits)
        await trio.testing.wait_all_tasks_blocked()
        one.close()
    for use in (one.gather_now, one.shutdown_write, lambda: one.send_now([b"x"])):
        with pytest.raises(trio.ClosedResourceError):
            use()
    other.close()


async def test_a_wait_can_be_cancelled_and_interrupted() -> None:
    one, other = memory_pair()
    with trio.move_on_after(0):
        await one.wait_readable()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.wait_readable)
        await trio.testing.wait_all_tasks_blocked()
        one.interrupt()
    assert one.gather_now() is None
    other.close()


# ---- descriptors ------------------------------------------------------------------------------


async def test_each_side_has_descriptors_of_its_own() -> None:
    one, other = memory_pair()
    reader, writer = os.pipe()
    one.send_now([b"abc"], [reader, writer])
    one.send_now([b"d"], [reader])
    os.close(reader)
    os.close(writer)
    assert 2 == one.groups_sent
    data, groups = other.gather_now() or (b"", [])
    assert b"abcd" == bytes(data)
    ((first, second), truncated), ((third,), _) = groups
    assert not truncated
    os.write(second, b"x")
    assert b"x" == os.read(first, 1)
    assert not os.get_inheritable(first)
    close_descriptors([first, second, third])


async def test_a_read_stops_before_the_descriptors_of_the_next_piece() -> None:
    one, other = memory_pair()
    for _ in range(2):
        one.send_now([b"ab"], [0])
    for _ in range(2):
        data, fds, _ = other.receive_now() or (b"", [], True)
        assert (b"ab", 1) == (bytes(data), len(fds))
        close_descriptors(fds)
    with pytest.raises(ValueError, match="at least one byte"):
        one.send_now([], [0])


async def test_descriptors_on_their_way_are_closed_with_the_reader() -> None:
    one, other = memory_pair()
    reader, writer = os.pipe()
    one.send_now([b"a"], [writer])
    os.close(writer)
    other.close()
    assert b"" == os.read(reader, 1)  # nobody has the other end any more
    os.close(reader)


async def test_without_room_for_descriptors_they_wait() -> None:
    one, other = memory_pair()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, before[1]))
    try:
        assert not one.send_now([b"a"], [0, 0])
        assert one.stalled
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert other.gather_now() is None
    assert one.send_now(())
    _, groups = other.gather_now() or (b"", [])
    close_descriptors(groups[0][0])
    with pytest.raises(OSError) as info:
        one.send_now([b"a"], [10_000])
    assert errno.EBADF == info.value.errno
    one.close()


# ---- a channel over it ------------------------------------------------------------------------


class End:
    """A channel that keeps what it is told."""

    def __init__(self, role: Any, sock: MemorySocket) -> None:
        self.connection = Connection(role, limits=LINK_LIMITS, handles=HANDLES, gather=True)
        self.channel = Channel(sock, self.connection, self._on_event)
        self.events: list[Any] = []
        self.ready = trio.Event()
        self.heard = trio.Event()

    def _on_event(self, event: events.Event) -> None:
        match event:
            case events.Hello():
                self.connection.send_welcome(worker=1, cluster=bytes(16), name="w", config={})
            case events.Welcome():
                self.connection.send_ready()
                self.ready.set()
            case events.Ready():
                self.ready.set()
            case _:
                self.events.append(event)
                self.heard.set()


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[End, End]]:
    ours, theirs = memory_pair()
    one, other = End("primary", ours), End("worker", theirs)
    other.connection.send_hello()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.channel.run)
        nursery.start_soon(other.channel.run)
        await one.ready.wait()
        await other.ready.wait()
        yield one, other
        nursery.cancel_scope.cancel()


async def test_a_message_of_many_lanes(autojump_clock: trio.abc.Clock) -> None:
    """Larger than what a lane holds, so that both ends wait for each other, without real time."""
    body = os.urandom(3 * RECEIVE_SIZE)
    async with linked() as (one, other):
        await one.channel.send(body)
        await other.heard.wait()
        (event,) = other.events
        assert body == event.body


async def test_a_handle_arrives_as_one_of_its_own(autojump_clock: trio.abc.Clock) -> None:
    reader, writer = os.pipe()
    async with linked() as (one, other):
        await one.channel.send(None, Handle.of(writer))
        await other.heard.wait()
        (event,) = other.events
        fd = event.handles[0].detach()
        other.connection.arrived(event.number)
        await trio.sleep(1)
        os.write(fd, b"x")
        os.close(fd)
        assert b"x" == os.read(reader, 2)
        assert b"" == os.read(reader, 2)  # the giver's copy is closed as well
    os.close(reader)
