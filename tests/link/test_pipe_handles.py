"""Handles on their way: held until acknowledged, together or each, and what the kernel refuses."""

from __future__ import annotations

import os
import resource
import socket
import sys

import msgpack
import pytest
import trio
import trio.testing

from actorcluster._link.handles import Handle
from actorcluster._link.writing import close_all
from actorcluster.wire import events
from actorcluster.wire._generated import Kind
from actorcluster.wire.frames import encode_frame
from tests.descriptors import memfd
from tests.link.mail import all_blocked
from tests.link.pair import linked, played
from tests.link.pipes import WITHOUT_HANDLE_ACK, fill, size_of, writes

# ---- handles ----


async def test_handles_are_held_until_acknowledged() -> None:
    async with played() as (end, peer):
        fd = memfd(7)
        end.channel.send_nowait(None, fd)
        await all_blocked()
        os.fstat(fd)  # ours, and open
        event = await peer.next(events.TellReceived)
        assert 7 == size_of(event.handles[0])
        peer.say()
        await all_blocked()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


async def test_handles_are_held_until_sent_where_nobody_acknowledges() -> None:
    async with played(peer=WITHOUT_HANDLE_ACK) as (end, peer):
        count = fill(end)
        fd = memfd(7)
        end.channel.send_nowait(None, fd)
        await all_blocked()
        os.fstat(fd)
        for _ in range(count):
            await peer.next(events.TellReceived)
        event = await peer.next(events.TellReceived)
        assert 7 == size_of(event.handles[0])
        await all_blocked()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


async def test_of_many_asks_in_one_pass_each_portion_leaves_when_it_is_there() -> None:
    async with played() as (end, peer), trio.open_nursery() as nursery:
        before = writes(end)
        seen: list[int] = []

        async def ask() -> None:
            await end.channel.ask("?")

        for _ in range(60):
            nursery.start_soon(ask)
        while len(seen) < 60:
            await peer.next(events.CallReceived)
            seen.append(writes(end) - before)
        # The first, two of 24 each, and what is left by then.
        assert 4 == seen[-1]
        nursery.cancel_scope.cancel()


async def test_an_answer_takes_the_acknowledgement_of_handles_along(
    mock_clock: trio.testing.MockClock,  # else the timer may come in between
) -> None:
    """Both go with one system call, whatever the order in which the scheduler takes the tasks."""
    async with linked() as (primary, worker):

        async def answer() -> None:
            while True:
                call = await worker.next(events.CallReceived)
                close_all(call.handles)
                worker.channel.reply(call.channel, "answer", None, keep_open=False)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            await all_blocked()
            before = worker.channel.statistics().sends
            for _ in range(20):
                assert "answer" == await primary.channel.ask(None, memfd())
                assert not primary.channel._lent
                await all_blocked()
            assert 20 == worker.channel.statistics().sends - before
            nursery.cancel_scope.cancel()


async def test_handles_that_come_together_are_acknowledged_together() -> None:
    async with played() as (end, peer):
        for number in range(20):
            peer.tell(number, Handle.of(memfd(number)))
        await all_blocked()
        peer.events += peer.hear()
        assert events.HandlesAcknowledged(20, ()) in peer.events
        assert 1 == sum(isinstance(one, events.HandlesAcknowledged) for one in peer.events)
        sizes = [size_of((await end.next(events.TellReceived)).handles[0]) for _ in range(20)]
        assert list(range(20)) == sizes


async def test_handles_acknowledged_before_they_were_sent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A peer that lies gets no other descriptor under the same number, but an end."""
    async with played() as (end, peer):
        for _ in range(5):
            end.channel.send_nowait(bytes(50_000))
        end.channel.send_nowait(None, memfd())
        await all_blocked()
        assert 0 == end.channel._socket.groups_sent
        peer.sock.send(encode_frame(Kind.HANDLE_ACK, 0, msgpack.packb([1]), b"\xc0"))
        await end.over.wait()
        assert end.fault is not None
        assert "AWP-HA-4" == end.fault.requirement
        assert "acknowledged, it was not sent" in str(end.fault)


async def test_a_descriptor_that_belongs_to_nothing() -> None:
    """It came with an answer that nobody asked for."""
    async with played() as (end, peer):
        before = len(os.listdir("/proc/self/fd"))
        frame = encode_frame(Kind.REPLY, 2, msgpack.packb([[[10, {}]]]), b"\xc0", nfds=1)
        socket.send_fds(peer.sock, [frame], [peer.sock.fileno()])
        await trio.lowlevel.wait_readable(peer.sock)
        assert before == len(os.listdir("/proc/self/fd"))
        assert not end.over.is_set()


def test_too_many_descriptors_in_flight() -> None:
    """It is tried again after a moment; nothing else would say when there is room.

    The limit is each user's, and root has none. In a child, because what a test run records at its
    end is written by the user who began it.
    """
    pid = os.fork()
    if pid == 0:
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(54322)
                os.setuid(54322)
            trio.run(send_too_many)
        except BaseException:  # noqa: BLE001 (there is no way out but the last line)
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    assert 0 == os.waitpid(pid, 0)[1]


async def send_too_many() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with played() as (end, peer):
        fds = [memfd(size) for size in range(60)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (20, limits[1]))
        for fd in fds:
            end.channel.send_nowait(None, fd)
        while not end.channel._socket.stalled:
            await trio.lowlevel.checkpoint()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for size in range(60):
            event = await peer.next(events.TellReceived)
            assert size == size_of(event.handles[0])


async def test_a_descriptor_closed_behind_our_back(caplog: pytest.LogCaptureFixture) -> None:
    """The message cannot leave, and no later one may: the channel ends, at both ends."""
    async with linked() as (one, other):
        fd = memfd()
        one.channel.send_nowait("leaves at once")
        one.channel.send_nowait([Handle.of(memfd()), Handle.of(memfd())])
        one.channel.send_nowait(None, fd)
        one.channel.send_nowait(Handle.of(memfd()))
        os.close(fd)
        await one.over.wait()
        await other.over.wait()
        assert [None, None] == [one.fault, other.fault]
        _first, second = other.events
        assert isinstance(second, events.TellReceived)
        close_all(second.handles)
    assert "cannot be written: [Errno 9] Bad file descriptor" in caplog.text


async def test_close_all_closes_all() -> None:
    """One that is closed already is no reason to leave the others open."""
    fds = [memfd() for _ in range(3)]
    handles = [Handle.of(fd) for fd in fds]
    os.close(fds[1])
    close_all(handles)
    assert [True] * 3 == [handle.closed for handle in handles]
