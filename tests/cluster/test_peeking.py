"""A port that deals by what clients say first: who is dealt when, and that nothing is consumed."""

from __future__ import annotations

import os
import resource
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgpack
import pytest
import trio
from trio.testing import MockClock

from actorcluster import Candidate, NewConnection, Peek, sticky
from actorcluster._cluster.balance import address_key, rendezvous
from actorcluster.wire._generated import Kind
from actorcluster.wire.events import Listening
from tests.cluster.inproc import (
    TCP,
    Cluster,
    Puppet,
    frame,
    no_more_descriptors,
    open_cluster,
    until,
)
from tests.cluster.test_ports import answer

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with which close() resets the connection."""

NAMES = [Candidate(number, f"w{number}", 0, 1.0) for number in (1, 2, 3)]


def by_last_word(connection: NewConnection, candidates: Sequence[Candidate]) -> Candidate | None:
    """The worker of the number that the client says."""
    number = int(connection.head.split()[-1])
    return next((one for one in candidates if one.id == number), None)


LINES = {"lines": Peek(by_last_word, until=b"\n", limit=16)}
"""Time passes only where a test says so: each of them has the `mock_clock`."""


async def listening(cluster: Cluster, count: int = 3, **request: Any) -> list[Puppet]:
    """Add workers that take all they are given, and leave it."""
    request = {"credit": 60, "policy": "lines", **request}
    puppets = [await cluster.puppet() for _ in range(count)]
    for puppet in puppets:
        await puppet.listen(**request)
    return puppets


def say(client: socket.socket, *words: bytes) -> None:
    for word in words:
        client.sendall(word)


# ---- the built-in one -----------------------------------------------------------------------


def request(forwarded: str) -> bytes:
    return f"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {forwarded}, 10.9.9.9\r\n\r\n".encode()


async def test_the_worker_of_whom_the_proxy_speaks_for(mock_clock: MockClock) -> None:
    """However the head comes; a client that no proxy speaks for goes by its own address."""
    async with open_cluster() as cluster:
        puppets = await listening(cluster, policy="sticky_peek")
        told = [(request(f"10.0.0.{number}"), f"10.0.0.{number}") for number in range(12)]
        told += [(b"GET / HTTP/1.1\r\n\r\n", "127.0.0.1"), (b"\x16\x03\x01", "127.0.0.1")]
        homes = dict.fromkeys((1, 2, 3), 0)
        for number, (head, address) in enumerate(told, 1):
            homes[rendezvous(address_key(address), NAMES).id] += 1
            (client,) = cluster.connect()
            if number % 2:
                say(client, head[:20])
                await trio.testing.wait_all_tasks_blocked()
                say(client, head[20:])
            else:
                say(client, head)
            await until(lambda: number == sum(cluster.port.dealt.values()))  # noqa: B023  (waited for in the same turn)
        assert homes == cluster.port.dealt
        assert len([count for count in homes.values() if count]) > 1
        assert (0, 0, 0) == peeked(cluster)
        for puppet in puppets:
            puppet.read()


def peeked(cluster: Cluster) -> tuple[int, int, int]:
    port = cluster.port
    return port.peeking, port.peek_fallbacks, port.policy_faults


async def test_nothing_is_consumed_and_unix_clients_go_in_turn(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    path = str(tmp_path / "s")
    for where in ({}, {"transport": "unix", "path": path}):
        async with open_cluster() as cluster:
            puppets = await listening(cluster, 2, policy="sticky_peek", **where)
            turn: list[int] = []
            for number in range(1, 5):
                client = connect_to(cluster, path if where else None)
                say(client, b"GET / HT")
                await until(lambda: 1 == cluster.port.peeking)
                say(client, b"TP/1.1\r\n\r\nbody")
                await until(lambda: number == sum(cluster.port.dealt.values()))  # noqa: B023  (waited for in the same turn)
                turn += [one for one in (1, 2) if cluster.port.dealt.get(one, 0) > turn.count(one)]
                (handle,) = (await puppets[turn[-1] - 1].connected()).handles
                async with handle.into_stream() as stream:
                    said = b""
                    while len(said) < 22:
                        said += await stream.receive_some()
                assert b"GET / HTTP/1.1\r\n\r\nbody" == said
            home = rendezvous(address_key("127.0.0.1"), NAMES[:2]).id
            assert turn == ([1, 2, 1, 2] if where else [home] * 4)


def connect_to(cluster: Cluster, path: str | None) -> socket.socket:
    """Connect to a path, or to the only TCP port."""
    if path is None:
        return cluster.connect()[0]
    client = socket.socket(socket.AF_UNIX)
    cluster.keep(client)
    client.connect(path)
    return client


# ---- one's own ------------------------------------------------------------------------------


async def test_a_function_sees_the_head_and_who_speaks(mock_clock: MockClock) -> None:
    seen: list[NewConnection] = []

    def look(connection: NewConnection, candidates: Sequence[Candidate]) -> Candidate | None:
        seen.append(connection)
        return by_last_word(connection, candidates)

    async with open_cluster(policies={"lines": Peek(look, until=b"\n", limit=16)}) as cluster:
        puppets = await listening(cluster)
        clients = cluster.connect(4)
        say(clients[0], b"go to 3\nand more")
        say(clients[1], b"go to 3")
        clients[1].shutdown(socket.SHUT_WR)
        say(clients[2], b"go to 3         and so on")
        say(clients[3], b"go to 9\n")  # there is no such worker: the next in turn
        await until(lambda: 4 == sum(cluster.port.dealt.values()))
        assert {1: 1, 3: 3} == cluster.port.dealt
        assert {
            (b"go to 3\n", clients[0].getsockname()),
            (b"go to 3", clients[1].getsockname()),
            (b"go to 3         ", clients[2].getsockname()),
            (b"go to 9\n", clients[3].getsockname()),
        } == {(one.head, one.peer) for one in seen}
        assert {cluster.port.address} == {one.address for one in seen}
        assert (0, 0, 0) == peeked(cluster)
        for puppet in puppets:
            puppet.read()


async def test_who_says_nothing_is_given_up_in_time(mock_clock: MockClock) -> None:
    """Also when nothing else happens at all; and again, after the first."""
    async with open_cluster(policies=LINES) as cluster:
        (puppet,) = await listening(cluster, 1)
        for number in (1, 2):
            await trio.testing.wait_all_tasks_blocked()
            cluster.connect()
            await until(lambda: 1 == cluster.port.peeking)
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(0.99)
            await trio.testing.wait_all_tasks_blocked()
            assert 1 == cluster.port.peeking
            mock_clock.jump(0.02)
            await until(lambda: (0, number, 0) == peeked(cluster))  # noqa: B023  (waited for in the same turn)
            puppet.read()
            puppet.say(frame(Kind.CONN_REPLY, 1, msgpack.packb([number])))
            await until(lambda: not cluster.port.unacknowledged)


async def test_who_says_nothing_delays_nobody(mock_clock: MockClock) -> None:
    """Others are dealt meanwhile; it is given up in time, or before, for who came later."""
    async with open_cluster(policies=LINES) as cluster:
        puppets = await listening(cluster, backlog=20)
        silent = cluster.connect(15)
        await until(lambda: 15 == cluster.port.peeking)
        say(silent[0], b"half a l")
        mock_clock.jump(0.5)
        talkers = cluster.connect(10)
        for client in talkers:
            say(client, b"go to 2\n")
        await until(lambda: {2: 10} == cluster.port.dealt)
        assert (15, 0, 0) == peeked(cluster)
        assert 15 == cluster.port.waiting
        silent += cluster.connect(8)
        await until(lambda: 20 == cluster.port.peeking)  # three too many: the oldest are given up
        assert (20, 3, 0) == peeked(cluster)
        await until(lambda: 13 == sum(cluster.port.dealt.values()))
        mock_clock.jump(0.5)
        await until(lambda: 15 == cluster.port.peek_fallbacks)
        say(silent[20], b"go to 1\n")
        await until(lambda: 7 == cluster.port.peeking)
        mock_clock.jump(0.49)
        await trio.testing.wait_all_tasks_blocked()
        assert (7, 15, 0) == peeked(cluster)
        mock_clock.jump(0.02)
        await until(lambda: 22 == cluster.port.peek_fallbacks)
        assert (0, 22, 0) == peeked(cluster)
        for puppet in puppets:
            puppet.read()


async def test_more_are_silent_than_workers_take(mock_clock: MockClock) -> None:
    """They do not keep others out; and what has no worker is not accepted beyond the backlog."""
    policies = {"lines": Peek(by_last_word, until=b"\n", timeout=0.2)}
    async with open_cluster(policies=policies) as cluster:
        (puppet,) = await listening(cluster, 1, credit=2, backlog=5)
        cluster.connect(4)
        await until(lambda: 4 == cluster.port.peeking)
        (talker,) = cluster.connect()
        say(talker, b"go to 1\n")
        await until(lambda: {1: 1} == cluster.port.dealt)
        mock_clock.jump(0.2)
        await until(lambda: 4 == cluster.port.peek_fallbacks)
        cluster.connect(3)
        await trio.testing.wait_all_tasks_blocked()
        assert (0, 4, 0) == peeked(cluster)
        assert (3, 2) == (cluster.port.waiting, cluster.port.unacknowledged)
        puppet.read()


async def test_an_end_is_no_reason_to_wait(mock_clock: MockClock) -> None:
    """A client that says nothing more, is gone, or resets: it is dealt at once, in turn."""
    async with open_cluster(policies=LINES) as cluster:
        puppets = await listening(cluster)
        for number, end in enumerate(["shutdown", "close", "reset"], 1):
            (client,) = cluster.connect()
            await until(lambda: 1 == cluster.port.peeking)
            if end == "shutdown":
                client.shutdown(socket.SHUT_WR)
            else:
                if end == "reset":
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                client.close()
            await until(lambda: number == sum(cluster.port.dealt.values()))  # noqa: B023  (waited for in the same turn)
        assert {1: 1, 2: 1, 3: 1} == cluster.port.dealt
        assert (0, 0, 0) == peeked(cluster)
        for puppet in puppets[:2]:
            puppet.read()
        (handle,) = (await puppets[2].connected()).handles
        async with handle.into_stream() as stream:  # the error is there for whoever reads
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()


async def test_functions_that_fail_are_reported(
    caplog: pytest.LogCaptureFixture, mock_clock: MockClock
) -> None:
    """Both of them: the connection goes to the next in turn."""

    def fails(there: bytes) -> bool:
        return there[1] == 10

    policies = {"lines": Peek(by_last_word, until=fails)}
    async with open_cluster(policies=policies) as cluster:
        puppets = await listening(cluster)
        for number, word in enumerate([b"1", b"x\n", b"3\n"], 1):
            (client,) = cluster.connect()
            say(client, word)
            await until(lambda: number == sum(cluster.port.dealt.values()))  # noqa: B023  (waited for in the same turn)
        assert {1: 1, 2: 1, 3: 1} == cluster.port.dealt
        assert (0, 0, 2) == peeked(cluster)
        for puppet in puppets:
            puppet.read()
    assert "raised IndexError" in caplog.text
    assert "raised ValueError" in caplog.text


# ---- what may happen meanwhile --------------------------------------------------------------


class Steps(trio.abc.Instrument):
    """Counts how often the task that looks at connections runs."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += task.name.endswith("Peeks.run")


async def test_half_a_head_wakes_nobody(tmp_path: Path, mock_clock: MockClock) -> None:
    """What is not read stays readable; one is told of it once."""
    path = str(tmp_path / "s")
    for where in ({}, {"transport": "unix", "path": path}):
        async with open_cluster(policies=LINES) as cluster:
            puppets = await listening(cluster, 1, **where)
            client = connect_to(cluster, path if where else None)
            await until(lambda: 1 == cluster.port.peeking)
            steps = Steps()
            trio.lowlevel.add_instrument(steps)
            say(client, b"go ")
            await until(lambda: steps.count)  # noqa: B023  (waited for in the same turn)
            for _ in range(100):
                await trio.lowlevel.checkpoint()
            trio.lowlevel.remove_instrument(steps)
            assert 1 <= steps.count < 5  # one more at times, when the kernel says a thing twice
            assert 1 == cluster.port.peeking
            say(client, b"to 1\n")
            await until(lambda: {1: 1} == cluster.port.dealt)
            puppets[0].read()


async def test_workers_leave_and_come_meanwhile(mock_clock: MockClock) -> None:
    async with open_cluster(policies=LINES) as cluster:
        first, second = await listening(cluster, 2)
        clients = cluster.connect(3)
        await until(lambda: 3 == cluster.port.peeking)
        await first.die()
        say(clients[0], b"go to 1\n")
        await until(lambda: {2: 1} == cluster.port.dealt)
        second.read()
        await second.die()
        say(clients[1], b"go to 3\n")
        await until(lambda: 1 == cluster.port.peeking)
        assert 3 == cluster.port.waiting  # one was given back, one has nobody, one is looked at
        third = await cluster.puppet()
        await third.listen(credit=9, policy="lines", port=cluster.port.address[1])
        await until(lambda: {3: 2} == cluster.port.dealt)
        say(clients[2], b"go to 3\n")
        await until(lambda: {3: 3} == cluster.port.dealt)
        third.read()


async def test_the_port_closes_meanwhile(mock_clock: MockClock) -> None:
    """The clients see the end; whatever was told in that very moment does no harm."""
    async with open_cluster(policies=LINES) as cluster:
        (puppet,) = await listening(cluster, 1)
        clients = cluster.connect(2)
        await until(lambda: 2 == cluster.port.peeking)
        await puppet.die()
        say(clients[0], b"go to 1\n")
        await trio.lowlevel.checkpoint()
        cluster.ports.close_unused()
        assert b"" == clients[1].recv(1)
        with pytest.raises(ConnectionResetError):
            clients[0].recv(1)
        await trio.testing.wait_all_tasks_blocked()


async def test_with_no_descriptor_left(
    caplog: pytest.LogCaptureFixture, mock_clock: MockClock
) -> None:
    """It gives up looking, and goes on when there are some."""
    async with open_cluster(policies=LINES) as cluster:
        puppets = await listening(cluster, 2)
        silent = cluster.connect(2)
        await until(lambda: 2 == cluster.port.peeking)
        talker = socket.socket()
        cluster.keep(talker)
        with no_more_descriptors():
            talker.connect(cluster.port.address)
            await until(lambda: 2 == cluster.port.peek_fallbacks)
        await until(lambda: {1: 1, 2: 1} == cluster.port.dealt)
        mock_clock.jump(0.1)
        say(talker, b"go to 2\n")
        await until(lambda: {1: 1, 2: 2} == cluster.port.dealt)
        assert 2 == len(silent)
        for puppet in puppets:
            puppet.read()
    assert "Too many open files" in caplog.text


async def test_half_of_the_descriptors_are_left_for_others(mock_clock: MockClock) -> None:
    """However long the backlog is."""
    async with open_cluster(policies=LINES) as cluster:
        puppet = await cluster.puppet()
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest_free = os.dup(0)
        os.close(lowest_free)
        some = 10 + lowest_free // 2
        resource.setrlimit(resource.RLIMIT_NOFILE, (2 * some, before[1]))
        try:
            await puppet.listen(policy="lines", credit=9)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        cluster.connect(some + 2)
        await until(lambda: 2 == cluster.port.peek_fallbacks)
        assert some == cluster.port.peeking
        puppet.read()


async def test_a_port_that_cannot_look_is_none(mock_clock: MockClock) -> None:
    """For the last descriptor there is a socket, but nothing to watch its clients with."""
    async with open_cluster(policies=LINES) as cluster:
        puppet = await cluster.puppet()
        lines = {**TCP, "key": "1", "policy": "lines"}
        last = os.dup(0)
        with no_more_descriptors():
            os.close(last)
            assert "os.EMFILE" == await answer(puppet, lines)
            assert () == cluster.ports.statistics()
            assert isinstance(await answer(puppet, {**lines, "policy": "weighted"}), Listening)
        assert isinstance(await answer(puppet, {**lines, "key": "2"}), Listening)


async def test_what_is_refused_is_dealt_again_by_its_head(mock_clock: MockClock) -> None:
    async with open_cluster(policies={"lines": Peek(by_stick, until=b"\n")}) as cluster:
        puppets = await listening(cluster)
        (client,) = cluster.connect()
        say(client, b"it\n")
        await until(lambda: cluster.port.dealt)
        (home,) = cluster.port.dealt
        puppets[home - 1].read()
        channel = 1
        puppets[home - 1].say(frame(Kind.CONN_REPLY, channel, msgpack.packb([1, [1]])))
        await until(lambda: 1 == cluster.port.dealt_again)
        others = [one for one in NAMES if one.id != home]
        heir = sticky(b"it\n", others).id
        await until(lambda: 1 == cluster.port.dealt.get(heir))
        puppets[heir - 1].read()


def by_stick(connection: NewConnection, candidates: Sequence[Candidate]) -> Candidate:
    return sticky(connection.head, candidates)
