"""Workers in Python under a primary of Node's own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import Any

import trio

from tests.node_adapter.clients import exchange, get, read_all
from tests.node_adapter.clusters import node_cluster
from tests.ports import free_port
from tests.program import PATIENCE
from tests.require import require

pytestmark = require("node")

ACTORS = "tests.node_adapter.actors"
VOLUNTARY = {"code": 0, "signal": None, "voluntary": True}


async def test_two_beside_one_of_nodes() -> None:
    port = free_port()
    async with node_cluster() as cluster:
        workers = [await cluster.fork_python(f"{ACTORS}:web", str(port)) for _ in range(2)]
        for worker in workers:
            await cluster.listening(worker)
        workers.append(await cluster.fork("fixed.js", PORT=str(port)))
        await cluster.listening(workers[-1])
        served = [int((await get(port)).split()[0]) for _ in range(9)]
        assert {cluster.pid(worker): 3 for worker in workers} == {
            pid: served.count(pid) for pid in served
        }
        for worker in workers:
            await cluster.disconnect(worker)
        assert [VOLUNTARY] * 3 == [await cluster.ended(worker) for worker in workers]


async def test_messages_and_sockets_both_ways() -> None:
    async with node_cluster() as cluster:
        worker = await cluster.fork_python(f"{ACTORS}:talks", '{"a": [1]}')
        said: list[Any] = [await cluster.said(worker)]
        for body in ("text", 5, None, {"b": "x" * 100_000}):
            await cluster.tell(worker, body)
            said.append(await cluster.said(worker))
        bodies = ["text", 5, None, {"b": "x" * 100_000}]
        assert [{"a": [1]}, *({"got": body} for body in bodies)] == said
        with trio.socket.socket() as listener:
            await listener.bind(("127.0.0.1", 0))
            listener.listen()
            await cluster.give(worker, "take", listener.getsockname()[1])
            client, _ = await listener.accept()
            async with trio.SocketStream(client) as stream:
                assert b"take, from Python\n" == await read_all(stream)
        await cluster.tell(worker, "give")
        assert "a socket" == await cluster.gave(worker)
        assert "from the primary\n" == await cluster.said(worker)
        await cluster.tell(worker, "leave")
        assert VOLUNTARY == await cluster.ended(worker)


async def test_what_cannot_be_said_to_it_comes_back() -> None:
    async with node_cluster() as cluster:
        worker = await cluster.fork_python(f"{ACTORS}:complains")
        assert [
            ["NotHandled", "a primary of Node's answers no asks"],
            ["NoSuchActor", "a primary of Node's knows nobody by name"],
            "bad_payload (a message whose 'cmd' begins with NODE_ is for the runtime alone)",
            "unsupported_handle (a Node program takes no handle of kind pipe)",
        ] == await cluster.said(worker)
        assert VOLUNTARY == await cluster.ended(worker)


async def test_sockets_that_workers_share() -> None:
    for policy in ("rr", "none"):
        async with node_cluster(policy) as cluster:
            worker = await cluster.fork_python(f"{ACTORS}:shares")
            port, datagrams = await cluster.said(worker)
            assert cluster.pid(worker) == int(await exchange(port))
            with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                await client.sendto(b"x", ("127.0.0.1", datagrams))
                with trio.fail_after(PATIENCE):
                    assert b"got x" == await client.recv(100)
            await cluster.kill(worker, "SIGTERM")
            assert "SIGTERM" == (await cluster.ended(worker))["signal"]


async def test_a_port_that_is_taken() -> None:
    async with node_cluster() as cluster:
        worker = await cluster.fork_python(f"{ACTORS}:fails")
        assert {"code": 1, "signal": None, "voluntary": False} == await cluster.ended(worker)


async def test_a_lost_primary() -> None:
    """Nobody is left when Node's primary is killed."""
    async with node_cluster() as cluster:
        worker = await cluster.fork_python(f"{ACTORS}:talks", "1")
        assert 1 == await cluster.said(worker)
        pidfd = os.pidfd_open(cluster.pid(worker))
        cluster.process.send_signal(signal.SIGKILL)
        with trio.fail_after(PATIENCE):
            await trio.lowlevel.wait_readable(pidfd)
        os.close(pidfd)


def test_it_says_how_it_is_used() -> None:
    argv = [sys.executable, "-m", "actorcluster.adapters.node_worker", "a:b"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (2, True) == (done.returncode, done.stderr.startswith("usage: "))
