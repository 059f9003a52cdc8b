"""Clients that connect and say nothing, with real workers: others are served, and so are they."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections import Counter
from collections.abc import Iterator, Sequence

import trio

from actorcluster import Actor, Candidate, NewConnection, Peek, open_primary
from actorcluster._cluster.ports import PortStatistics
from tests.e2e.test_ports import until

SILENT = 500


def by_first_word(connection: NewConnection, candidates: Sequence[Candidate]) -> Candidate | None:
    name, _, _ = connection.head.partition(b"\n")
    return next((one for one in candidates if one.name.encode() == name), None)


async def says_back(actor: Actor, *policies: str) -> None:
    """Name oneself, and say what the client says, as long as it does; a port for each policy."""
    listeners = []
    for policy in policies:
        listeners += await actor.listen_tcp(0, host="127.0.0.1", policy=policy)
    actor.ready()

    async def handler(stream: trio.SocketStream) -> None:
        async with stream:
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(bytes([actor.id]))
                async for said in stream:
                    await stream.send_all(said)

    await trio.serve_listeners(handler, listeners)


@contextlib.contextmanager
def many_descriptors() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def connect(port: int, count: int) -> list[socket.socket]:
    return [socket.create_connection(("127.0.0.1", port), 60) for _ in range(count)]


def talk(port: int, name: str) -> bytes:
    """Ask for a worker by its name; returns all that it said."""
    said, word = b"", f"{name}\nand more".encode()
    with socket.create_connection(("127.0.0.1", port), 60) as client:
        client.sendall(word[:3])
        client.sendall(word[3:])
        while len(said) < 1 + len(word):
            said += client.recv(100)
    return said


def read_and_close(clients: list[socket.socket]) -> Counter[int]:
    """Who serves them."""
    served: Counter[int] = Counter()
    for client in clients:
        with client:
            served[client.recv(1)[0]] += 1
    return served


async def test_500_clients_that_say_nothing() -> None:
    """As long as they may be silent others are served; when their time is up, they are, too."""
    policies = {
        "patient": Peek(by_first_word, until=b"\n", timeout=1000),
        "hasty": Peek(by_first_word, until=b"\n", timeout=0.2),
    }
    with many_descriptors():
        async with open_primary(policies=policies) as primary:
            for name in ("one", "two"):
                await primary.fork(says_back, *policies, name=name, ready="called")

            def port(policy: str) -> PortStatistics:
                return next(one for one in primary.statistics().ports if policy == one.policy)

            def counts(policy: str) -> tuple[int, int]:
                return port(policy).peeking, port(policy).peek_fallbacks

            number = int(port("patient").address[1])
            clients = await trio.to_thread.run_sync(connect, number, SILENT)
            await until(lambda: (SILENT, 0) == counts("patient"))
            for name, worker in [("one", 1), ("two", 2)] * 5:
                expected = bytes([worker]) + f"{name}\nand more".encode()
                assert expected == await trio.to_thread.run_sync(talk, number, name)
            assert (SILENT, 0) == counts("patient")
            assert {1: 5, 2: 5} == port("patient").dealt
            for client in clients:
                client.close()
            await until(lambda: (0, 0) == counts("patient"))

            number = int(port("hasty").address[1])
            clients = await trio.to_thread.run_sync(connect, number, SILENT)
            served = await trio.to_thread.run_sync(read_and_close, clients)
            assert (SILENT, {1, 2}) == (served.total(), set(served))
            assert (0, SILENT) == counts("hasty")
