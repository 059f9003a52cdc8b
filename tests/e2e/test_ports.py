"""Shared ports: one port for all workers, balance, refusal, death, respawn."""

from __future__ import annotations

import errno
import os
import socket
from collections import Counter
from pathlib import Path

import pytest
import trio

import actorcluster
from actorcluster import SCHED_NONE, SCHED_RR, Actor, events
from tests.e2e import actors

POLICIES = [SCHED_RR, SCHED_NONE]


async def port_of(primary: actorcluster.Primary, worker: actorcluster.Worker) -> int:
    event = await primary.wait_for(events.Listening, worker)
    assert isinstance(event.address, tuple)
    return event.address[1]


async def visit(port: int, host: str = "127.0.0.1") -> tuple[int, int]:
    """Connect; returns the id and pid of the worker that served."""
    stream = await trio.open_tcp_stream(host, port)
    async with stream:
        data = b""
        async for chunk in stream:
            data += chunk
    worker_id, pid = data.split()
    return int(worker_id), int(pid)


@pytest.mark.parametrize("policy", POLICIES)
async def test_one_port_for_all(policy: str) -> None:
    """Port 0 is the same port in every worker, and all requests are served."""
    async with actorcluster.open_primary(scheduling_policy=policy) as primary:
        workers = [await primary.fork(actors.serve_pid, ready="listening") for _ in range(3)]
        ports = {await port_of(primary, worker) for worker in workers}
        assert 1 == len(ports)
        port = ports.pop()
        pids = {worker.id: worker.pid for worker in workers}
        for _ in range(30):
            worker_id, pid = await visit(port)
            assert pids[worker_id] == pid
        assert [policy] == [one.policy for one in primary.statistics().ports]


async def test_round_robin_is_even() -> None:
    """Sequential connections go round strictly."""
    async with actorcluster.open_primary() as primary:
        workers = [await primary.fork(actors.serve_pid, ready="listening") for _ in range(4)]
        port = await port_of(primary, workers[0])
        served = Counter([(await visit(port))[0] for _ in range(40)])
    assert {1: 10, 2: 10, 3: 10, 4: 10} == dict(served)


async def hold(actor: Actor, port: int) -> None:
    """Serve connections that stay open until the client closes them."""
    listeners = await actor.listen_tcp(port, host="127.0.0.1")

    async def handler(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(bytes([actor.id]))
            async for _ in stream:
                pass

    await trio.serve_listeners(handler, listeners)


@pytest.mark.parametrize("held", [False, True], ids=["short", "held"])
async def test_balance(held: bool) -> None:
    """2,000 connections from 50 clients over 8 workers: shares within half a point."""
    clients, each = 50, 40
    served: Counter[int] = Counter()

    async def client(port: int) -> None:
        streams = []
        for _ in range(each):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            served[(await stream.receive_some(1))[0]] += 1
            streams.append(stream)
            if not held:
                await streams.pop().aclose()
        for stream in streams:
            await stream.aclose()

    async with actorcluster.open_primary() as primary:
        workers = [await primary.fork(hold, 0, ready="listening") for _ in range(8)]
        port = await port_of(primary, workers[0])
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for _ in range(clients):
                    nursery.start_soon(client, port)
    assert clients * each == sum(served.values())
    spread = (max(served.values()) - min(served.values())) / sum(served.values())
    assert 8 == len(served)
    assert spread <= 0.005, served


async def test_addresses_in_use() -> None:
    """EADDRINUSE reaches the worker as OSError."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with actorcluster.open_primary() as primary:
            worker = await primary.fork(tell_listen_error, port)
            message = await worker.mailbox.receive()
    assert errno.EADDRINUSE == message.body


async def tell_listen_error(actor: Actor, port: int) -> None:
    """Send the errno of a listen that fails."""
    try:
        await actor.listen_tcp(port, host="127.0.0.1")
    except OSError as exc:
        await actor.send(exc.errno)


async def listens_twice(actor: Actor) -> None:
    """The same fixed address twice fails; port 0 twice gives two ports."""
    first = (await actor.listen_tcp(0, host="127.0.0.1"))[0]
    second = (await actor.listen_tcp(0, host="127.0.0.1"))[0]
    assert isinstance(first.address, tuple)
    assert isinstance(second.address, tuple)
    port = first.address[1]
    code = None
    fixed = await actor.listen_tcp(port, host="127.0.0.1")
    try:
        await actor.listen_tcp(port, host="127.0.0.1")
    except OSError as exc:
        code = exc.errno
    await actor.send([port != second.address[1], code, fixed[0].address == first.address])


async def test_listening_twice_in_one_worker() -> None:
    """The same fixed address twice in one worker is EADDRINUSE."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(listens_twice)
        assert [True, errno.EADDRINUSE, True] == (await worker.mailbox.receive()).body


async def test_backlog_holds_until_the_respawn() -> None:
    """With nobody alive nobody is refused: the next worker serves them all."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(actors.serve_pid, ready="listening")
        port = await port_of(primary, worker)
        worker.kill("SIGKILL")
        await worker.wait()
        results: list[tuple[int, int]] = []

        async def client() -> None:
            results.append(await visit(port))

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(client)
                await trio.testing.wait_all_tasks_blocked()
                assert [] == results
                await primary.fork(actors.serve_pid, port, ready="listening")
    assert {2} == {worker_id for worker_id, _ in results}


async def takes_nothing(actor: Actor) -> None:
    """Listen, and never accept."""
    await actor.listen_tcp(0, host="127.0.0.1")
    await trio.sleep_forever()


async def test_unaccepted_connections_are_dealt_again() -> None:
    """What a worker had not accepted when it died, or stopped, is served by another."""
    for end in ("kill", "stop"):
        async with actorcluster.open_primary() as primary:
            lazy = await primary.fork(takes_nothing, ready="listening")
            port = await port_of(primary, lazy)
            results: list[tuple[int, int]] = []

            async def client(port: int, results: list[tuple[int, int]]) -> None:
                results.append(await visit(port))

            with trio.fail_after(10):
                async with trio.open_nursery() as nursery:
                    for _ in range(10):
                        nursery.start_soon(client, port, results)
                    while primary.statistics().ports[0].unacknowledged < 10:
                        await trio.lowlevel.checkpoint()
                    await primary.fork(actors.serve_pid, port, ready="listening")
                    if end == "kill":
                        lazy.kill("SIGKILL")
                    else:
                        nursery.start_soon(lazy.disconnect)
            assert 10 * [2] == [worker_id for worker_id, _ in results]
            assert 10 == primary.statistics().ports[0].dealt_again


@pytest.mark.parametrize("policy", POLICIES)
async def test_stop_lets_open_connections_finish(policy: str) -> None:
    """A connection that is open at Stop is served to its end; then the worker leaves."""
    async with actorcluster.open_primary(scheduling_policy=policy) as primary:
        worker = await primary.fork(hold, 0, ready="listening")
        stream = await trio.open_tcp_stream("127.0.0.1", await port_of(primary, worker))
        await stream.receive_some(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.disconnect)
            await trio.sleep(0.1)
            assert "disconnecting" == worker.state
            await stream.aclose()
            with trio.fail_after(3):
                status = await worker.wait()
    assert "shutdown" == status.reason


async def test_unix_socket(tmp_path: Path) -> None:
    """Workers share a unix socket; its file goes with the primary."""
    path = tmp_path / "s"
    async with actorcluster.open_primary() as primary:
        for _ in range(2):
            await primary.fork(serve_unix, str(path), ready="listening")
        assert 0o600 == path.stat().st_mode & 0o777
        seen = set()
        for _ in range(4):
            async with await trio.open_unix_socket(str(path)) as stream:
                seen.add(await stream.receive_some(1))
        assert {b"\x01", b"\x02"} == seen
    assert not path.exists()


async def serve_unix(actor: Actor, path: str) -> None:
    """Serve a unix socket."""
    listener = await actor.listen_unix(path, mode=0o600)

    async def handler(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(bytes([actor.id]))

    await trio.serve_listeners(handler, [listener])


async def udp_echo(actor: Actor) -> None:
    """Answer datagrams."""
    sock = await actor.bind_udp(0, host="127.0.0.1")
    await actor.send(sock.getsockname()[1])
    while True:
        data, peer = await sock.recvfrom(100)
        await sock.sendto(data, peer)


async def test_udp() -> None:
    """Workers share a bound datagram socket."""
    async with actorcluster.open_primary() as primary:
        workers = [await primary.fork(udp_echo) for _ in range(2)]
        ports = {(await worker.mailbox.receive()).body for worker in workers}
        assert 1 == len(ports)
        with trio.socket.socket(type=socket.SOCK_DGRAM) as sock:
            await sock.sendto(b"ping", ("127.0.0.1", ports.pop()))
            with trio.fail_after(5):
                assert b"ping" == (await sock.recvfrom(100))[0]


async def listens_on_fd(actor: Actor, name: str) -> None:
    """Serve an inherited descriptor."""
    try:
        listener = await actor.listen_fd(name)
    except OSError as exc:
        await actor.send(exc.errno)
        return

    async def handler(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(f"{actor.id} {os.getpid()}\n".encode())

    await trio.serve_listeners(handler, [listener])


async def test_listen_fd() -> None:
    """Only descriptors that the settings name can be listened on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        settings = {"listen_fds": {"web": server.fileno()}}
        async with actorcluster.open_primary(settings=settings) as primary:
            refused = await primary.fork(listens_on_fd, "other")
            assert errno.EPERM == (await refused.mailbox.receive()).body
            worker = await primary.fork(listens_on_fd, "web", ready="listening")
            assert (worker.id, worker.pid) == await visit(port)


@pytest.mark.parametrize(("text", "expected"), [("none", SCHED_NONE), ("rr", SCHED_RR)])
async def test_policy_by_environment(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    """ACTORCLUSTER_SCHED_POLICY replaces the default policy."""
    monkeypatch.setenv("ACTORCLUSTER_SCHED_POLICY", text)
    async with actorcluster.open_primary() as primary:
        await primary.fork(actors.serve_pid, ready="listening")
        assert [expected] == [port.policy for port in primary.statistics().ports]


async def test_policy_of_a_listener() -> None:
    """A listener may choose its policy; the first worker's choice wins."""
    async with actorcluster.open_primary(scheduling_policy=SCHED_NONE) as primary:
        await primary.fork(serves_with, SCHED_RR, ready="listening")
        await primary.fork(serves_with, SCHED_NONE, ready="listening")
        assert [SCHED_RR] == [port.policy for port in primary.statistics().ports]


async def serves_with(actor: Actor, policy: str) -> None:
    """Listen with a policy."""
    await actor.listen_tcp(0, host="127.0.0.1", policy=policy)
    await trio.sleep_forever()
