"""Connections that no worker takes, of workers that are processes, or tasks."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Literal

import pytest
import trio

from actorcluster import SCHED_NONE, Actor, Primary, Worker, events, open_primary
from actorcluster._cluster.ports import PortStatistics
from tests.ports import free_port
from tests.worker.lines import until


async def says_its_number(actor: Actor, port: int, options: dict[str, Any]) -> None:
    """Serve a port."""

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(b"%d" % actor.id)

    await trio.serve_listeners(answer, await actor.listen_tcp(port, host="127.0.0.1", **options))


async def accepts_nothing(actor: Actor, path: str) -> None:
    """Listen on a unix socket, and take none of what comes."""
    await actor.listen_unix(path, max_connections=0, wait_timeout=60)
    await trio.sleep_forever()


async def number(primary: Primary, worker: Worker) -> int:
    """Of the port that a worker listens on."""
    address = (await primary.wait_for(events.Listening, worker)).address
    assert isinstance(address, tuple)
    return address[1]


def port_of(primary: Primary) -> PortStatistics:
    (port,) = primary.statistics().ports
    return port


async def told(stream: trio.SocketStream) -> bytes:
    """All that a client is told; nothing if it is cut off."""
    with trio.fail_after(60), contextlib.suppress(trio.BrokenResourceError):
        async with stream:
            return await stream.receive_some(100)
    return b""


async def test_with_every_worker_gone() -> None:
    """Clients are let go in time, in their order; who comes later is served by the next worker."""
    async with open_primary() as primary:
        options = {"wait_timeout": 0.3}
        worker = await primary.fork(says_its_number, 0, options, ready="listening")
        port = await number(primary, worker)
        worker.kill("SIGKILL")
        await worker.wait()
        begin = trio.current_time()
        clients = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(3)]
        assert [b"", b"", b""] == [await told(client) for client in clients]
        assert 0.3 <= trio.current_time() - begin
        assert (3, 0) == (port_of(primary).timed_out, port_of(primary).waiting)
        other = await primary.fork(says_its_number, port, {}, ready="listening")
        client = await trio.open_tcp_stream("127.0.0.1", port)
        assert b"%d" % other.id == await told(client)


async def test_the_primary_leaves_while_they_wait(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    async with open_primary() as primary:
        await primary.fork(accepts_nothing, path, ready="listening")
        clients = [await trio.open_unix_socket(path) for _ in range(3)]
        await until(lambda: 3 == port_of(primary).waiting)
    assert [b"", b"", b""] == [await told(client) for client in clients]


@pytest.mark.parametrize("run", ["process", "task"])
async def test_a_primary_that_deals_only_where_it_must(run: Literal["process", "task"]) -> None:
    """Dropping asks for dealing, but does not change how a port is shared already."""
    dropping = {"max_connections": 0, "when_full": "drop"}
    async with open_primary(scheduling_policy=SCHED_NONE) as primary:

        async def serves(port: int, options: dict[str, Any]) -> Worker:
            return await primary.fork(says_its_number, port, options, ready="listening", run=run)

        port = await number(primary, await serves(0, dropping))
        assert b"" == await told(await trio.open_tcp_stream("127.0.0.1", port))
        assert ("round_robin", 1) == (port_of(primary).policy, port_of(primary).dropped)
        port = free_port()
        worker = await serves(port, {})
        await serves(port, dropping)
        assert SCHED_NONE == primary.statistics().ports[1].policy
        assert b"%d" % worker.id == await told(await trio.open_tcp_stream("127.0.0.1", port))
