"""Dealing connections: in turn, in batches, again after refusal and death, never to two."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

import msgpack
import pytest
import trio

from actorcluster._link.pipe import LINK_LIMITS
from actorcluster.wire import events
from actorcluster.wire._generated import AbortCode, Kind
from tests.cluster.inproc import connect, frame, no_more_descriptors, open_cluster, served_by, until


def reply(channel: int, upto: int, *rejected: int) -> bytes:
    envelope = msgpack.packb([upto, list(rejected)] if rejected else [upto])
    return frame(Kind.CONN_REPLY, channel, envelope)


def credit(channel: int, count: int) -> bytes:
    return frame(Kind.CONN_CREDIT, channel, msgpack.packb([count]))


def close(event: events.Connections) -> None:
    for handle in event.handles:
        handle.close()


# ---- in turn, in batches, within the credit -------------------------------------------------


async def test_what_waits_goes_in_one_frame() -> None:
    """Credit 0 is allowed: nothing is accepted; then all that waits goes by one system call."""
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        channel = await puppet.listen(credit=0)
        clients = cluster.connect(10)
        assert 0 == cluster.port.waiting
        sends = puppet.client.channel.statistics().sends
        puppet.credit(channel, 10)
        event = await puppet.connected()
        assert (1, 10) == (event.first, len(event.handles))
        assert 1 == puppet.client.channel.statistics().sends - sends
        peers = [handle.address for handle in event.handles]
        assert [client.getsockname() for client in clients] == peers
        close(event)


async def test_without_credit_one_connection_is_handed_over() -> None:
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        channel = await puppet.listen()
        cluster.connect(3)
        close(await puppet.connected())
        assert (0, 1) == (cluster.port.waiting, cluster.port.unacknowledged)
        puppet.say(reply(channel, 1))
        await until(lambda: not cluster.port.unacknowledged)
        puppet.credit(channel, 1)
        event = await puppet.connected()
        assert 2 == event.first
        close(event)


async def test_the_primary_accepts_no_more_than_is_taken() -> None:
    """With nobody free the kernel's backlog holds the clients."""
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        channel = await puppet.listen(credit=3)
        cluster.connect(9)
        await until(lambda: 3 == cluster.port.unacknowledged)
        await trio.testing.wait_all_tasks_blocked()
        assert (0, 3) == (cluster.port.waiting, cluster.port.unacknowledged)
        puppet.credit(channel, 6)
        await until(lambda: 9 == cluster.port.unacknowledged)
        numbers: list[int] = []
        while sum(numbers) < 9:
            event = await puppet.connected()
            numbers.append(len(event.handles))
            close(event)


async def test_a_worker_may_not_hoard() -> None:
    """However much credit one gives, only so many descriptors are kept for it."""
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        await puppet.listen(credit=2**32 - 1, backlog=200)
        cluster.connect(80)
        await until(lambda: 64 == cluster.port.unacknowledged)
        await trio.testing.wait_all_tasks_blocked()
        assert (0, 64) == (cluster.port.waiting, cluster.port.unacknowledged)
        puppet.read()


async def test_a_frame_holds_what_the_worker_can_take() -> None:
    async with open_cluster() as cluster:
        puppet = await cluster.puppet(limits={**LINK_LIMITS, "max_fds": 2})
        channel = await puppet.listen(credit=0)
        cluster.connect(5)
        puppet.credit(channel, 5)
        for first, count in [(1, 2), (3, 2), (5, 1)]:
            event = await puppet.connected()
            assert (first, count) == (event.first, len(event.handles))
            close(event)


async def test_strictly_in_turn() -> None:
    async with open_cluster() as cluster:
        workers = [await cluster.worker() for _ in range(3)]
        listeners = [await worker.listen() for worker in workers]
        for _ in range(4):
            for listener in listeners:
                (client,) = cluster.connect()
                async with await listener.accept() as stream:
                    assert served_by(stream, client)
        assert {1: 4, 2: 4, 3: 4} == cluster.port.dealt


async def test_connections_are_non_blocking_when_they_are_handed_over() -> None:
    """AWP-FD-9."""
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        await puppet.listen()
        cluster.connect()
        event = await puppet.connected()
        assert not os.get_blocking(event.handles[0].fileno())
        close(event)


# ---- refusals --------------------------------------------------------------------------------


async def test_what_one_refuses_another_gets() -> None:
    """In the order of arrival, and before what came later."""
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        channel = await puppet.listen(credit=3)
        clients = cluster.connect(3)
        await until(lambda: 3 == cluster.port.unacknowledged)
        later = cluster.connect()
        worker = await cluster.worker()
        puppet.say(reply(channel, 3, 1, 3))
        await until(lambda: 1 <= cluster.port.waiting)
        listener = await worker.listen()
        for client in [clients[0], clients[2], *later]:
            async with await listener.accept() as stream:
                assert served_by(stream, client)
        assert 2 == cluster.port.dealt_again
        assert {1: 1, 2: 3} == cluster.port.dealt


async def test_one_that_refuses_is_left_alone_and_then_tried_with_one() -> None:
    """No ping-pong between the primary and a worker that cannot take anything."""
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        channel = await puppet.listen(credit=100)
        cluster.connect(5)
        await until(lambda: 5 == cluster.port.unacknowledged)
        begin = trio.current_time()
        puppet.say(reply(channel, 5, 1, 2, 3, 4, 5))
        await until(lambda: not cluster.port.unacknowledged)
        offers = 5
        for number in range(6, 9):
            await until(lambda: cluster.port.unacknowledged)
            assert 1 == cluster.port.unacknowledged
            puppet.say(reply(channel, number, number))
            await until(lambda: not cluster.port.unacknowledged)
            offers += 1
        assert trio.current_time() - begin > 0.2  # two pauses, and what was left of a third
        assert offers == cluster.port.dealt_again
        await until(lambda: cluster.port.unacknowledged)
        puppet.say(reply(channel, 9))
        await until(lambda: 4 == cluster.port.unacknowledged)  # it takes again, so it gets all
        puppet.read()


async def test_a_refused_connection_gives_no_credit_back() -> None:
    """A worker that refuses has to give new credit, as for connections that it takes."""
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        channel = await puppet.listen(credit=1)
        (client,) = cluster.connect()
        close(await puppet.connected())
        puppet.say(reply(channel, 1, 1))
        await until(lambda: cluster.port.waiting)
        await trio.sleep(0.25)  # more than the pause: without credit nothing comes
        assert (1, 0) == (cluster.port.waiting, cluster.port.unacknowledged)
        puppet.credit(channel, 1)
        event = await puppet.connected()
        assert client.getsockname() == event.handles[0].address
        close(event)


async def test_descriptors_lost_on_the_way() -> None:
    """MSG_CTRUNC at the worker: refused by its core, its credit given back, dealt to it later."""
    async with open_cluster() as cluster:
        worker = await cluster.worker()
        listener = await worker.listen()
        clients = cluster.connect(3)
        puppet = await cluster.puppet()
        channel = await puppet.listen(credit=0, port=listener.address[1])
        await until(lambda: 3 == cluster.port.unacknowledged)
        for client in clients:
            async with await listener.accept() as stream:
                assert served_by(stream, client)
        await worker.die()
        clients = cluster.connect(4)
        puppet.credit(channel, 4)
        await until(lambda: 4 == cluster.port.unacknowledged)
        with no_more_descriptors():
            puppet.read()
        puppet.say()
        await until(lambda: 4 == cluster.port.dealt_again)
        event = await puppet.connected()  # after the pause, one
        assert (5, 1) == (event.first, len(event.handles))
        assert clients[0].getsockname() == event.handles[0].address
        close(event)
        puppet.say(reply(channel, 5))
        event = await puppet.connected()  # and then the rest
        assert (6, 3) == (event.first, len(event.handles))
        close(event)


async def test_one_that_takes_nothing_drops_out() -> None:
    """A worker in a busy loop, or stopped, gets no more until it has moved."""
    async with open_cluster() as cluster:
        stuck, good = await cluster.puppet(), await cluster.worker()
        channel = await stuck.listen(credit=50)
        listener = await good.listen()
        first = cluster.connect(2)
        async with await listener.accept() as stream:
            assert served_by(stream, first[1])
        await trio.sleep(0.6)
        for client in cluster.connect(5):
            async with await listener.accept() as stream:
                assert served_by(stream, client)
        stuck.say(reply(channel, 1))
        await until(lambda: not cluster.port.unacknowledged)
        cluster.connect(2)
        (await listener.accept()).socket.close()
        await until(lambda: 1 == cluster.port.unacknowledged)  # it is in the turn again
        assert {1: 2, 2: 7} == cluster.port.dealt
        stuck.read()


async def test_a_worker_that_takes_no_such_handles(caplog: pytest.LogCaptureFixture) -> None:
    """It said that it takes connections, but not of this kind; others are dealt to at once."""
    async with open_cluster() as cluster:
        puppet = await cluster.puppet(handle_names=["pipe-read"])
        await puppet.listen(credit=9)
        worker = await cluster.worker()
        listener = await worker.listen()
        clients = cluster.connect(3)
        served = set()
        for _ in clients:
            async with await listener.accept() as stream:
                served.add(stream.socket.getpeername())
        assert {client.getsockname() for client in clients} == served
        assert {2: 3} == cluster.port.dealt
    assert ["worker 1 cannot be given connections"] == [
        text[: len("worker 1 cannot be given connections")] for text in caplog.messages
    ]


# ---- death and departure, at every point -----------------------------------------------------


@pytest.mark.parametrize("read", [False, True], ids=["unread", "read"])
async def test_what_a_dead_worker_had_not_taken_goes_to_others(read: bool) -> None:
    """It died before CONN arrived, or after, but before accept()."""
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        await puppet.listen(credit=5)
        clients = cluster.connect(5)
        if read:
            close(await puppet.connected())
        await until(lambda: 5 == cluster.port.unacknowledged)
        worker = await cluster.worker()
        listener = await worker.listen()
        await puppet.die()
        for client in clients:
            async with await listener.accept() as stream:
                assert served_by(stream, client)
        assert 5 == cluster.port.dealt_again
        assert {2: 5} == cluster.port.dealt


async def test_of_workers_that_are_gone_one_number_is_kept() -> None:
    async with open_cluster() as cluster:
        for _ in range(3):
            puppet = await cluster.puppet()
            channel = await puppet.listen(credit=1)
            (client,) = cluster.connect()
            close(await puppet.connected())
            puppet.say(reply(channel, 1))
            await until(lambda: not cluster.port.unacknowledged)
            await puppet.die()
            client.close()
        worker = await cluster.worker()
        await worker.listen()
        await until(lambda: not cluster.port.dealt)
        assert 3 == cluster.port.dealt_before


async def test_a_reply_already_in_the_channel_is_heard() -> None:
    """It wrote that it takes the connection and died: nobody else may get it."""
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        channel = await puppet.listen(credit=2)
        taken, other = cluster.connect(2)
        await until(lambda: 2 == cluster.port.unacknowledged)
        puppet.say(reply(channel, 1))
        await puppet.die()
        assert b"" == taken.recv(1)
        worker = await cluster.worker()
        async with await (await worker.listen()).accept() as stream:
            assert served_by(stream, other)
        assert 1 == cluster.port.dealt_again


async def test_a_worker_that_dies_in_accept_takes_nothing_along() -> None:
    async with open_cluster() as cluster:
        worker = await cluster.worker()
        listener = await worker.listen()

        async def accept() -> None:
            with pytest.raises(trio.ClosedResourceError):  # our stand-in for a process closes it
                await listener.accept()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            await trio.testing.wait_all_tasks_blocked()
            await worker.die()
        second = await cluster.worker()
        listener = await second.listen()
        (client,) = cluster.connect()
        async with await listener.accept() as stream:
            assert served_by(stream, client)


async def test_the_listener_outlives_the_last_worker() -> None:
    """With nobody alive the kernel holds the clients; whoever comes next serves them all."""
    async with open_cluster() as cluster:
        worker = await cluster.worker()
        listener = await worker.listen()
        await worker.die()
        clients = cluster.connect(20)
        await trio.testing.wait_all_tasks_blocked()
        assert 0 == cluster.port.waiting
        second = await cluster.worker()
        again = await second.listen(listener.address[1])
        for client in clients:
            async with await again.accept() as stream:
                assert served_by(stream, client)


async def test_a_listener_closed_while_connections_are_under_way() -> None:
    """LISTEN_CLOSE crosses CONN: others get them at once, and the late refusals mean nothing."""
    async with open_cluster() as cluster:
        puppet, worker = await cluster.puppet(), await cluster.worker()
        channel = await puppet.listen(credit=4)
        clients = cluster.connect(4)
        await until(lambda: 4 == cluster.port.unacknowledged)
        puppet.connection.send_listen_close(channel)
        puppet.say()
        listener = await worker.listen()
        for client in clients:
            async with await listener.accept() as stream:
                assert served_by(stream, client)
        puppet.read()
        puppet.say()
        await until(lambda: not cluster.port.unacknowledged)
        assert 4 == cluster.port.dealt_again
        assert puppet.client.fault is None


async def test_a_listener_closed_with_connections_in_its_queue() -> None:
    async with open_cluster() as cluster:
        one = await cluster.worker()
        listener = await one.listen()
        clients = cluster.connect(3)
        await until(lambda: 3 == cluster.port.unacknowledged)
        two = await cluster.worker()
        other = await two.listen()
        await listener.aclose()
        await listener.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()
        for client in clients:
            async with await other.accept() as stream:
                assert served_by(stream, client)
        again = await one.listen()
        assert other.address == again.address


async def test_stop_declines_what_is_under_way() -> None:
    async with open_cluster() as cluster:
        one, two = await cluster.worker(), await cluster.worker()
        listener = await one.listen()
        clients = cluster.connect(2)
        await until(lambda: 2 == cluster.port.unacknowledged)
        later = cluster.connect()
        one.client.stop()
        other = await two.listen()
        for client in [*clients, *later]:
            async with await other.accept() as stream:
                assert served_by(stream, client)
        assert listener.is_idle()
        assert {1: 0, 2: 3} == cluster.port.dealt


async def test_a_worker_that_said_goodbye_gets_nothing() -> None:
    """Between its GOODBYE and the end of its channel there is time for connections to come."""
    async with open_cluster() as cluster:
        puppet, worker = await cluster.puppet(), await cluster.worker()
        await puppet.listen(credit=9)
        puppet.connection.send_goodbye()
        puppet.say()
        await puppet.hear(events.Goodbye)
        listener = await worker.listen()
        for client in cluster.connect(3):
            async with await listener.accept() as stream:
                assert served_by(stream, client)


async def test_closing_the_port_ends_all_that_nobody_took() -> None:
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        channel = await puppet.listen(credit=2)
        clients = cluster.connect(2)
        await until(lambda: 2 == cluster.port.unacknowledged)
        puppet.say(reply(channel, 1, 1))
        await until(lambda: 1 == cluster.port.waiting)
        await puppet.die()
        cluster.ports.close()
        assert () == cluster.ports.statistics()
        for client in clients:
            assert b"" == client.recv(1)


# ---- hostile workers ---------------------------------------------------------------------------


@pytest.mark.parametrize("begin", ["credit", "listen", "close"])
async def test_something_useful_and_then_rubbish(begin: str) -> None:
    """What came before the fault is acted on when the connection is closed already."""
    async with open_cluster() as cluster:
        puppet, worker = await cluster.puppet(), await cluster.worker()
        channel = await puppet.listen(credit=1)
        (client,) = cluster.connect()
        await until(lambda: 1 == cluster.port.unacknowledged)
        puppet.say(reply(channel, 1, 1))
        await until(lambda: 1 == cluster.port.waiting)
        await trio.sleep(0.15)  # it is no longer paused: credit would bring the connection back
        useful = {
            "credit": credit(channel, 5),
            "listen": frame(Kind.LISTEN, 3, payload=msgpack.packb({"transport": "tcp"})),
            "close": credit(channel, 5) + frame(Kind.LISTEN_CLOSE, channel),
        }[begin]
        puppet.say(useful + b"rubbish" * 9)
        await puppet.client.gone.wait()
        assert puppet.client.fault is not None
        assert AbortCode.BAD_SIGNATURE == puppet.client.fault.code
        async with await (await worker.listen()).accept() as stream:
            assert served_by(stream, client)


@pytest.mark.parametrize("waiting", [False, True], ids=["in-the-backlog", "accepted"])
async def test_credit_for_a_listener_that_closes(waiting: bool) -> None:
    """Both in one read: the connection that credit would bring goes to another worker."""
    async with open_cluster() as cluster:
        puppet, worker = await cluster.puppet(), await cluster.worker()
        channel = await puppet.listen(credit=int(waiting))
        (client,) = cluster.connect()
        if waiting:
            close(await puppet.connected())
            puppet.say(reply(channel, 1, 1))
            await until(lambda: 1 == cluster.port.waiting)
            await trio.sleep(0.15)  # it is no longer paused
        puppet.connection.send_conn_credit(channel, 5)
        puppet.connection.send_listen_close(channel)
        puppet.say()
        async with await (await worker.listen()).accept() as stream:
            assert served_by(stream, client)
        assert puppet.client.fault is None


async def test_a_reply_to_what_was_not_sent_yet() -> None:
    """The primary must not close, and so lend out, a descriptor that still waits to be sent."""
    async with open_cluster() as cluster:
        limits = {**LINK_LIMITS, "fds_in_flight": 1}
        puppet, worker = await cluster.puppet(limits=limits), await cluster.worker()
        channel = await puppet.listen(credit=3)
        clients = cluster.connect(1)
        await until(lambda: 1 == cluster.port.unacknowledged)
        clients += cluster.connect(2)
        await until(lambda: 3 == cluster.port.unacknowledged)
        puppet.say(reply(channel, 3, 3))  # without having acknowledged the first frame's handle
        await until(lambda: 1 == cluster.port.waiting)
        async with await (await worker.listen()).accept() as stream:
            assert served_by(stream, clients[2])
        peers: list[Any] = []
        while len(peers) < 3:
            event = await puppet.connected()
            peers += [handle.address for handle in event.handles]
            close(event)
            puppet.say()
        assert [client.getsockname() for client in clients] == peers


# ---- the primary's own troubles ----------------------------------------------------------------


async def test_no_descriptors_left_in_the_primary(caplog: pytest.LogCaptureFixture) -> None:
    """The clients wait in the backlog, one line is logged, and it goes on by itself."""
    async with open_cluster() as cluster:
        worker = await cluster.worker()
        listener = await worker.listen()
        clients = cluster.connect(2)
        with no_more_descriptors():
            await until(lambda: caplog.records)
            await trio.sleep(0.25)
        for client in clients:
            async with await listener.accept() as stream:
                assert served_by(stream, client)
        assert 1 == len(caplog.records)
        assert logging.ERROR == caplog.records[0].levelno
        assert "Too many open files" in caplog.text


async def test_a_listening_socket_that_is_no_more(caplog: pytest.LogCaptureFixture) -> None:
    """Somebody else shut an inherited socket down: that port is dead, the primary is not."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with open_cluster() as cluster:
            worker = await cluster.worker()
            worker.client.listen_fds = {"web": server.fileno()}
            await worker.listeners.listen({"transport": "fd", "name": "web"}, None)
            server.shutdown(socket.SHUT_RDWR)
            await until(lambda: caplog.records)
            listener = await worker.listen()
            with connect(listener.address) as client:
                async with await listener.accept() as stream:
                    assert served_by(stream, client)
    assert "Invalid argument" in caplog.text


async def test_thousands_of_turns_keep_nobody_waiting() -> None:
    """The burst is bounded: other tasks run between two of them."""
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        channel = await puppet.listen(credit=0, backlog=300)
        cluster.connect(150)
        puppet.credit(channel, 1000)
        taken = 0
        while taken < 150:
            event = await puppet.connected()
            assert len(event.handles) <= 64
            taken += len(event.handles)
            close(event)
            puppet.say(reply(channel, taken))
        await until(lambda: not cluster.port.unacknowledged)
