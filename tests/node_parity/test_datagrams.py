"""Datagram sockets that workers share."""

from __future__ import annotations

import errno
import socket
from collections import Counter
from typing import Any

import trio

from actorcluster import Worker
from tests.node_parity import actors
from tests.node_parity.clauses import clause
from tests.node_parity.scene import Scene, scene
from tests.ports import free_port
from tests.require import require

IN_USE = {"errno": errno.EADDRINUSE}


def own(port: int = 0) -> trio.socket.SocketType:
    """Make a socket of the primary's own."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", port))
    sock.setblocking(False)
    return trio.socket.from_stdlib_socket(sock)


async def received(stage: Scene, count: int, port: int) -> Counter[str]:
    """Send datagrams until so many were received; who told how many of them."""
    told: Counter[str] = Counter()
    with own() as sock:
        while told.total() < count:
            await sock.sendto(b"x", ("127.0.0.1", port))
            message = await stage.primary.mailbox.receive()
            told[message.sender.name] += 1
    return told


async def test_four_receive() -> None:
    async with scene() as stage:
        workers = [await stage.primary.fork(actors.receives, 10) for _ in range(4)]
        ports = [(await worker.mailbox.receive()).body for worker in workers]
        with clause("DG-01.a"):
            assert 1 == len({*ports})
        told = await received(stage, 40, ports[0])
        with clause("DG-01.b"):
            assert {worker.name: 10 for worker in workers} == told
        with clause("DG-01.c"):
            assert [0] * 4 == [(await worker.wait()).code for worker in workers]


async def test_four_send() -> None:
    async with scene() as stage:
        with own() as sock:
            workers = [await stage.worker(["bind_udp"]) for _ in range(4)]
            for worker in workers:
                for _ in range(10):
                    await worker.send(["send_to", sock.getsockname()[1], worker.name])
            came = [await sock.recvfrom(100) for _ in range(40)]
        with clause("DG-02.a"):
            assert {worker.name.encode(): 10 for worker in workers} == Counter(
                data for data, _ in came
            )
        with clause("DG-02.b"):
            assert 1 == len({address for _, address in came})
        await stage.primary.disconnect()
        with clause("DG-02.c"):
            assert {} == dict(stage.primary.workers)


async def test_by_its_descriptor() -> None:
    with own() as shared:
        async with scene(settings={"listen_fds": [shared.fileno()]}) as stage:
            other = await stage.worker()
            with clause("DG-03.b"):
                assert {"errno": errno.EINVAL} == await other.ask(["listen_fd", shared.fileno()])
            workers = [await stage.primary.fork(actors.receives_on_given, 10) for _ in range(4)]
            for worker in workers:
                await worker.send(None, shared, keep_open=True)
                await worker.mailbox.receive()
            told = await received(stage, 40, shared.getsockname()[1])
            with clause("DG-03.a"):
                assert {worker.name: 10 for worker in workers} == told


@require("ipv6")
async def test_two_families() -> None:
    async with scene() as stage:
        worker = await stage.worker()
        port = await worker.ask(["bind_udp", 0, "::", True])
        with clause("DG-04.a"):
            assert port == await worker.ask(["bind_udp", port, "0.0.0.0"])
        with clause("DG-04.b"):
            assert 0 == (await worker.disconnect()).code


async def test_sockets_of_ones_own() -> None:
    async with scene() as stage:
        worker = await stage.worker()
        port = await worker.ask(["bind_own", 0, "SO_REUSEADDR"])
        with clause("DG-05.a"):
            assert port == await worker.ask(["bind_own", port, "SO_REUSEADDR"])
        port = await worker.ask(["bind_own", 0, "SO_REUSEPORT"])
        with clause("DG-06.a"):
            assert port == await worker.ask(["bind_own", port, "SO_REUSEPORT"])
        with clause("DG-06.b"):
            assert () == stage.primary.statistics().ports
        with clause("DG-05.b"):
            assert 0 == (await worker.disconnect()).code


async def test_across_each_other() -> None:
    async with scene() as stage:
        worker = await stage.worker()
        ports = [await worker.ask(["bind_udp"]) for _ in range(2)]
        for index in (0, 1):
            await worker.ask(["close_udp", index])
            ports.append(await worker.ask(["bind_udp"]))
        with clause("DG-07.a"):
            assert [True] * 4 == [0 < port < 65_536 for port in ports]
        with clause("DG-07.b"):
            assert 0 == (await worker.disconnect()).code


async def test_leaving_without_having_bound() -> None:
    async with scene() as stage:
        worker = await stage.primary.fork(actors.receives, 1)
        port = (await worker.mailbox.receive()).body
        other = await stage.worker()
        await other.disconnect()
        with clause("DG-08.a"):
            assert {worker.name: 1} == await received(stage, 1, port)
        await stage.primary.disconnect()
        with clause("DG-08.b"):
            assert {} == dict(stage.primary.workers)


async def both(workers: list[Worker], *told: Any) -> list[Any]:
    return [await worker.ask([*told]) for worker in workers]


async def test_shared_and_alone() -> None:
    async with scene() as stage:
        workers = [await stage.worker() for _ in range(2)]
        first, second = await both(workers, "bind_udp")
        given = free_port(socket.SOCK_DGRAM)
        with clause("DG-09.a"):
            assert [first, [given] * 2] == [second, await both(workers, "bind_udp", given)]
        given = free_port(socket.SOCK_DGRAM)
        answers = await both(workers, "bind_own", given)
        with clause("DG-09.b"):
            assert given == answers[0]
        with clause("DG-09.c"):
            assert IN_USE == answers[1]
        with clause("DG-09.d"):
            assert [0, 0] == [(await worker.disconnect()).code for worker in workers]


async def test_sending_without_binding() -> None:
    async with scene() as stage:
        with own() as sock:
            port = sock.getsockname()[1]
            for told in (["bind_udp"], ["bind_udp"], ["make_udp"], ["make_udp"]):
                worker = await stage.worker(told)
                await worker.send(["send_to", port, "x"])
            came = [await sock.recvfrom(100) for _ in range(4)]
        with clause("DG-10.a"):
            assert 3 == len({address for _, address in came})
        await stage.primary.disconnect()
        with clause("DG-10.b"):
            assert {} == dict(stage.primary.workers)


async def test_a_bind_that_fails() -> None:
    async with scene() as stage:
        worker = await stage.worker()
        before = await worker.ask(["descriptors"])
        with own() as taken:
            port = taken.getsockname()[1]
            with clause("DG-11.a"):
                assert IN_USE == await worker.ask(["bind_udp", port])
        with clause("DG-11.b"):
            assert before == await worker.ask(["descriptors"])
        with clause("DG-11.c"):
            assert port == await worker.ask(["bind_udp", port])


async def test_cancelled_before_the_answer() -> None:
    async with scene() as stage:
        worker = await stage.worker()
        before = await worker.ask(["descriptors"])
        await worker.ask(["cancel_bind", free_port(socket.SOCK_DGRAM)])
        with clause("DG-12.a"):
            assert before == await worker.ask(["descriptors"])
        with own() as taken:
            with clause("DG-13.a"):
                assert "cancelled" == await worker.ask(["cancel_bind", taken.getsockname()[1]])
        with clause("DG-12.b"):
            assert 0 == (await worker.disconnect()).code


async def test_closed_as_soon_as_bound() -> None:
    async with scene() as stage:
        workers = [await stage.worker() for _ in range(3)]
        with clause("DG-14.a"):
            assert ["closed"] * 3 == await both(workers, "bind_and_close")
        with clause("DG-14.b"):
            assert [0] * 3 == [(await worker.disconnect()).code for worker in workers]


async def test_port_zero_by_its_number() -> None:
    async with scene() as stage:
        first = await stage.primary.fork(actors.receives, 1)
        port = (await first.mailbox.receive()).body
        second = await stage.primary.fork(actors.receives, 1, port)
        with clause("DG-16.a"):
            assert port == (await second.mailbox.receive()).body
        with clause("DG-16.b"):
            assert {first.name: 1, second.name: 1} == await received(stage, 2, port)


async def test_reuse_port_without_a_cluster() -> None:
    async with scene() as stage:
        workers = [await stage.worker() for _ in range(2)]
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams, socket.socket() as streams:
            ports = []
            for sock in (datagrams, streams):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                sock.bind(("127.0.0.1", 0))
                ports.append(sock.getsockname()[1])
            with clause("DG-17.a"):
                assert [ports[0]] * 2 == await both(workers, "bind_own", ports[0], "SO_REUSEPORT")
            options = {"reuse_port": True}
            with clause("DG-17.b"):
                assert [[["127.0.0.1", ports[1]]]] * 2 == await both(
                    workers, "listen", ports[1], options
                )
        with clause("DG-17.c"):
            assert [0, 0] == [(await worker.disconnect()).code for worker in workers]
