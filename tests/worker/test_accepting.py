"""accept(): what is taken is acknowledged first, what is not taken goes back."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest
import trio

from actorcluster._link.handles import Handle
from actorcluster._worker.accepting import CREDIT
from actorcluster.wire import events
from actorcluster.wire._generated import HandleKind, State
from tests.cluster.inproc import no_more_descriptors, served_by
from tests.worker.boss import Background, Boss, close, connect, open_boss, own, until

Replies = (events.ConnReply, events.ConnCredit, events.ListenClosed)


async def replies(boss: Boss, upto: int) -> list[tuple[int, tuple[int, ...]]]:
    """The CONN_REPLYs that the primary gets, the last one about ``upto``."""
    found: list[tuple[int, tuple[int, ...]]] = []
    while not found or found[-1][0] != upto:
        event = await boss.hear(events.ConnReply)
        found.append((event.upto, event.rejected))
    return found


# ---- handed over: in order, written before it is touched ---------------------------------------


async def test_each_accept_is_acknowledged() -> None:
    async with open_boss() as boss:
        listener = await boss.listen()
        clients = boss.hand(1, 1, 3)
        for number, client in enumerate(clients, 1):
            async with await listener.accept() as stream:
                event = await boss.hear(events.ConnReply)
                assert (number, ()) == (event.upto, event.rejected)
                assert served_by(stream, client)
        close(*clients)


async def test_several_tasks_accept_at_once() -> None:
    """Numbers go up, whoever accepts, and each connection goes to one of them."""
    async with open_boss() as boss:
        listener = await boss.listen()
        async with trio.open_nursery() as nursery:
            tasks = [Background(nursery, listener.accept) for _ in range(4)]
            await trio.testing.wait_all_tasks_blocked()
            clients = boss.hand(1, 1, 2) + boss.hand(1, 3, 3)
            streams = [await task.wait() for task in tasks]
        streams.append(await listener.accept())
        heard = await replies(boss, 5)
        assert sorted(heard) == heard  # those read at once are one event
        assert all(not rejected for _, rejected in heard)
        peers = {stream.socket.getpeername() for stream in streams}
        assert {client.getsockname() for client in clients} == peers
        for stream in streams:
            await stream.aclose()
        close(*clients)


async def test_credit_is_given_in_batches() -> None:
    """LISTEN carries the first; then a quarter at a time, never more than that in all."""
    async with open_boss() as boss:
        listener = await boss.listen()
        clients = boss.hand(1, 1, 40)
        for _ in clients:
            (await listener.accept()).socket.close()
        await replies(boss, 40)
        credit = [event.count for event in boss.heard if isinstance(event, events.ConnCredit)]
        assert [CREDIT // 4, CREDIT // 4] == credit
        close(*clients)


async def test_a_burst_is_acknowledged_with_few_task_switches() -> None:
    async with open_boss() as boss:
        listener = await boss.listen()
        clients = boss.hand(1, 1, CREDIT)
        await until(lambda: CREDIT == len(listener._queue))
        passes = 0

        class Count(trio.abc.Instrument):
            def before_io_wait(self, timeout: float) -> None:
                nonlocal passes
                passes += 1

        count = Count()
        trio.lowlevel.add_instrument(count)
        for _ in clients:
            (await listener.accept()).socket.close()
        trio.lowlevel.remove_instrument(count)
        assert passes < CREDIT / 2
        close(*clients)


async def test_accept_is_a_cancellation_point_every_time() -> None:
    async with open_boss() as boss:
        listener = await boss.listen()
        clients = boss.hand(1, 1, 2)
        await until(lambda: 2 == len(listener._queue))
        for _ in range(100):
            with trio.CancelScope() as scope:
                scope.cancel()
                await listener.accept()
            assert scope.cancelled_caught
        for client in clients:
            async with await listener.accept() as stream:
                assert served_by(stream, client)
        assert (2, ()) == (await replies(boss, 2))[-1]
        close(*clients)


async def test_an_accept_cancelled_while_it_waits_took_nothing() -> None:
    async with open_boss() as boss:
        listener = await boss.listen()
        async with trio.open_nursery() as nursery:
            one, two = (Background(nursery, listener.accept) for _ in range(2))
            await trio.testing.wait_all_tasks_blocked()
            await one.cancel()
            (client,) = boss.hand(1, 1)
            async with await two.wait() as stream:
                assert served_by(stream, client)
        close(client)


async def test_an_accept_woken_and_cancelled_at_once_passes_its_turn_on() -> None:
    async with open_boss() as boss:
        listener = await boss.listen()
        async with trio.open_nursery() as nursery:
            one, two = (Background(nursery, listener.accept) for _ in range(2))
            await trio.testing.wait_all_tasks_blocked()
            (client,) = boss.hand(1, 1)
            await until(lambda: listener._queue or one.done.is_set() or two.done.is_set())
            one.scope.cancel()
            two.scope.cancel()
            await one.done.wait()
            await two.done.wait()
        stream = one.result or two.result or await listener.accept()
        async with stream:
            assert served_by(stream, client)
        close(client)


async def test_a_connection_is_not_returned_before_its_reply_is_written() -> None:
    """AWP-LI-2: the channel is full, so accept() waits."""
    async with open_boss() as boss:
        listener = await boss.listen()
        (client,) = boss.hand(1, 1)
        await boss.block()
        async with trio.open_nursery() as nursery:
            accepting = Background(nursery, listener.accept)
            await trio.testing.wait_all_tasks_blocked()
            assert not accepting.done.is_set()
            assert not boss.heard
            boss.read()
            async with await accepting.wait() as stream:
                assert [(1, ())] == await replies(boss, 1)
                assert served_by(stream, client)
        close(client)


@pytest.mark.parametrize("end", ["read", "cancel", "close", "lost"])
async def test_the_kernel_does_not_take_a_reply(end: str) -> None:
    """Nobody knew that the channel is full: what was to be written at once waits like all else."""
    async with open_boss() as boss:
        listener = await boss.listen()
        (client,) = boss.hand(1, 1)
        await until(lambda: listener._queue)
        await boss.fill()
        async with trio.open_nursery() as nursery:
            accepting = Background(nursery, listener.accept)
            await trio.testing.wait_all_tasks_blocked()
            assert not accepting.done.is_set()
            assert not listener._queue
            if end == "cancel":
                await accepting.cancel()
                accepting = Background(nursery, listener.accept)
            elif end == "close":
                await accepting.cancel()
                listener.close()
            if end == "lost":
                boss.close()
            else:
                boss.read()
                assert [(1, ())] == await replies(boss, 1)
            if end != "close":
                async with await accepting.wait() as stream:
                    assert served_by(stream, client)
        assert listener.is_idle()
        close(client)


async def test_other_traffic_does_not_hold_a_reply_up() -> None:
    """The channel never runs empty, and yet accept() returns: its reply goes first."""
    async with open_boss() as boss:
        listener = await boss.listen()
        (client,) = boss.hand(1, 1)
        await boss.block()
        async with trio.open_nursery() as nursery:
            accepting = Background(nursery, listener.accept)
            await trio.testing.wait_all_tasks_blocked()
            while not accepting.done.is_set():
                for _ in range(5):
                    boss.link.connection.send_log(10, 0.0, "filler", "x" * 100_000)
                boss.link.flush()
                assert not boss.link.is_flushed
                boss.read_some()
                await trio.lowlevel.checkpoint()
            assert not boss.link.is_flushed
            async with await accepting.wait() as stream:
                assert served_by(stream, client)
        close(client)


@pytest.mark.parametrize("waiting", [False, True], ids=["later", "waiting"])
async def test_an_accept_cancelled_with_its_reply_under_way(waiting: bool) -> None:
    """The reply cannot be called back, so the connection is the next accept()'s, once written."""
    async with open_boss() as boss:
        listener = await boss.listen()
        async with trio.open_nursery() as nursery:
            clients = boss.hand(1, 1)
            await until(lambda: listener._queue)
            await boss.block()
            one = Background(nursery, listener.accept)
            await trio.testing.wait_all_tasks_blocked()
            assert not listener._queue
            two = Background(nursery, listener.accept)
            if waiting:
                await trio.testing.wait_all_tasks_blocked()
            await one.cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert not two.done.is_set()
            boss.read()
            async with await two.wait() as stream:
                assert served_by(stream, clients[0])
                assert [(1, ())] == await replies(boss, 1)
        close(*clients)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_what_nobody_accepts_any_more_is_closed(when: str) -> None:
    """A connection that was acknowledged, but never returned, ends with its listener."""
    async with open_boss() as boss:
        listener = await boss.listen()
        (client,) = boss.hand(1, 1)
        await until(lambda: listener._queue)
        await boss.block()
        async with trio.open_nursery() as nursery:
            accepting = Background(nursery, listener.accept)
            await trio.testing.wait_all_tasks_blocked()
            if when == "before":
                listener.close()
                await accepting.cancel()
            else:
                await accepting.cancel()
                listener.close()
        boss.read()
        assert b"" == client.recv(1)
        assert listener.is_idle()
        close(client)


async def test_an_accept_that_is_not_cancelled_survives_the_close() -> None:
    async with open_boss() as boss:
        listener = await boss.listen()
        (client,) = boss.hand(1, 1)
        await until(lambda: listener._queue)
        await boss.block()
        async with trio.open_nursery() as nursery:
            accepting = Background(nursery, listener.accept)
            await trio.testing.wait_all_tasks_blocked()
            await listener.aclose()
            assert not boss.listeners.is_idle()
            boss.read()
            async with await accepting.wait() as stream:
                assert served_by(stream, client)
                assert not listener.is_idle()
        assert listener.is_idle()
        close(client)


def _listening() -> int:
    return socket.create_server(("127.0.0.1", 0)).detach()


def _datagram() -> int:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach()


def _unix_stream() -> int:
    ours, theirs = socket.socketpair()
    theirs.close()
    return ours.detach()


@pytest.mark.parametrize(
    "false", [lambda: os.open(os.devnull, os.O_RDONLY), _listening, _datagram, _unix_stream]
)
async def test_what_is_no_connection_is_refused(false: Callable[[], int]) -> None:
    """AWP-HA-2: the primary said TCP stream, and it is something else."""
    async with open_boss() as boss:
        listener = await boss.listen()
        handle = Handle(false(), HandleKind.TCP_SOCKET, {}, HandleKind.TCP_SOCKET)
        boss.connection.send_connections(1, 1, [handle])
        boss.say()
        (client,) = boss.hand(1, 2)
        async with await listener.accept() as stream:
            assert served_by(stream, client)
        assert [(1, (1,)), (2, ())] == await replies(boss, 2)
        close(client)


async def test_an_accepted_connection_is_like_any_other() -> None:
    """Its socket says of itself what one says that Trio has accepted."""
    async with open_boss() as boss:
        listener = await boss.listen()
        mine = await own(boss)
        with connect(mine) as other:
            (client,) = boss.hand(1, 1)
            plain = trio.SocketListener(trio.socket.from_stdlib_socket(_bound_to_loopback()))
            with socket.create_connection(plain.socket.getsockname()) as third:
                streams = [await one.accept() for one in (listener, mine, plain)]
                facts = {
                    (
                        one.socket.family,
                        one.socket.type,
                        one.socket.proto,
                        os.get_blocking(one.socket.fileno()),
                        os.get_inheritable(one.socket.fileno()),
                        one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
                    )
                    for one in streams
                }
                assert 1 == len(facts)
                for one, its in zip(streams, (client, other, third), strict=True):
                    assert its.getsockname() == one.socket.getpeername()
                    await one.aclose()
        await plain.aclose()
        await mine.aclose()
        close(client)


def _bound_to_loopback() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


async def test_descriptors_that_did_not_arrive() -> None:
    """They are refused, and credit comes back for them: no more and no less than before."""
    async with open_boss() as boss:
        listener = await boss.listen(max_connections=3)
        lost = boss.hand(1, 1, 2)
        with no_more_descriptors():
            await boss.hear(events.ConnReply)
        credit = await boss.hear(events.ConnCredit)
        assert 2 == credit.count
        clients = boss.hand(1, 3, 3)
        for client in clients:
            async with await listener.accept() as stream:
                assert served_by(stream, client)
        close(*lost, *clients)


# ---- stop and close ----------------------------------------------------------------------------


async def test_accept_waits_from_stop_on() -> None:
    """It never raises, not for those who wait and not for those who come."""
    async with open_boss() as boss:
        listener = await boss.listen()
        async with trio.open_nursery() as nursery:
            one = Background(nursery, listener.accept)
            await trio.testing.wait_all_tasks_blocked()
            boss.stop()
            await until(lambda: listener._stopped)
            two = Background(nursery, listener.accept)
            await trio.testing.wait_all_tasks_blocked()
            assert not one.done.is_set()
            assert not two.done.is_set()
            await one.cancel()
            listener.close()
            with pytest.raises(trio.ClosedResourceError):
                await two.wait()


async def test_stop_gives_back_what_is_in_the_queue() -> None:
    async with open_boss() as boss:
        listener = await boss.listen()
        clients = boss.hand(1, 1, 3)
        (await listener.accept()).socket.close()
        boss.stop()
        assert [(1, ()), (3, (2, 3))] == await replies(boss, 3)
        assert listener.is_idle()
        close(*clients)


async def test_connections_and_stop_in_one_read() -> None:
    async with open_boss() as boss:
        listener = await boss.listen()
        pairs = [socket.socketpair() for _ in range(2)]
        boss.connection.send_connections(1, 1, [Handle.of(one) for one, _ in pairs])
        boss.connection.send_stop(None)
        boss.say()
        assert [(2, (1, 2))] == await replies(boss, 2)
        assert listener.is_idle()
        close(*(two for _, two in pairs))


async def test_a_close_refuses_first_and_then_says_so() -> None:
    async with open_boss() as boss:
        listener = await boss.listen()
        clients = boss.hand(1, 1, 2)
        await until(lambda: 2 == len(listener._queue))
        await listener.aclose()
        said = [await boss.hear(*Replies) for _ in range(2)]
        assert [events.ConnReply(1, 2, (1, 2)), events.ListenClosed(1)] == said
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()
        close(*clients)


async def test_a_listener_is_closed_also_by_a_cancelled_aclose() -> None:
    async with open_boss() as boss:
        listener = await boss.listen()
        with trio.CancelScope() as scope:
            scope.cancel()
            await listener.aclose()
        assert listener.is_closed
        assert events.ListenClosed(1) == await boss.hear(events.ListenClosed)


async def test_the_primary_is_lost_with_connections_in_the_queue() -> None:
    """accept() waits, as after Stop; main is cancelled by others."""
    async with open_boss() as boss:
        listener = await boss.listen()
        clients = boss.hand(1, 1, 2)
        await until(lambda: 2 == len(listener._queue))
        boss.close()
        await until(lambda: boss.link.ended and listener._stopped)
        with trio.move_on_after(0.05) as scope:
            await listener.accept()
        assert scope.cancelled_caught
        listener.close()
        close(*clients)


async def test_the_primary_aborts() -> None:
    """Until the channel ends nothing can be acknowledged any more, so accept() waits."""
    async with open_boss() as boss:
        listener = await boss.listen()
        clients = boss.hand(1, 1)
        boss.connection.abort(15, "test")
        boss.say()
        await until(lambda: boss.link.connection.state is State.CLOSED)
        assert listener._queue
        assert not boss.link.ended
        with trio.move_on_after(0.05) as scope:
            await listener.accept()
        assert scope.cancelled_caught
        close(*clients)


# ---- max_connections ---------------------------------------------------------------------------


async def test_a_full_worker_is_given_no_credit() -> None:
    """Open, queued and still to come are never more than allowed; a close makes room."""
    async with open_boss() as boss:
        listener = await boss.listen(max_connections=2)
        clients = boss.hand(1, 1, 2)
        one, two = [await listener.accept() for _ in range(2)]
        await replies(boss, 2)
        assert not boss.heard
        async with trio.open_nursery() as nursery:
            accepting = Background(nursery, listener.accept)
            await trio.testing.wait_all_tasks_blocked()
            boss.read()
            assert not boss.heard
            await one.aclose()
            assert 1 == (await boss.hear(events.ConnCredit)).count
            more = boss.hand(1, 3)
            async with await accepting.wait() as stream:
                assert served_by(stream, more[0])
        Handle.of(two).close()  # sent away counts as closed
        async with trio.open_nursery() as nursery:
            accepting = Background(nursery, listener.accept)
            credit = 0
            while credit < 2:
                credit += (await boss.hear(events.ConnCredit)).count
            assert 2 == credit
            await accepting.cancel()
        close(*clients, *more)


async def test_max_connections_counts_those_not_returned_yet() -> None:
    """Neither an accept() that waits for its reply to be written, nor one cancelled there."""
    async with open_boss() as boss:
        listener = await boss.listen(max_connections=2)
        clients = boss.hand(1, 1, 2)
        await until(lambda: 2 == len(listener._queue))
        await boss.block()
        async with trio.open_nursery() as nursery:
            tasks = [Background(nursery, listener.accept) for _ in range(2)]
            await trio.testing.wait_all_tasks_blocked()
            await tasks[0].cancel()
            boss.read()
            streams = [await tasks[1].wait(), await listener.accept()]
            tasks = [Background(nursery, listener.accept)]
            await trio.testing.wait_all_tasks_blocked()
            boss.read()
            assert not [event for event in boss.heard if isinstance(event, events.ConnCredit)]
            await tasks[0].cancel()
        peers = {stream.socket.getpeername() for stream in streams}
        assert {client.getsockname() for client in clients} == peers
        for stream in streams:
            await stream.aclose()
        close(*clients)


async def test_many_connections_under_a_large_limit() -> None:
    async with open_boss() as boss:
        listener = await boss.listen(max_connections=1000)
        clients = boss.hand(1, 1, 48)
        streams = [await listener.accept() for _ in clients]
        await replies(boss, 48)
        credit = sum(e.count for e in boss.heard if isinstance(e, events.ConnCredit))
        assert 48 == credit
        for stream in streams:
            await stream.aclose()
        close(*clients)


# ---- counting what is open ---------------------------------------------------------------------


async def test_what_counts_as_open() -> None:
    async with open_boss() as boss:
        listener = await boss.listen()
        clients = boss.hand(1, 1, 4)
        streams = [await listener.accept() for _ in clients]
        assert not listener.is_idle()
        await streams[0].aclose()
        os.close(streams[1].socket.detach())
        Handle.of(streams[2]).close()
        assert not listener.is_idle()
        del streams[:3]
        with pytest.warns(ResourceWarning, match="unclosed"):
            streams.clear()
        assert listener.is_idle()
        close(*clients)


async def test_the_count_forgets_what_is_closed() -> None:
    """However many connections there were, only those open are remembered."""
    async with open_boss() as boss:
        listener = await boss.listen()
        for first in range(1, 400, 4):
            clients = boss.hand(1, first, 4)
            for client in clients:
                (await listener.accept()).socket.close()
                client.close()
            boss.read()
        assert len(listener._open._sockets) < 70
