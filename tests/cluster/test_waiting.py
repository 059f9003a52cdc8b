"""Connections that nobody takes: how long they wait, which are dropped, in virtual time."""

from __future__ import annotations

import logging
import resource
import socket
from collections.abc import Sequence
from typing import Any

import msgpack
import pytest
import trio
import trio.testing

from actorcluster import NewConnection, Peek
from actorcluster._cluster.balance import Candidate
from actorcluster._cluster.binding import PortRequest
from actorcluster.wire import events
from actorcluster.wire._generated import Kind
from tests.cluster.inproc import Cluster, connect, frame, no_more_descriptors, open_cluster, until

Clock = trio.testing.MockClock


def reply(channel: int, upto: int, *rejected: int) -> bytes:
    return frame(Kind.CONN_REPLY, channel, msgpack.packb([upto, list(rejected)]))


def closed(client: socket.socket) -> bool:
    """Whether the other end has closed it."""
    client.setblocking(False)
    try:
        return not client.recv(1)
    except BlockingIOError:
        return False


def peers(event: events.Connections) -> list[Any]:
    """Who was handed over; they are closed here."""
    found = [handle.address for handle in event.handles]
    for handle in event.handles:
        handle.close()
    return found


def names(clients: Sequence[socket.socket]) -> list[Any]:
    return [client.getsockname() for client in clients]


async def waiting(cluster: Cluster, count: int) -> None:
    await until(lambda: count == cluster.port.waiting)


# ---- a deadline ------------------------------------------------------------------------------


async def test_who_waits_for_too_long(mock_clock: Clock) -> None:
    """Up to the backlog wait here; the oldest are closed first, and others move up."""
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        channel = await puppet.listen(credit=0, wait=5000, backlog=3)
        clients = cluster.connect(2)
        await waiting(cluster, 2)
        mock_clock.jump(3)
        clients += cluster.connect(3)
        await waiting(cluster, 3)
        await trio.testing.wait_all_tasks_blocked()
        assert (3, 0) == (cluster.port.waiting, cluster.port.timed_out)
        mock_clock.jump(2)
        await until(lambda: 2 == cluster.port.timed_out)
        assert [True, True, False, False, False] == [closed(client) for client in clients]
        await waiting(cluster, 3)
        puppet.credit(channel, 9)
        assert names(clients[2:]) == peers(await puppet.connected())
        mock_clock.jump(20)
        await trio.testing.wait_all_tasks_blocked()
        assert (0, 2) == (cluster.port.waiting, cluster.port.timed_out)


async def test_with_nobody_alive(mock_clock: Clock) -> None:
    """Those that the dead one had not taken wait from when they came; and none is left behind."""
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        await puppet.listen(credit=2, wait=5000)
        clients = cluster.connect(2)
        await until(lambda: 2 == cluster.port.unacknowledged)
        mock_clock.jump(3)
        await puppet.die()
        await waiting(cluster, 2)
        clients += cluster.connect()
        await waiting(cluster, 3)
        mock_clock.jump(2)
        await until(lambda: 2 == cluster.port.timed_out)
        assert [True, True, False] == [closed(client) for client in clients]
        mock_clock.jump(3)
        await until(lambda: 3 == cluster.port.timed_out)


async def test_what_was_late_in_coming_back_is_dealt_all_the_same(mock_clock: Clock) -> None:
    """Somebody is free: nobody had to wait for him."""
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        channel = await puppet.listen(credit=2, wait=5000)
        clients = cluster.connect(2)
        peers(await puppet.connected())
        await until(lambda: 2 == cluster.port.unacknowledged)
        mock_clock.jump(6)
        other = await cluster.puppet()
        await other.listen(credit=1, port=cluster.port.address[1])
        puppet.say(reply(channel, 2, 1, 2))
        assert names(clients[:1]) == peers(await other.connected())
        await until(lambda: 1 == cluster.port.timed_out)
        assert closed(clients[1])


async def test_those_that_wait_for_one_worker(mock_clock: Clock) -> None:
    def to_the_first(_: NewConnection, candidates: Sequence[Candidate]) -> Candidate:
        return min(candidates, key=lambda one: one.id)

    async with open_cluster(policies={"first": to_the_first}) as cluster:
        puppets = [await cluster.puppet() for _ in range(2)]
        await puppets[0].listen(credit=1, wait=400, policy="first", port=0)
        address = cluster.port.address
        await puppets[1].listen(credit=9, port=address[1])
        clients = cluster.connect(3)
        await until(lambda: 2 == cluster.port.workers[1].waiting - 1)
        peers(await puppets[0].connected())
        mock_clock.jump(0.4)
        await until(lambda: 2 == cluster.port.timed_out)
        assert [False, True, True] == [closed(client) for client in clients]
        assert (0, 1) == (cluster.port.waiting, cluster.port.workers[1].waiting)


async def test_those_that_were_looked_at_first(mock_clock: Clock) -> None:
    """Their time runs from when they came, not from when they had said enough."""
    peek = Peek(lambda _, candidates: candidates[0], until=b"!", timeout=3)
    async with open_cluster(policies={"peek": peek}) as cluster:
        puppet = await cluster.puppet()
        await puppet.listen(credit=0, wait=5000, policy="peek")
        clients = cluster.connect(1)
        await until(lambda: 1 == cluster.port.peeking)
        mock_clock.jump(2)
        clients += cluster.connect(1)
        clients[1].sendall(b"!")
        await until(lambda: (2, 1) == (cluster.port.waiting, cluster.port.peeking))
        mock_clock.jump(1)
        await until(lambda: 0 == cluster.port.peeking)
        assert 2 == cluster.port.waiting
        mock_clock.jump(2)
        await until(lambda: 1 == cluster.port.timed_out)
        assert [True, False] == [closed(client) for client in clients]


async def test_those_looked_at_and_those_that_wait_are_the_backlog_together() -> None:
    peek = Peek(lambda _, candidates: candidates[0], until=b"!", timeout=100)
    async with open_cluster(policies={"peek": peek}) as cluster:
        puppet = await cluster.puppet()
        channel = await puppet.listen(credit=0, wait=50_000, policy="peek", backlog=3)
        clients = cluster.connect(2)
        await until(lambda: 2 == cluster.port.peeking)
        for _ in range(2):
            clients += cluster.connect(1)
            clients[-1].sendall(b"!")
        await until(lambda: 3 == cluster.port.waiting)
        await trio.testing.wait_all_tasks_blocked()
        assert (3, 2) == (cluster.port.waiting, cluster.port.peeking)
        puppet.credit(channel, 1)
        assert names(clients[2:3]) == peers(await puppet.connected())
        await until(lambda: 3 == cluster.port.waiting)


async def test_others_keep_half_of_the_descriptors(mock_clock: Clock) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        resource.setrlimit(resource.RLIMIT_NOFILE, (60, before[1]))
        try:
            await puppet.listen(credit=0, wait=5000)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        cluster.connect(40)
        await waiting(cluster, 30)
        await trio.testing.wait_all_tasks_blocked()
        assert 30 == cluster.port.waiting


async def test_the_first_worker_says_how_long(mock_clock: Clock) -> None:
    async with open_cluster() as cluster:
        puppets = [await cluster.puppet() for _ in range(2)]
        await puppets[0].listen(credit=0)
        await puppets[1].listen(credit=0, wait=1000, port=cluster.port.address[1])
        cluster.connect()
        await trio.testing.wait_all_tasks_blocked()
        assert 0 == cluster.port.waiting


async def test_without_descriptors_they_wait_elsewhere(
    mock_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Time goes on for those that are here; the others come when there is room."""
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        channel = await puppet.listen(credit=0, wait=5000)
        clients = cluster.connect(1)
        await waiting(cluster, 1)
        clients += cluster.connect(2)
        with no_more_descriptors():
            await until(lambda: "cannot accept" in caplog.text)
            mock_clock.jump(5)
            await until(lambda: 1 == cluster.port.timed_out)
        mock_clock.jump(1)
        await waiting(cluster, 2)
        puppet.credit(channel, 9)
        assert names(clients[1:]) == peers(await puppet.connected())


async def test_closed_before_it_began(caplog: pytest.LogCaptureFixture) -> None:
    """As where the next port of a supervisor cannot be had: nobody tries to accept there."""
    async with open_cluster() as cluster:
        request = PortRequest(transport="tcp", host="127.0.0.1", modes=["handoff"], wait=5000)
        cluster.ports.unpin("some", cluster.ports.pin("some", request, ()))
        await trio.testing.wait_all_tasks_blocked()
    assert "" == caplog.text


async def test_closing_ends_the_waiting(mock_clock: Clock) -> None:
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        await puppet.listen(credit=0, wait=5000)
        clients = cluster.connect(2)
        await waiting(cluster, 2)
        cluster.ports.close()
        assert [True, True] == [closed(client) for client in clients]


async def test_it_is_told_now_and_then(mock_clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        await puppet.listen(credit=0, wait=1000)
        for _ in range(11):
            clients = cluster.connect(2)
            await waiting(cluster, 2)
            mock_clock.jump(1)
            await waiting(cluster, 0)
        assert 22 == cluster.port.timed_out
        last = clients[-1].getsockname()
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert ["2", "20"] == [text.split(": ")[1].split()[0] for text in told]
    assert told[-1].endswith(f"waited for 1.0 seconds and were closed, the last of {last}")


# ---- dropping --------------------------------------------------------------------------------


async def test_dropped_when_all_are_full() -> None:
    async with open_cluster() as cluster:
        puppets = [await cluster.puppet() for _ in range(2)]
        channel = await puppets[0].listen(credit=1, limit=1, full="drop")
        port = cluster.port.address[1]
        await puppets[1].listen(credit=0, limit=1, port=port)
        clients = cluster.connect(3)
        peers(await puppets[0].connected())
        await trio.testing.wait_all_tasks_blocked()
        assert 0 == cluster.port.dropped  # the other has room, and only says nothing
        await puppets[1].die()
        await until(lambda: 2 == cluster.port.dropped)
        assert [False, True, True] == [closed(client) for client in clients]
        puppets[0].say(reply(channel, 1))
        clients += cluster.connect(200)
        await until(lambda: 202 == cluster.port.dropped)
        puppets[0].connection.send_conn_credit(channel, 1, 1)
        puppets[0].say()
        await until(lambda: 0 == cluster.port.workers[1].open)
        clients += cluster.connect(1)
        assert names(clients[-1:]) == peers(await puppets[0].connected())
        assert 0 == cluster.port.waiting


async def test_not_when_all_are_leaving() -> None:
    """Their successors will take them."""
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        await puppet.listen(credit=0, limit=0, full="drop")
        puppet.client.stop()
        cluster.connect(2)
        await trio.testing.wait_all_tasks_blocked()
        assert (0, 0) == (cluster.port.dropped, cluster.port.waiting)


async def test_those_left_behind_by_one_that_had_room() -> None:
    """It had refused, so they waited; told to stop, it leaves only full ones."""
    async with open_cluster() as cluster:
        puppets = [await cluster.puppet() for _ in range(2)]
        channel = await puppets[0].listen(credit=2, limit=9, full="drop")
        await puppets[1].listen(credit=0, limit=0, port=cluster.port.address[1])
        clients = cluster.connect(2)
        peers(await puppets[0].connected())
        puppets[0].say(reply(channel, 2, 1, 2))
        await waiting(cluster, 2)
        assert 0 == cluster.port.dropped
        puppets[0].client.stop()
        assert 2 == cluster.port.dropped
        assert [True, True] == [closed(client) for client in clients]


async def test_many_are_dropped_while_others_are_served() -> None:
    """Nobody's turn is taken: what a worker says is heard, whatever comes."""
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        await puppet.listen(credit=0, limit=0, full="drop", key="2")
        worker = await cluster.worker()
        listener = await worker.listen()
        for _ in range(5):
            for _ in range(50):
                cluster.keep(connect(cluster.ports.statistics()[0].address))
            with connect(listener.address):
                async with await listener.accept():
                    pass
        await until(lambda: 250 == cluster.ports.statistics()[0].dropped)
