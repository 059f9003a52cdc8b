"""Ports that workers share: dealt round robin, and what is the same on a shared socket."""

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import Path
from typing import Any

import attrs
import trio

from actorcluster import SCHED_NONE, SCHED_RR, ExitStatus, Worker, events
from tests.cluster.inproc import TCP, no_more_descriptors, open_cluster
from tests.cluster.test_ports import answer
from tests.node_parity import actors
from tests.node_parity.clauses import clause
from tests.node_parity.scene import Client, scene, shape
from tests.ports import free_port
from tests.require import require
from tests.worker.lines import until

IN_USE = {"errno": errno.EADDRINUSE}


@attrs.define
class Facts:
    """What came of a worker that listens, closes, listens again, beside another."""

    ports: list[int]
    served: set[int]
    workers: set[int]
    statuses: list[ExitStatus]


async def again(policy: str) -> Facts:
    async with scene(scheduling_policy=policy) as stage:
        first, second = await stage.worker(), await stage.worker()
        ((_, port),) = await first.ask(["listen"])
        ports = [port]
        for _ in range(2):
            ((_, port),) = await second.ask(["listen"])
            ports.append(port)
            await second.ask(["close", -1])
        async with await Client.connect(port) as client:
            served = {await client.served_by()}
        return Facts(
            ports, served, {first.id}, [await second.disconnect(), await first.disconnect()]
        )


async def test_any_port_and_again() -> None:
    dealt, shared = await again(SCHED_RR), await again(SCHED_NONE)
    with clause("RR-01.a"):
        assert 0 < dealt.ports[0] < 65_536
    with clause("RR-01.b"):
        assert 0 == dealt.statuses[1].code
    with clause("RR-16.a"):
        assert (3, 1) == (len(dealt.ports), len({*dealt.ports}))
    with clause("RR-16.b"):
        assert dealt.workers == dealt.served
    with clause("RR-16.c"):
        assert [(0, None)] * 2 == [shape(status)[:2] for status in dealt.statuses]
    with clause("SH-01.a"):
        assert (3, 1) == (len(shared.ports), len({*shared.ports}))
    with clause("SH-01.b"):
        assert shared.workers == shared.served
    with clause("SH-01.c"):
        assert [(0, None)] * 2 == [shape(status)[:2] for status in shared.statuses]


def backlog_of(port: int) -> int:
    """What the kernel has for a listener of this process."""
    for path in Path("/proc/self/fd").iterdir():
        if not os.path.realpath(path).rpartition("/")[2].startswith("socket:"):
            continue
        with socket.socket(fileno=os.dup(int(path.name))) as sock:
            if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                continue
            if sock.getsockname()[1] == port:
                info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
                # Of a listener tcpi_sacked is the longest queue: eight bytes, five words on.
                return int.from_bytes(info[28:32], sys.byteorder)
    raise LookupError(port)


async def test_the_backlog() -> None:
    async with scene() as stage:
        worker = await stage.worker()
        ((_, port),) = await worker.ask(["listen", 0, {"backlog": 127}])
        with clause("RR-02.a"):
            assert 127 == backlog_of(port)
        other = await stage.worker()
        await other.ask(["listen", port, {"backlog": 200}])
        with clause("RR-02.b"):
            assert 127 == backlog_of(port)


@require("ipv6")
async def test_both_families() -> None:
    async with scene() as stage:
        workers = [await stage.worker() for _ in range(3)]
        addresses = [await worker.ask(["listen", 0, {"host": None}]) for worker in workers]
        with clause("RR-03.a"):
            assert [addresses[0]] * 3 == addresses
        ((_, port),) = addresses[0]
        ids = {worker.id for worker in workers}
        async with await Client.connect(port) as client:
            with clause("RR-03.b"):
                assert await client.served_by() in ids
        async with await Client.connect(port, "::1") as client:
            with clause("RR-03.c"):
                assert await client.served_by() in ids
        with clause("RR-03.d"):
            assert [0, 0, 0] == [(await worker.disconnect()).code for worker in workers]


async def alone(policy: str) -> tuple[list[Any], int, int]:
    """Three workers on a port for IPv6 alone, and the port that somebody binds for IPv4."""
    port = free_port()
    options = {"host": "::", "ipv6_only": True, "policy": policy}
    async with scene() as stage:
        workers = [await stage.worker() for _ in range(3)]
        addresses = [await worker.ask(["listen", port, options]) for worker in workers]
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("0.0.0.0", port))
            other.listen()
            return addresses, port, other.getsockname()[1]


@require("ipv6")
async def test_ipv6_alone() -> None:
    addresses, port, bound = await alone(SCHED_RR)
    with clause("RR-04.a"):
        assert [[["::", port]]] * 3 == addresses
    with clause("RR-04.b"):
        assert port == bound
    addresses, port, bound = await alone(SCHED_NONE)
    with clause("SH-02.a"):
        assert [[["::", port]]] * 3 == addresses
    with clause("SH-02.b"):
        assert port == bound


async def test_accepting_fails() -> None:
    async with scene() as stage:
        worker = await stage.worker()
        ((_, port),) = await worker.ask(["listen"])
        with socket.socket() as plain:
            plain.setblocking(False)
            with no_more_descriptors():
                plain.connect_ex(("127.0.0.1", port))
                with clause("RR-10.a"):
                    assert "here" == await worker.ask(["echo", "here"])
            await trio.lowlevel.wait_readable(plain)
            with clause("RR-10.b"):
                assert f"{worker.id}\n".encode() == plain.recv(100)
        with clause("RR-10.c"):
            assert 0 == (await worker.disconnect()).code


async def test_what_keeps_a_worker() -> None:
    async with scene() as stage:
        worker = await stage.primary.fork(actors.listens_and_closes)
        with clause("RR-11.a"):
            assert (0, None, "normal", False) == shape(await worker.wait())
        worker = await stage.primary.fork(actors.only_serves, ready="listening")
        address = (await stage.until(events.Listening, worker)).address
        served = []
        for _ in range(3):
            async with await Client.connect(address[1]) as client:
                served.append(await client.served_by())
        with clause("RR-12.a"):
            assert [worker.id] * 3 == served


async def test_in_the_moment_of_closing() -> None:
    async with scene() as stage:
        lazy, other = await stage.worker(), await stage.worker()
        before = await lazy.ask(["descriptors"])
        ((_, port),) = await lazy.ask(["listen_idly"])
        async with await Client.connect(port) as client:
            await until(lambda: stage.primary.statistics().ports[0].unacknowledged)
            await other.ask(["listen", port])
            await lazy.ask(["close", -1])
            with clause("RR-15.a"):
                assert other.id == await client.served_by()
        with clause("RR-15.b"):
            assert before == await lazy.ask(["descriptors"])
        with clause("RR-15.c"):
            assert 1 == stage.primary.statistics().ports[0].dealt_again


async def test_across_each_other() -> None:
    async with scene() as stage:
        worker = await stage.worker()
        ports = []
        for _ in range(2):
            ((_, port),) = await worker.ask(["listen"])
            ports.append(port)
        for index in (0, 1):
            await worker.ask(["close", index])
            ((_, port),) = await worker.ask(["listen"])
            ports.append(port)
        with clause("RR-17.a"):
            assert [True] * 4 == [0 < port < 65_536 for port in ports]
        served = []
        for port in ports[2:]:
            async with await Client.connect(port) as client:
                served.append(await client.served_by())
        with clause("RR-17.b"):
            assert [worker.id] * 2 == served
        with clause("RR-17.c"):
            assert 0 == (await worker.disconnect()).code


async def serving(port: int, workers: list[Worker]) -> set[int]:
    """Who serves, of those that are dealt to in turn."""
    served = set()
    for _ in workers:
        async with await Client.connect(port) as client:
            served.add(await client.served_by())
    return served


async def test_the_same_port_twice() -> None:
    port = free_port()
    async with scene() as stage:
        one, two = await stage.worker(), await stage.worker()
        await one.ask(["listen", port])
        answer = await one.ask(["listen", port])
        with clause("RR-19.a"):
            assert IN_USE == answer
        with clause("RR-18.a"):
            assert "errno" in answer
        with clause("RR-19.b"):
            assert {one.id} == await serving(port, [one])
        await one.ask(["close", -1])
        with clause("RR-18.b"):
            assert [["127.0.0.1", port]] == await two.ask(["listen", port])
        with clause("RR-18.c"):
            assert [["127.0.0.1", port]] == await one.ask(["listen", port])
        with clause("RR-18.d"):
            assert {one.id, two.id} == await serving(port, [one, two])
        with clause("RR-19.c"):
            assert 0 == (await one.disconnect()).code


async def test_two_at_once() -> None:
    async with scene() as stage:
        worker = await stage.worker()
        with clause("RR-20.a"):
            assert [errno.EADDRINUSE, "listens"] == await worker.ask(["listen_twice", free_port()])
        with clause("RR-20.c"):
            assert 0 == (await worker.disconnect()).code
        await stage.everything()
        with clause("RR-20.b"):
            assert 1 == stage.kinds(worker).count("Listening")


async def test_cancelled_before_the_answer() -> None:
    port = free_port()
    async with scene() as stage:
        worker = await stage.worker()
        before = await worker.ask(["descriptors"])
        await worker.ask(["cancel_listen", port])
        with clause("RR-21.a"):
            assert before == await worker.ask(["descriptors"])
        with clause("RR-21.b"):
            assert [["127.0.0.1", port]] == await worker.ask(["listen", port])
        with clause("RR-21.c"):
            assert 0 == (await worker.disconnect()).code


async def test_exclusive() -> None:
    async with scene() as stage:
        workers = [await stage.worker() for _ in range(2)]
        ports = [await worker.ask(["listen", 0, {"exclusive": True}]) for worker in workers]
        with clause("RR-22.a"):
            assert 2 == len({port for ((_, port),) in ports})
        port = free_port()
        with clause("RR-23.a"):
            assert [[["127.0.0.1", port]]] * 2 == [
                await worker.ask(["listen", port]) for worker in workers
            ]
        port = free_port()
        answers = [await worker.ask(["listen", port, {"exclusive": True}]) for worker in workers]
        with clause("RR-23.b"):
            assert [["127.0.0.1", port]] == answers[0]
        with clause("RR-23.c"):
            assert IN_USE == answers[1]


async def test_reuse_port() -> None:
    port = free_port()
    async with scene() as stage:
        worker = await stage.worker()
        options = {"reuse_port": True}
        with clause("RR-24.a"):
            assert [[["127.0.0.1", port]]] * 2 == [
                await worker.ask(["listen", port, options]) for _ in range(2)
            ]
        with clause("RR-24.b"):
            assert () == stage.primary.statistics().ports
        with clause("RR-24.c"):
            assert {worker.id} == await serving(port, [worker])
        with clause("RR-24.d"):
            assert 0 == (await worker.disconnect()).code


async def test_counting_the_connections_of_others() -> None:
    async with scene() as stage:
        worker = await stage.worker()
        # Under this policy a worker says at once how many it has closed.
        ((_, port),) = await worker.ask(["listen", 0, {"policy": "least_connections"}])
        clients = [await Client.connect(port) for _ in range(12)]
        assert {worker.id} == {await client.served_by() for client in clients}

        def count() -> int:
            (shared,) = stage.primary.statistics().ports
            return shared.workers[worker.id].open

        counts = [count()]
        for client in clients:
            await client.stream.aclose()
            await until(lambda: count() != counts[-1])
            counts.append(count())
        with clause("HP-13.a"):
            assert 12 == counts[0]
        with clause("HP-13.b"):
            assert list(range(11, -1, -1)) == counts[1:]
        with clause("HP-13.c"):
            assert 0 == (await worker.disconnect()).code


async def test_data_of_a_listen_request() -> None:
    async with open_cluster() as cluster:
        said: list[Any] = [
            await answer(await cluster.puppet(), {**TCP, "key": "1", "data": {"from": number}})
            for number in range(3)
        ]
    with clause("RR-25.a"):
        assert {"from": 0} == said[0].data
    with clause("RR-25.b"):
        assert [{"from": 0}] * 2 == [one.data for one in said[1:]]
