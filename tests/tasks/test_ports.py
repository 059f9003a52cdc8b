"""Tasks that listen: on the same ports as processes, and what Stop waits for then."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import trio

from actorcluster import SCHED_NONE, SCHED_RR, Actor, Child, Supervisor, events, open_primary
from tests.e2e.supervised import PATIENCE, run_tree


async def serves(actor: Actor, port: int = 0, policy: str | None = None) -> None:
    """Tell each client who serves it, and wait until it closes."""

    async def serve(stream: trio.SocketStream) -> None:
        await stream.send_all(actor.name.encode())
        await stream.receive_some()

    listeners = await actor.listen_tcp(port, host="127.0.0.1", policy=policy)
    await trio.serve_listeners(serve, listeners)


async def listens_twice(actor: Actor, path: str) -> None:
    """Listen on what is taken by oneself; tell what comes of it."""
    listener = await actor.listen_unix(path)
    try:
        await actor.listen_unix(path)
    except OSError as exc:
        await actor.send(exc.errno)
    async with await listener.accept() as stream:
        assert isinstance(stream, trio.SocketStream)
        await stream.send_all(b"unix")
    sock = await actor.bind_udp(0, host="127.0.0.1")
    await actor.send(list(sock.getsockname()))
    _, client = await sock.recvfrom(10)
    await sock.sendto(b"udp", client)
    sock.close()


def server(name: str, run: Any, **options: Any) -> Child:
    return Child(name, serves, run=run, ready="listening", **options)


async def port_of(scene: Any, name: str) -> int:
    event = await scene.primary.wait_for(events.Listening, scene.worker(name))
    port: int = event.address[1]
    return port


async def visit(port: int) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", port)


@pytest.mark.parametrize("policy", [SCHED_RR, SCHED_NONE])
async def test_a_task_and_a_process_share_a_port(policy: str) -> None:
    """Dealt in turn, or as the kernel likes; no connection is lost."""
    names = []
    tree = Supervisor(children=[server("a", "task"), server("p", "process")])
    with trio.fail_after(PATIENCE):
        async with open_primary(tree, scheduling_policy=policy) as primary:
            (port,) = primary.statistics().ports
            for _ in range(10):
                async with await visit(port.address[1]) as stream:  # type: ignore[arg-type]  # TCP: host and port
                    names.append((await stream.receive_some()).decode())
    expected = {"a", "p"} if policy == SCHED_RR else set(names)
    assert (10, expected) == (len(names), set(names))


async def test_stop_waits_for_open_connections() -> None:
    async with run_tree([server("a", "task")]) as scene:
        worker = scene.worker("a")
        stream = await visit(await port_of(scene, "a"))
        assert b"a" == await stream.receive_some()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.disconnect)
            await scene.until("draining a")
            await trio.sleep(0.1)
            assert "disconnecting" == worker.state
            await stream.aclose()
        assert "shutdown" == (await worker.wait()).reason


async def test_the_port_outlives_its_task() -> None:
    """Clients wait while it is restarted."""
    async with run_tree([server("a", "task")]) as scene:
        port = await port_of(scene, "a")
        scene.worker("a").kill()
        async with await visit(port) as stream:
            assert b"a" == await stream.receive_some()
        assert 2 == scene.worker("a").incarnation
    with pytest.raises(OSError):
        await visit(port)


async def test_other_sockets(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    child = Child("a", listens_twice, run="task", args=[path], restart="temporary")
    async with run_tree([child]) as scene:
        mailbox = scene.primary.mailbox
        assert errno.EADDRINUSE == (await mailbox.receive()).body
        async with await trio.open_unix_socket(path) as stream:
            assert b"unix" == await stream.receive_some()
        address = tuple((await mailbox.receive()).body)
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as client:
            await client.connect(address)
            await client.send(b"?")
            assert b"udp" == await client.recv(10)
        await scene.until("exit a normal")
