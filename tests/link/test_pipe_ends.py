"""How a channel ends: the peer goes away, the owner finishes, somebody is at fault."""

from __future__ import annotations

import os
import socket

import pytest
import trio
import trio.testing

from actorcluster._link import pipe
from actorcluster._link.handles import Handle
from actorcluster._link.writing import close_all
from actorcluster.conform.frames import frame
from actorcluster.errors import PeerClosed
from actorcluster.wire import events
from actorcluster.wire._generated import AbortCode, Kind
from tests.descriptors import memfd
from tests.link.mail import all_blocked
from tests.link.pair import End, Peer, linked, played
from tests.link.pipes import fill, size_of

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


async def test_what_came_before_the_end_is_answered() -> None:
    """Who has ended its stream may read on; the writer has yet to look, and is cancelled then."""
    ping, pong = (frame(kind, body=b"\xc0\x07") for kind in (Kind.PING, Kind.PONG))
    async with played() as (end, peer):
        for body in ("at once", "later"):
            end.channel.send_nowait(body)
        assert end.channel._take(memoryview(ping), [])
        assert not end.channel._take(memoryview(b""), [])
        assert pong in peer.sock.recv(4096)


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
