"""What is done with the programs here; each returns what came of it.

A story knows nothing of whose primary it has. What differs from run to run (pids, ports) does not
leave it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import trio

from tests.node_adapter.clients import exchange, get, get_twice, read_all, resumed
from tests.node_adapter.clusters import Cluster

__all__ = ["SHARED", "STORIES", "Story", "framework"]

Story = Callable[[Cluster, Path], Awaitable[Any]]

STORIES: Final[dict[str, Story]] = {}
SHARED: Final[dict[str, Story]] = {}
"""Those in which the workers accept for themselves."""


def story(told: Story) -> Story:
    STORIES[told.__name__] = told
    return told


def shared(told: Story) -> Story:
    SHARED[told.__name__] = told
    return told


async def _two(cluster: Cluster, program: str, **env: str) -> tuple[list[int], list[Any]]:
    """Fork two of a program; returns them, and what each said first."""
    workers = [await cluster.fork(program, **env) for _ in range(2)]
    return workers, [await cluster.said(worker) for worker in workers]


async def _leave(cluster: Cluster, *workers: int) -> list[Any]:
    for worker in workers:
        await cluster.disconnect(worker)
    return [await cluster.ended(worker) for worker in workers]


@story
async def http_in_turn(cluster: Cluster, _: Path) -> Any:
    workers, (one, other) = await _two(cluster, "http.js")
    answers = [(await get(one["port"], f"/{n}")).split() for n in range(6)]
    pids = [cluster.pid(worker) for worker in workers]
    turns = [pids.index(int(pid)) for pid, _ in answers]
    paths = [path for _, path in answers]
    ends = await _leave(cluster, *workers)
    return one == other, {**one, "port": None}, turns, paths, ends


@story
async def keep_alive_stays(cluster: Cluster, _: Path) -> Any:
    workers, (address, _) = await _two(cluster, "http.js")
    bodies = [body.split() for body in await get_twice(address["port"])]
    same = bodies[0][0] == bodies[1][0]
    return same, [path for _, path in bodies], await _leave(cluster, *workers)


@story
async def net_echoes(cluster: Cluster, _: Path) -> Any:
    worker = await cluster.fork("net.js")
    address = await cluster.said(worker)
    data = os.urandom(300_000)
    echoed = [data == await exchange(address["port"], data) for _ in range(3)]
    return echoed, await _leave(cluster, worker)


@story
async def all_addresses(cluster: Cluster, _: Path) -> Any:
    worker = await cluster.fork("everywhere.js")
    address = await cluster.said(worker)
    heard = [await exchange(address["port"])]
    return {**address, "port": None}, heard, await _leave(cluster, worker)


@story
async def dgram_answers(cluster: Cluster, _: Path) -> Any:
    workers, (one, other) = await _two(cluster, "dgram.js")
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        heard = []
        for n in range(3):
            await client.sendto(b"%d" % n, ("127.0.0.1", one["port"]))
            with trio.fail_after(60):
                heard.append(await client.recv(100))
    return one == other, heard, await _leave(cluster, *workers)


@story
async def unix_path(cluster: Cluster, place: Path) -> Any:
    path = place / "socket"
    workers, (said, _) = await _two(cluster, "unix.js", SOCKET=str(path))
    heard = [await exchange(str(path), b"abc") for _ in range(4)]
    is_path = said["address"] == str(path)
    ends = await _leave(cluster, *workers)
    return is_path, heard, ends, path.exists()


@story
async def each_port_zero(cluster: Cluster, _: Path) -> Any:
    workers, (one, other) = await _two(cluster, "two_ports.js")
    heard = [await exchange(one[name]) for name in ("first", "second")]
    return one == other, one["first"] != one["second"], heard, await _leave(cluster, *workers)


@story
async def messages_both_ways(cluster: Cluster, _: Path) -> Any:
    worker = await cluster.fork("messages.js")
    first = await cluster.said(worker)
    told = ["text", 5, 1.5, True, None, [], {"a": [1, {"b": "ü €"}]}, "x" * 200_000, 2**52, -3]
    heard = []
    for body in told:
        await cluster.tell(worker, body)
        heard.append(await cluster.said(worker))
    await cluster.kill(worker, "SIGTERM")
    return first, heard, await cluster.ended(worker)


@story
async def many_messages_in_order(cluster: Cluster, _: Path) -> Any:
    worker = await cluster.fork("messages.js")
    await cluster.said(worker)
    for n in range(500):
        await cluster.tell(worker, n)
    heard = [(await cluster.said(worker))["got"] for _ in range(500)]
    return heard == list(range(500)), await _leave(cluster, worker)


@story
async def sockets_for_the_worker(cluster: Cluster, _: Path) -> Any:
    worker = await cluster.fork("takes_sockets.js")
    said = [await cluster.said(worker)]
    heard = []
    with trio.socket.socket() as listener:
        await listener.bind(("127.0.0.1", 0))
        listener.listen()
        for n in range(3):
            await cluster.give(worker, f"number {n}", listener.getsockname()[1])
            client, _ = await listener.accept()
            async with trio.SocketStream(client) as stream:
                heard.append(await read_all(stream))
            said.append(await cluster.said(worker))
    return said, heard, await _leave(cluster, worker)


@story
async def sockets_of_the_worker(cluster: Cluster, _: Path) -> Any:
    worker = await cluster.fork("gives_sockets.js")
    port = (await cluster.said(worker))["port"]
    heard = []
    for _n in range(3):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            body = await cluster.gave(worker)
            heard.append((body, await read_all(stream)))
    return heard, await _leave(cluster, worker)


@story
async def exclusive_ports(cluster: Cluster, _: Path) -> Any:
    workers, (one, other) = await _two(cluster, "exclusive.js")
    pids = [int(await exchange(said["port"])) for said in (one, other)]
    right = pids == [cluster.pid(worker) for worker in workers]
    for worker in workers:
        await cluster.kill(worker, "SIGTERM")
    return one != other, right, [await cluster.ended(worker) for worker in workers]


@story
async def disconnect_from_inside(cluster: Cluster, _: Path) -> Any:
    return await _leaves(cluster, "disconnect")


@story
async def kill_from_inside(cluster: Cluster, _: Path) -> Any:
    worker = await cluster.fork("leaves.js")
    await cluster.said(worker)
    await cluster.tell(worker, "kill")
    return await cluster.ended(worker)


async def _leaves(cluster: Cluster, how: str) -> Any:
    """It answers whom it has, and then it is gone; the other one serves on."""
    workers, (address, _) = await _two(cluster, "leaves.js")
    async with await trio.open_tcp_stream("127.0.0.1", address["port"]) as stream:
        greeting = b""
        while greeting != b"hello ":
            greeting += await stream.receive_some()
        await cluster.tell(workers[0], how)
        await stream.send_all(b"world")
        rest = await read_all(stream)
    end = await cluster.ended(workers[0])
    served = []
    for _n in range(2):
        async with await trio.open_tcp_stream("127.0.0.1", address["port"]) as stream:
            await stream.send_all(b"you")
            served.append(await read_all(stream))
    return rest, end, served, await _leave(cluster, workers[1])


@story
async def disconnect_waits_for_connections(cluster: Cluster, _: Path) -> Any:
    worker = await cluster.fork("leaves.js")
    address = await cluster.said(worker)
    async with await trio.open_tcp_stream("127.0.0.1", address["port"]) as stream:
        while await stream.receive_some() != b"hello ":
            pass
        await cluster.disconnect(worker)
        await stream.send_all(b"last")
        heard = await read_all(stream)
    return heard, await cluster.ended(worker)


@story
async def crash(cluster: Cluster, _: Path) -> Any:
    worker = await cluster.fork("crashes.js")
    address = await cluster.said(worker)
    return await exchange(address["port"]), await cluster.ended(worker)


@story
async def exit_in_mid_request(cluster: Cluster, _: Path) -> Any:
    worker = await cluster.fork("exits.js")
    address = await cluster.said(worker)
    answer = await exchange(address["port"], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    return answer.endswith(b"half"), await cluster.ended(worker)


@story
async def port_taken(cluster: Cluster, _: Path) -> Any:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        worker = await cluster.fork("taken.js", TAKEN=str(taken.getsockname()[1]))
        said = await cluster.said(worker)
    return said, await _leave(cluster, worker)


@story
async def too_many_connections(cluster: Cluster, _: Path) -> Any:
    narrow = await cluster.fork("full.js", MOST="1")
    address = await cluster.said(narrow)
    wide = await cluster.fork("full.js", MOST="100")
    await cluster.said(wide)
    pids = []
    async with contextlib.AsyncExitStack() as stack:
        for _n in range(6):
            stream = await trio.open_tcp_stream("127.0.0.1", address["port"])
            await stack.enter_async_context(stream)
            pids.append(int(await stream.receive_some()))
    counts = [pids.count(cluster.pid(worker)) for worker in (narrow, wide)]
    return counts, await _leave(cluster, narrow, wide)


@story
async def listens_again(cluster: Cluster, _: Path) -> Any:
    worker = await cluster.fork("reopens.js")
    heard = []
    for _n in range(3):
        said = await cluster.said(worker)
        heard.append((said["name"], await exchange(said["port"])))
    return heard


@story
async def resumed_sessions(cluster: Cluster, place: Path) -> Any:
    key, certificate = place / "key.pem", place / "certificate.pem"
    await trio.run_process(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        capture_stderr=True,
    )
    workers, (address, _) = await _two(cluster, "https.js", KEY=str(key), CERT=str(certificate))
    told = await trio.to_thread.run_sync(resumed, address["port"], str(certificate), 4)
    pids = [one["pid"] for one in told]
    turns = [pids[n] != pids[n + 1] for n in range(3)]
    return turns, [one["reused"] for one in told], await _leave(cluster, *workers)


async def framework(cluster: Cluster, place: Path) -> Any:
    """Not among the others, for the framework has to be installed first."""
    workers, (one, other) = await _two(cluster, "web_app.js", EXPRESS=str(place))
    bodies = [await get(one["port"], path) for path in ("/hello/you", "/hello/me", "/else")]
    return one == other, bodies, await _leave(cluster, *workers)


@shared
async def shared_http(cluster: Cluster, _: Path) -> Any:
    workers, (one, other) = await _two(cluster, "http.js")
    paths = [(await get(one["port"], f"/{n}")).split()[1] for n in range(6)]
    ends = await _leave(cluster, *workers)
    return one == other, paths, ends


@shared
async def shared_taken(cluster: Cluster, place: Path) -> Any:
    return await port_taken(cluster, place)
