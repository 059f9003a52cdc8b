"""The reader, the writer and the timer of a channel: what leaves when, and how all of it ends."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import socket
import sys
import time
import types
from typing import Any

import msgpack
import pytest
import trio
import trio.testing

from actorcluster._link import pipe
from actorcluster._link.handles import Handle
from actorcluster._link.pace import EVERY_SECONDS, Pace
from actorcluster._link.writing import close_all
from actorcluster.errors import PeerClosed
from actorcluster.wire import events
from actorcluster.wire._generated import BUILT_CAPABILITIES, AbortCode, Capability, Kind
from actorcluster.wire.frames import encode_frame
from tests.link.pair import End, Passes, Peer, linked, played

all_blocked = trio.testing.wait_all_tasks_blocked

WITHOUT_HANDLE_ACK = {"capabilities": BUILT_CAPABILITIES - {Capability.HANDLE_ACK}}


def memfd(size: int = 0) -> int:
    """A descriptor that can be told from others by its size."""
    fd = os.memfd_create("test")
    os.truncate(fd, size)
    return fd


def size_of(handle: Handle) -> int:
    """Which `memfd` it is; closes it."""
    with contextlib.closing(handle):
        return os.fstat(handle.fileno()).st_size


def fill(end: End, size: int = 100_000) -> int:
    """Send until the socket takes no more; returns how many messages were queued."""
    count = 0
    while not end.channel._socket.unsent:
        end.channel.send_nowait(bytes(size))
        count += 1
        end.channel._push()
    return count


def writes(end: End) -> int:
    return end.channel._socket.sends


# ---- what leaves when ----


async def test_a_lone_message_leaves_at_once() -> None:
    """Before any task has had a turn, and without further ado."""
    async with played() as (end, peer):
        before = writes(end)
        end.channel.send_nowait("hello")
        assert before + 1 == writes(end)
        assert ["hello"] == [event.body for event in peer.hear()]
        passes = Passes()
        trio.lowlevel.add_instrument(passes)
        await all_blocked()
        trio.lowlevel.remove_instrument(passes)
        assert 3 >= passes.count
        assert before + 1 == writes(end)


async def test_the_rest_of_a_burst_leaves_together() -> None:
    async with played() as (end, peer):
        before = writes(end)
        for number in range(30):
            end.channel.send_nowait(number)
        assert before + 1 == writes(end)
        await all_blocked()
        assert before + 2 == writes(end)
        assert list(range(30)) == [event.body for event in peer.hear()]


async def test_a_burst_of_large_messages_leaves_together() -> None:
    async with played() as (end, _peer):
        before = writes(end)
        for _ in range(3):
            end.channel.send_nowait(b"x" * 1000)
        await all_blocked()
        assert before + 2 == writes(end)


async def test_a_dense_stream_gathers() -> None:
    """Fewer system calls than passes; what came last still leaves when the stream ends."""
    async with played() as (end, peer):
        before = writes(end)
        for number in range(64 * 20):
            await end.channel.send(number)
        await all_blocked()
        assert 13 >= writes(end) - before
        bodies: list[Any] = []
        while len(bodies) < 64 * 20:
            bodies += [event.body for event in peer.hear()]
        assert list(range(64 * 20)) == bodies


class Stream(trio.abc.Instrument):
    """Sends a lot after each of the writer's first looks, and notes what that had written."""

    def __init__(self, end: End) -> None:
        self.end = end
        self.writes: list[int] = []

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.end.channel._writer and len(self.writes) < 2:
            self.writes.append(writes(self.end))
            self.send()

    def send(self) -> None:
        for number in range(60):
            self.end.channel.send_nowait(number)


@pytest.mark.parametrize("urgent", [False, True])
async def test_anything_else_hurries_a_dense_stream(urgent: bool) -> None:
    """What somebody may wait for does not wait for the stream to grow."""
    async with played() as (end, _):
        stream = Stream(end)
        stream.send()
        before = writes(end)
        if urgent:
            end.connection.send_ping("now")
            end.channel.flush()
        trio.lowlevel.add_instrument(stream)
        await all_blocked()
        trio.lowlevel.remove_instrument(stream)
        assert [before + urgent] * 2 == stream.writes
        assert before + urgent + 1 == writes(end)


async def test_flush_any_number_of_times() -> None:
    """Each wakes the writer, who can be woken once."""
    async with played() as (end, peer):
        for _ in range(5):
            end.channel.flush()
            end.channel.flush()
            await trio.lowlevel.checkpoint()
        end.channel.send_nowait(1)
        end.channel.flush()
        await all_blocked()
        end.channel.flush()
        assert 1 == len(peer.hear())


async def test_what_is_queued_before_the_start_leaves_at_the_start() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        end = End("worker", ours, {})
        end.connection.send_hello()
        end.channel.flush()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end.run)
            await trio.lowlevel.wait_readable(theirs)
            assert b"\x95\xce" == theirs.recv(2)
            nursery.cancel_scope.cancel()


async def test_a_full_socket_is_written_on() -> None:
    """What did not fit goes on as the peer reads, in order."""
    async with linked() as (one, other):
        count = fill(one, 20_000) + 50
        for _ in range(50):
            one.channel.send_nowait(b"")
        bodies = await other.bodies(count)
        assert [20_000] * (count - 50) + [0] * 50 == [len(body) for body in bodies]


# ---- pace ----


async def test_pace_of_steps() -> None:
    """A scheduling point at least every 64 messages, and a cancellation point always."""
    passes = Passes()
    trio.lowlevel.add_instrument(passes)
    pace = Pace()
    for _ in range(640):
        await pace.step()
    trio.lowlevel.remove_instrument(passes)
    assert 10 <= passes.count
    with trio.CancelScope() as scope:
        scope.cancel()
        for _ in range(200):
            with pytest.raises(trio.Cancelled):
                await pace.step()


async def test_pace_counts_and_restarts() -> None:
    """What was scheduled for another reason starts from zero."""
    pace = Pace()
    pace.restart()
    dues = [pace.is_due() for _ in range(64)]
    assert [False] * 63 == dues[:63] or time_was_up(dues)
    assert dues[63]
    pace.restart()
    assert not pace.is_due()
    with trio.CancelScope() as scope:
        scope.cancel()
        await pace.rest()
    assert not scope.cancelled_caught


def time_was_up(dues: list[bool]) -> bool:
    """The machine was so busy that a millisecond went by meanwhile."""
    return dues == sorted(dues)


async def test_pace_by_time() -> None:
    pace = Pace()
    pace.restart()
    until = time.perf_counter() + EVERY_SECONDS
    while time.perf_counter() <= until:
        pass
    assert pace.is_due()


# ---- reading ----


class Arrivals(trio.abc.Instrument):
    """Notes after each pass how many events the owner has been told in all."""

    def __init__(self, end: End) -> None:
        self.end = end
        self.counts = [0]

    def before_io_wait(self, timeout: float) -> None:
        self.counts.append(len(self.end.events))


async def arrivals(end: End, peer: Peer, count: int, body: bytes) -> list[int]:
    """Let so many messages arrive in one go, and a second time; events pass by pass of that."""
    noted = Arrivals(end)
    trio.lowlevel.add_instrument(noted)
    for _ in range(2):
        end.events.clear()
        noted.counts = [0]
        for _ in range(count):
            peer.connection.send_tell(peer.connection.encode(body))
        peer.say()
        while len(end.events) < count:
            await trio.lowlevel.checkpoint()
    trio.lowlevel.remove_instrument(noted)
    return noted.counts


async def test_small_messages_are_read_as_fast_as_they_are_received(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A task that receives 64 in each pass keeps up with the reader."""
    # No time passes: the reader does not wait for a task that takes long.
    monkeypatch.setattr(pipe, "time", types.SimpleNamespace(perf_counter=lambda: 0.0))
    async with played() as (end, peer):
        counts = await arrivals(end, peer, 2000, b"x" * 50)
        backlog = longest = 0
        for before, after in itertools.pairwise(counts):
            backlog = max(0, backlog + after - before - 64)
            longest = max(longest, backlog)
        assert pipe._DENSE_SIZE / 70 > longest


async def test_slow_receivers_do_not_make_the_reader_slow() -> None:
    """What comes behind all that mail is heard while the first few are worked on."""
    async with played() as (_, peer):
        done = False

        async def work() -> None:
            while not done:
                until = time.perf_counter() + 0.02
                while time.perf_counter() < until:
                    pass
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            for _ in range(2000):
                peer.connection.send_tell(peer.connection.encode(b"x" * 50))
            peer.say()
            peer.connection.send_ping("behind it")
            peer.say()
            passes = Passes()
            trio.lowlevel.add_instrument(passes)
            await peer.next(events.Pong)
            trio.lowlevel.remove_instrument(passes)
            done = True
        assert 10 > passes.count


async def test_large_messages_are_read_as_fast_as_they_come() -> None:
    async with played() as (end, peer):
        counts = await arrivals(end, peer, 150, b"x" * 1000)
        assert 10 > len(counts)


async def test_two_reads_that_fill_the_buffer_follow_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And before the third others have a turn."""
    monkeypatch.setattr(pipe, "time", types.SimpleNamespace(perf_counter=lambda: 0.0))
    monkeypatch.setattr(pipe, "RECEIVE_SIZE", 4096)
    async with played() as (end, peer):
        counts = await arrivals(end, peer, 40, b"x" * 4000)
        assert 2 == max(after - before for before, after in itertools.pairwise(counts))
        assert 30 > len(counts)


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


# ---- the peer goes away ----


async def test_end_of_file() -> None:
    async with linked() as (one, other):
        other.channel.shutdown_write()
        await one.over.wait()
        assert one.channel.ended
        assert one.channel.is_flushed
        await other.over.wait()
        one.channel.shutdown_write()
        one.channel.finish()


async def test_the_peer_dies_with_mail_under_way() -> None:
    """What can no longer leave is dropped, what it said before is heard, its handles are closed."""
    async with played() as (end, peer):
        peer.tell("last words")
        count = 0
        while not end.channel._socket.unsent:
            end.channel.send_nowait(bytes(50_000), memfd())
            end.channel._push()
            count += 1
        for _ in range(10):
            end.channel.send_nowait([Handle.of(memfd())])
        peer.sock.close()
        await end.over.wait()
        assert None is end.fault
        assert ["last words"] == [event.body for event in end.events]
        with pytest.raises(PeerClosed) as caught:
            end.channel.send_nowait("too late")
        assert count + 10 == caught.value.unconfirmed


async def test_sends_go_nowhere_once_the_peer_reads_no_more() -> None:
    """It may still have something to say; what is sent meanwhile is dropped, handles and all."""
    async with played() as (end, peer):
        peer.sock.shutdown(socket.SHUT_RD)
        for _ in range(5):
            end.channel.send_nowait("lost", memfd())
            await trio.lowlevel.checkpoint()
        assert end.channel.is_flushed
        await end.channel.wait_flushed()
        await end.channel.write_out()
        peer.tell("still here")
        assert "still here" == (await end.next(events.TellReceived)).body
        assert not end.over.is_set()


async def test_a_socket_that_cannot_be_read(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the kernel says, it is the end of this channel and of nothing else."""
    ours, theirs = socket.socketpair()
    with theirs:
        end = End("primary", ours, {})
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, ours.fileno())
        os.close(null)
        await end.run()
        assert None is end.fault
    assert "cannot be read: [Errno 88]" in caplog.text


async def test_run_cancelled() -> None:
    """The socket is closed, and with it all that was under way."""
    async with played() as (end, peer):
        fill(end)
        end.channel.send_nowait(None, memfd())
        peer.connection.send_tell(peer.connection.encode(None, Handle.of(memfd())))
        (batch,) = peer.connection.data_to_send()
        data = b"".join(batch.buffers)[:20]  # its descriptor has nobody to go to yet
        socket.send_fds(peer.sock, [data], [handle.fileno() for handle in batch.handles])
        close_all(batch.handles)
        await all_blocked()
    assert end.channel.ended
    assert [] == end.events


# ---- finish ----


async def test_finish_reads_what_is_there() -> None:
    """All that was written before, in whatever pieces, and then the end."""
    async with played() as (end, peer):
        for number in range(5):
            peer.tell(number, Handle.of(memfd(number)))
        end.channel.finish()
        await end.over.wait()
        bodies = [event.body for event in end.events]
        assert list(range(5)) == bodies
        sizes = [size_of(event.handles[0]) for event in end.events]
        assert list(range(5)) == sizes


async def test_finish_reads_up_to_an_abort() -> None:
    async with played() as (end, peer):
        peer.tell("last words")
        peer.connection.abort(AbortCode.INTERNAL)
        peer.say()
        peer.sock.send(b"nobody reads this")
        end.channel.finish()
        await end.over.wait()
        assert ["last words", AbortCode.INTERNAL] == [
            getattr(event, "code", None) or event.body for event in end.events
        ]


async def test_finish_does_not_listen_to_a_grandchild() -> None:
    """Somebody else has the peer's end and goes on writing: that is nobody's mail."""
    ours, theirs = socket.socketpair()
    with theirs, trio.fail_after(60):
        end, peer = End("primary", ours, {}), Peer("worker", theirs, {})
        peer.connection.send_hello()
        peer.say()
        heard = 0

        def answer(event: events.Event) -> None:
            nonlocal heard
            heard += 1
            peer.tell("and another one")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(end.run)
            await peer.next(events.Welcome)
            peer.connection.send_ready()
            peer.say()
            await end.ready.wait()
            await all_blocked()
            end.channel._on_event = answer
            peer.tell("last words")
            end.channel.finish()
        assert 1 == heard


async def test_finish_before_the_start() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        end = End("primary", ours, {})
        end.channel.finish()
        await end.run()


# ---- faults ----


async def test_abort_leaves_on_a_fault() -> None:
    async with played() as (end, peer):
        peer.tell("good")
        peer.sock.send(b"not a frame, by any means")
        abort = await peer.next(events.Aborted)
        await end.over.wait()
        assert AbortCode.BAD_SIGNATURE == abort.code
        assert end.fault is not None
        assert "AWP-FR-4" == end.fault.requirement
        assert ["good"] == [event.body for event in end.events]


async def test_abort_leaves_behind_what_is_under_way() -> None:
    """The socket is full: whoever reads it gets all of it, and learns why it ends."""
    async with played() as (end, peer):
        fill(end)
        peer.sock.send(b"not a frame, by any means")
        abort = await peer.next(events.Aborted)
        await end.over.wait()
        assert AbortCode.BAD_SIGNATURE == abort.code


async def test_a_peer_at_fault_that_never_reads(autojump_clock: trio.testing.MockClock) -> None:
    async with played() as (end, peer):
        fill(end)
        peer.sock.send(b"not a frame, by any means")
        await end.over.wait()
        assert end.fault is not None
        assert pipe._LAST_WORDS_SECONDS == trio.current_time()


async def test_an_abort_ends_the_channel() -> None:
    """Whether or not the peer closes its end."""
    async with played() as (end, peer):
        peer.connection.abort(AbortCode.INTERNAL, "no reason")
        peer.say()
        peer.sock.send(b"whatever else it says")
        await end.over.wait()
        (aborted,) = end.events
        assert isinstance(aborted, events.Aborted)
        assert None is end.fault


# ---- waiting for what was written ----


async def test_wait_flushed() -> None:
    async with played() as (end, peer):
        await end.channel.wait_flushed()
        fill(end)
        done = trio.Event()

        async def wait() -> None:
            await end.channel.wait_flushed()
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await all_blocked()
            assert not done.is_set()
            assert not end.channel.is_flushed
            while not done.is_set():
                peer.read()
                await all_blocked()
        assert end.channel.is_flushed


async def test_wait_flushed_is_a_cancellation_point() -> None:
    async with played() as (end, _peer):
        with trio.CancelScope() as scope:
            scope.cancel()
            await end.channel.wait_flushed()
        assert scope.cancelled_caught


async def test_wait_flushed_waits_for_handles_to_be_acknowledged() -> None:
    """They wait for the peer's hands to be free, and everything behind them does."""
    async with played(peer={"limits": {"fds_in_flight": 1}}) as (end, peer):
        for _ in range(2):
            end.channel.send_nowait(None, memfd())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end.channel.wait_flushed)
            await all_blocked()
            assert not end.channel.is_flushed
            close_all((await peer.next(events.TellReceived)).handles)
            peer.say()
            close_all((await peer.next(events.TellReceived)).handles)
        assert end.channel.is_flushed


@pytest.mark.parametrize("wait", ["wait_flushed", "write_out"])
async def test_the_end_wakes_who_waits_for_what_was_written(wait: str) -> None:
    async with played() as (end, _peer):
        fill(end)
        end.connection.send_ping("x")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(getattr(end.channel, wait))
            await all_blocked()
            assert 2 == len(nursery.child_tasks) + 1
            end.channel.finish()
    await getattr(end.channel, wait)()


async def test_flush_once_does_not_wake_the_writer() -> None:
    """What is queued leaves at once, any number of times in a pass; `flush` does so only once."""
    async with played() as (end, _peer):
        await all_blocked()
        before = writes(end)
        for count in (1, 2):
            end.connection.send_ping("now")
            end.channel.flush_once()
            assert (before + count, False) == (writes(end), end.channel._writing)
        await all_blocked()
        for awake in (False, True):
            end.connection.send_ping("now")
            end.channel.flush()
            assert (before + 3, awake) == (writes(end), end.channel._writing)
        await all_blocked()
        assert before + 4 == writes(end)


async def test_messages_are_acknowledged_although_their_handles_were() -> None:
    """HANDLE_ACK leaves at once; ACK with the timer, all the same."""
    async with linked() as (one, other):
        one.channel.send_nowait("x", Handle.of(os.open(os.devnull, os.O_RDONLY)))
        close_all((await other.next(events.TellReceived)).handles)
        while one.channel.unconfirmed:  # the timer's 20 ms
            await trio.lowlevel.checkpoint()


async def test_flush_once_leaves_the_rest_to_the_writer() -> None:
    """And all of it, where that is awake already."""
    async with played() as (end, peer):
        fill(end)
        end.channel.send_nowait("last")
        end.channel.flush_once()
        assert end.channel._writing
        while "last" != (await peer.next(events.TellReceived)).body:
            peer.say()
        end.channel.send_nowait("first of a burst")
        end.connection.send_ping("behind it")
        before = writes(end)
        end.channel.flush_once()
        assert before == writes(end)
        await all_blocked()
        assert before < writes(end)


async def test_write_out_needs_no_turn() -> None:
    """With room in the socket it is done at once, in the middle of a burst."""
    async with played() as (end, _peer):
        end.channel.send_nowait(1)
        end.channel.send_nowait(2)
        end.connection.send_ping("now")
        before = writes(end)
        passes = Passes()
        trio.lowlevel.add_instrument(passes)
        await end.channel.write_out()
        trio.lowlevel.remove_instrument(passes)
        assert 0 == passes.count
        assert before + 1 == writes(end)
        await end.channel.write_out()


async def test_write_out_waits_for_its_own_frames_only() -> None:
    """However much mail is queued behind them."""
    async with played() as (end, peer):
        fill(end)
        end.connection.send_ping("now")
        for _ in range(20):
            end.channel.send_nowait(bytes(100_000))
        done = trio.Event()

        async def write_out() -> None:
            await end.channel.write_out()
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write_out)
            await all_blocked()
            assert not done.is_set()
            while not done.is_set():
                peer.sock.recv(10_000)
                await all_blocked()
        assert end.channel._socket.unsent > 100_000


async def test_write_out_cancelled() -> None:
    """What is queued stays queued."""
    async with played() as (end, peer):
        fill(end)
        end.connection.send_ping("now")
        with trio.move_on_after(0):
            await end.channel.write_out()
        while not end.channel.is_flushed:
            peer.read()
            await all_blocked()


# ---- the timer ----


async def test_credit_and_acknowledgements_come_by_themselves() -> None:
    """With nothing to travel on, within the time; and then there is peace."""
    async with played() as (end, peer):
        peer.tell("hello")
        event = await end.next(events.TellReceived)
        end.channel.release(event.charge)
        credit = await peer.next(events.CreditGranted)
        assert peer.connection.peer_limits["window"] == credit.available
        assert 0 == peer.connection.unacknowledged
        passes = Passes()
        await all_blocked()
        trio.lowlevel.add_instrument(passes)
        with pytest.raises(trio.TooSlowError), trio.fail_after(3 * pipe._TIMER_SECONDS):
            await trio.lowlevel.wait_readable(peer.sock)
        trio.lowlevel.remove_instrument(passes)
        assert 3 >= passes.count


async def test_much_credit_does_not_wait_for_the_timer() -> None:
    async with played(end={"limits": {"window": 65536}}) as (end, peer):
        peer.tell(b"x" * 60_000)
        event = await end.next(events.TellReceived)
        await all_blocked()
        end.channel.release(event.charge)
        assert peer.hear()
        assert 65536 == peer.connection.available


async def test_a_timer_with_nothing_to_say() -> None:
    """Something else had carried along what was due."""
    async with played() as (end, peer):
        peer.tell("hello")
        event = await end.next(events.TellReceived)
        end.channel.release(event.charge)
        end.connection.flush_grants()
        end.channel.flush()
        before = writes(end)
        await trio.sleep(2 * pipe._TIMER_SECONDS)
        assert before == writes(end)
