"""Shared ports: one port for all workers, balance, refusal, death, respawn."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

import actorcluster
from actorcluster import SCHED_NONE, SCHED_RR, Actor, events
from tests.e2e import actors

POLICIES = [SCHED_RR, SCHED_NONE]
ROOT = Path(__file__).parents[2]


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


async def visit_all(port: int, count: int) -> list[int]:
    """So many clients at once; returns the ids of the workers that served them."""
    served: list[int] = []

    async def client() -> None:
        served.append((await visit(port))[0])

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(client)
    return served


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(60):
        while not condition():
            await trio.lowlevel.checkpoint()


# ---- what the workers do -----------------------------------------------------------------------


async def hold(actor: Actor, port: int, **options: Any) -> None:
    """Name oneself to each client, and serve it until it closes the connection."""
    listeners = await actor.listen_tcp(port, host="127.0.0.1", **options)

    async def handler(stream: trio.SocketStream) -> None:
        async with stream:
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(bytes([actor.id]))
                async for _ in stream:
                    pass

    await trio.serve_listeners(handler, listeners)


async def hold_one(actor: Actor, port: int) -> None:
    """Like `hold`, one connection at a time."""
    await hold(actor, port, max_connections=1)


async def listens_alone(actor: Actor, options: dict[str, Any]) -> None:
    (listener,) = await actor.listen_tcp(0, host="127.0.0.1", **options)
    async for message in actor.mailbox:
        with message:
            await message.reply(list(listener.address))


async def takes_nothing(actor: Actor) -> None:
    """Listen, and never accept."""
    await actor.listen_tcp(0, host="127.0.0.1")
    await trio.sleep_forever()


async def serves_once(actor: Actor, port: int) -> None:
    """Serve one client, and end."""
    (listener,) = await actor.listen_tcp(port, host="127.0.0.1")
    async with await listener.accept() as stream:
        await stream.send_all(f"{actor.id} {os.getpid()}\n".encode())


async def without_descriptors(actor: Actor, port: int) -> None:
    """Serve with as many descriptors as one is told: all, or none."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(actors.serve_pid, actor, port)
        async for message in actor.mailbox:
            limit = before[0]
            if message.body == "none":
                limit = os.dup(0)
                os.close(limit)
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
            await actor.send(message.body)


async def listens_twice(actor: Actor) -> None:
    """The same address in two tasks at once, and again; another port 0 is another port."""
    first = (await actor.listen_tcp(0, host="127.0.0.1"))[0]
    second = (await actor.listen_tcp(0, host="127.0.0.1"))[0]
    assert isinstance(second.address, tuple)
    port = int(second.address[1])
    await second.aclose()
    outcomes: list[Any] = []

    async def listen() -> None:
        try:
            outcomes.append((await actor.listen_tcp(port, host="127.0.0.1"))[0].address)
        except OSError as exc:
            outcomes.append(exc.errno)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        nursery.start_soon(listen)
    await listen()
    await actor.send([first.address != second.address, list(second.address), outcomes])


async def tell_listen_error(actor: Actor, port: int) -> None:
    """Send the errno of a listen that fails."""
    try:
        await actor.listen_tcp(port, host="127.0.0.1")
    except OSError as exc:
        await actor.send(exc.errno)


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


async def own_sockets(actor: Actor, port: int) -> None:
    """Serve two sockets of one's own, one alone and one together with others who do so."""
    alone = await actor.listen_tcp(0, host="127.0.0.1", exclusive=True)
    together = await actor.listen_tcp(port, host="127.0.0.1", reuse_port=True)
    await actor.send([listener.address[1] for listener in (*alone, *together)])

    async def handler(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(f"{actor.id} {os.getpid()}\n".encode())

    await trio.serve_listeners(handler, [*alone, *together])


async def serves_with(actor: Actor, policy: str) -> None:
    """Listen with a policy."""
    await actor.listen_tcp(0, host="127.0.0.1", policy=policy)
    await trio.sleep_forever()


# ---- one port, dealt evenly --------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
async def test_one_port_for_all(policy: str) -> None:
    """Port 0 is the same port in every worker, and all requests are served."""
    async with actorcluster.open_primary(scheduling_policy=policy) as primary:
        workers = [await primary.fork(actors.serve_pid, ready="listening") for _ in range(3)]
        ports = {await port_of(primary, worker) for worker in workers}
        assert 1 == len(ports)
        port = ports.pop()
        pids = {worker.id: worker.pid for worker in workers}
        served = [await visit(port) for _ in range(30)]
        assert all(pids[worker_id] == pid for worker_id, pid in served)
        if policy == SCHED_RR:
            assert {1: 10, 2: 10, 3: 10} == Counter(worker_id for worker_id, _ in served)
        assert [policy] == [one.policy for one in primary.statistics().ports]


async def test_balance() -> None:
    """2,000 connections from 50 clients over 8 workers: shares within half a point."""
    async with actorcluster.open_primary() as primary:
        workers = [await primary.fork(hold, 0, ready="listening") for _ in range(8)]
        port = await port_of(primary, workers[0])
        for options in ([], ["--hold"]):
            command = [sys.executable, "-m", "tests.e2e.clients", str(port), *options]
            command += ["--total", "2000", "--concurrent", "50"]
            with trio.fail_after(60):
                done = await trio.run_process(command, capture_stdout=True, cwd=ROOT)
            served = json.loads(done.stdout)
            assert 8 == len(served)
            assert 2000 == sum(served.values())
            assert max(served.values()) - min(served.values()) <= 0.005 * 2000, served
        (one,) = primary.statistics().ports
        assert (0, 0, 0) == (one.waiting, one.unacknowledged, one.dealt_again)


async def test_max_connections() -> None:
    """A full worker is passed over; with all full, a client waits until one has room."""
    async with actorcluster.open_primary() as primary:
        for _ in range(2):
            worker = await primary.fork(hold_one, 0, ready="listening")
        port = await port_of(primary, worker)
        clients = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(3)]
        with trio.fail_after(60):
            assert {b"\1", b"\2"} == {await client.receive_some(1) for client in clients[:2]}
            with trio.move_on_after(0.1) as scope:
                await clients[2].receive_some(1)
            assert scope.cancelled_caught
            await clients[1].aclose()
            assert await clients[2].receive_some(1)
        for client in clients:
            await client.aclose()


# ---- refusals of the kernel --------------------------------------------------------------------


async def test_an_address_in_use() -> None:
    """EADDRINUSE reaches the worker as OSError."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with actorcluster.open_primary() as primary:
            worker = await primary.fork(tell_listen_error, taken.getsockname()[1])
            assert errno.EADDRINUSE == (await worker.mailbox.receive()).body


async def test_listening_twice_in_one_worker() -> None:
    """The same fixed address twice in one worker is EADDRINUSE; to come back is not."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(listens_twice)
        differ, address, outcomes = (await worker.mailbox.receive()).body
        assert differ
        assert {str(address), str(errno.EADDRINUSE)} == set(map(str, outcomes[:2]))
        assert errno.EADDRINUSE == outcomes[2]


async def without_rights(path: str) -> None:
    """Print what a worker is told whose primary may not bind."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(tell_two_errors, path)
        print(*(await worker.mailbox.receive()).body)


async def tell_two_errors(actor: Actor, path: str) -> None:
    """Send the errnos of two listens that fail."""
    codes: list[int | None] = []
    for listen in (actor.listen_tcp(80, host="127.0.0.1"), actor.listen_unix(path)):
        try:
            await listen
        except OSError as exc:
            codes.append(exc.errno)
        else:
            codes.append(0)
    await actor.send(codes)


#: What root loses here, as others never had it: CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH,
#: CAP_NET_BIND_SERVICE; by PR_CAPBSET_DROP, so that it holds from the next exec on.
_LOSE_RIGHTS = """\
import ctypes, os, sys
for capability in 1, 2, 10:
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_without_the_right_to_bind(tmp_path: Path) -> None:
    """EACCES, for a port that is privileged here, and in a directory that nobody may write."""
    tmp_path.chmod(0o555)
    code = "import trio; from tests.e2e.test_ports import without_rights; "
    code += f"trio.run(without_rights, {str(tmp_path / 's')!r})"
    done = subprocess.run(
        [sys.executable, "-c", _LOSE_RIGHTS, "-c", code],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=30, check=True,
    )  # fmt: skip
    first_free = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    assert [errno.EACCES if first_free > 80 else 0, errno.EACCES] == [
        int(number) for number in done.stdout.split()
    ]


# ---- death and departure -----------------------------------------------------------------------


async def test_backlog_holds_until_the_respawn() -> None:
    """With nobody alive nobody is refused: the next worker, on port 0 again, serves them all."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(actors.serve_pid, ready="listening")
        port = await port_of(primary, worker)
        worker.kill("SIGKILL")
        await worker.wait()
        async with trio.open_nursery() as nursery:
            served: list[int] = []

            async def clients() -> None:
                served.extend(await visit_all(port, 20))

            nursery.start_soon(clients)
            await trio.testing.wait_all_tasks_blocked()
            assert [] == served
            respawn = await primary.fork(actors.serve_pid, ready="listening")
            assert port == await port_of(primary, respawn)
    assert 20 * [2] == served


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_unaccepted_connections_are_dealt_again(end: str) -> None:
    """What a worker had not accepted when it died, or stopped, is served by another."""
    async with actorcluster.open_primary() as primary:
        lazy = await primary.fork(takes_nothing, ready="listening")
        port = await port_of(primary, lazy)
        async with trio.open_nursery() as nursery:
            served: list[int] = []

            async def clients() -> None:
                served.extend(await visit_all(port, 10))

            nursery.start_soon(clients)
            await until(lambda: 10 == primary.statistics().ports[0].unacknowledged)
            await primary.fork(actors.serve_pid, port, ready="listening")
            if end == "kill":
                lazy.kill("SIGKILL")
            else:
                nursery.start_soon(lazy.disconnect)
        assert 10 * [2] == served
        assert 10 == primary.statistics().ports[0].dealt_again


@pytest.mark.parametrize("options", [{"exclusive": True}, {"reuse_port": True}])
async def test_a_listener_of_its_own_makes_a_worker_ready(options: dict[str, bool]) -> None:
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(listens_alone, options, ready="listening")
        assert "listening" == worker.state
        event = await primary.wait_for(events.Listening, worker)
        assert list(event.address) == await worker.ask("address")


async def test_workers_that_come_and_go() -> None:
    """Each serves one client and ends; between its good-bye and its end connections come, too."""
    async with actorcluster.open_primary() as primary:
        steady = await primary.fork(actors.serve_pid, ready="listening")
        port = await port_of(primary, steady)
        guests: set[int] = set()
        for _ in range(3):
            guest = await primary.fork(serves_once, port, ready="listening")
            guests.add(guest.id)
            served = await visit_all(port, 8)
            assert 1 == served.count(guest.id)
            assert 7 == served.count(steady.id)
            assert 0 == (await guest.wait()).code


@pytest.mark.parametrize("policy", POLICIES)
async def test_stop_lets_open_connections_finish(policy: str) -> None:
    """A connection that is open at Stop is served to its end; then the worker leaves."""
    async with actorcluster.open_primary(scheduling_policy=policy) as primary:
        worker = await primary.fork(hold, 0, ready="listening")
        stream = await trio.open_tcp_stream("127.0.0.1", await port_of(primary, worker))
        await stream.receive_some(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.disconnect)
            with trio.move_on_after(0.1):
                await worker.wait()
            assert "disconnecting" == worker.state
            await stream.aclose()
            with trio.fail_after(60):
                status = await worker.wait()
    assert "shutdown" == status.reason


async def test_a_worker_without_descriptors() -> None:
    """What the kernel could not deliver is served by others, until there is room again."""
    async with actorcluster.open_primary() as primary:
        poor = await primary.fork(without_descriptors, 0, ready="listening")
        port = await port_of(primary, poor)
        rich = await primary.fork(actors.serve_pid, port, ready="listening")
        await poor.send("none")
        assert "none" == (await poor.mailbox.receive()).body
        assert 20 * [rich.id] == await visit_all(port, 20)
        assert 0 < primary.statistics().ports[0].dealt_again
        await poor.send("all")
        with trio.fail_after(60):
            while (await visit(port))[0] != poor.id:
                pass


# ---- other sockets -----------------------------------------------------------------------------


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


async def test_udp() -> None:
    """Workers share a bound datagram socket."""
    async with actorcluster.open_primary() as primary:
        workers = [await primary.fork(udp_echo) for _ in range(2)]
        ports = {(await worker.mailbox.receive()).body for worker in workers}
        assert 1 == len(ports)
        with trio.socket.socket(type=socket.SOCK_DGRAM) as sock:
            await sock.sendto(b"ping", ("127.0.0.1", ports.pop()))
            with trio.fail_after(60):
                assert b"ping" == (await sock.recvfrom(100))[0]


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


async def test_sockets_of_their_own() -> None:
    """Exclusive ones differ; with SO_REUSEPORT the kernel spreads clients over the workers."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        async with actorcluster.open_primary() as primary:
            workers = [await primary.fork(own_sockets, port) for _ in range(2)]
            bound = [(await worker.mailbox.receive()).body for worker in workers]
            assert 2 == len({alone for alone, _ in bound})
            assert {port} == {together for _, together in bound}
            for worker, (alone, _) in zip(workers, bound, strict=True):
                assert (worker.id, worker.pid) == await visit(alone)
            assert {1, 2} == {(await visit(port))[0] for _ in range(64)}
            assert () == primary.statistics().ports


# ---- the choice of policy ----------------------------------------------------------------------


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
