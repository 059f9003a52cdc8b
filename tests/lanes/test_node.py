"""A worker in Node: bytes by the channel that it inherits, handles by Node's own, both ways."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from actorcluster import Handle, HandleError, Primary, Worker, events, open_primary
from tests.e2e.connecting_actors import serve
from tests.require import require

pytestmark = require("node")

SECONDS = 60
WORKER = str(Path(__file__).with_name("worker.js"))
SETTINGS: dict[str, Any] = {"exec": ("node", WORKER), "lane": "node"}


@asynccontextmanager
async def node(**options: Any) -> AsyncIterator[Worker]:
    with trio.fail_after(SECONDS):
        async with open_primary(settings=SETTINGS) as primary:
            worker = await primary.fork(**options)
            yield worker
            assert "shutdown" == (await worker.disconnect()).reason


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        return ours, server.accept()[0]


def read_all(sock: socket.socket) -> bytes:
    sock.settimeout(SECONDS)
    data = b""
    with sock:
        while more := sock.recv(1000):
            data += more
    return data


async def hears(sock: socket.socket) -> bytes:
    return await trio.to_thread.run_sync(read_all, sock, abandon_on_cancel=True)


async def visit(address: Any) -> bytes:
    async with await trio.open_tcp_stream(*address) as stream:
        return await stream.receive_some()


# ---- to the worker ------------------------------------------------------------------------------


async def test_streams() -> None:
    async with node() as worker:
        tcp, theirs = tcp_pair()
        assert 1 == await worker.ask(["greet", "to tcp"], theirs)
        assert b"to tcp" == await hears(tcp)
        unix, theirs = socket.socketpair()
        assert 1 == await worker.ask(["greet", "to unix"], theirs)
        assert b"to unix" == await hears(unix)
        reader, writer = os.pipe()
        assert 1 == await worker.ask(["greet", "to a pipe"], writer)
        with open(reader, "rb") as file:
            assert b"to a pipe" == await trio.to_thread.run_sync(file.read)


async def test_what_each_is_to_node(tmp_path: Path) -> None:
    async with node() as worker:
        ours, theirs = socket.socketpair()
        with ours, socket.create_server(("127.0.0.1", 0)) as tcp:
            unix = socket.socket(socket.AF_UNIX)
            unix.bind(str(tmp_path / "s"))
            unix.listen()
            udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            udp.bind(("::1", 0))
            given = [Handle.of(it) for it in (theirs, tcp.dup(), unix, udp)]
            assert ["Socket", "Server", "Server", "Socket"] == await worker.ask(["take", given])


async def test_a_datagram() -> None:
    async with node() as worker:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(SECONDS)
            server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            server.bind(("127.0.0.1", 0))
            address = server.getsockname()
            assert address[1] == await worker.ask(["answer"], server)
            client.sendto(b"ping", address)
            assert b"ping" == (await trio.to_thread.run_sync(client.recvfrom, 100))[0]


async def test_a_listener() -> None:
    async with node() as worker:
        with socket.create_server(("127.0.0.1", 0)) as server:
            await worker.ask(["serve", "by node"], server.dup())
            assert b"by node" == await visit(server.getsockname())


async def test_many() -> None:
    """In few frames and in many, faster than Node answers for them."""
    async with node() as worker:
        ends: list[socket.socket] = []

        async def greet(count: int) -> None:
            pairs = [tcp_pair() for _ in range(count)]
            ends.extend(ours for ours, _ in pairs)
            given = [Handle.of(theirs) for _, theirs in pairs]
            assert count == await worker.ask(["greet", "x", given])

        async with trio.open_nursery() as nursery:
            for count in [1, 4] * 20:
                nursery.start_soon(greet, count)
        assert [b"x"] * 100 == [await hears(end) for end in ends]


async def test_what_would_end_node_is_not_sent(tmp_path: Path) -> None:
    """Although this worker says that it takes files."""
    path = tmp_path / "file"
    path.write_text("precious")
    async with node() as worker:
        for kind, fd in [
            ("file", os.open(path, os.O_RDONLY)),
            ("memfd", os.memfd_create("x")),
        ]:
            with pytest.raises(HandleError, match=f"takes no handles of kind {kind}"):
                await worker.ask(["take"], fd)
            os.close(fd)
        assert [] == await worker.ask(["take"])


# ---- from the worker ----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3, 20])
async def test_servers_of_its_own(count: int) -> None:
    async with node() as worker:
        given = await worker.ask(["servers", count])
        assert ["tcp_listener"] * count == [handle.kind for handle in given]
        assert count == len({handle.address for handle in given})
        for handle in given:
            handle.close()


async def test_there_and_back() -> None:
    async with node() as worker:
        ours, theirs = tcp_pair()
        with ours:
            (handle,) = await worker.ask(["back", 1], theirs)
            async with handle.into_stream() as stream:
                await stream.send_all(b"through")
                assert b"through" == ours.recv(100)


async def test_a_frame_before_its_handle() -> None:
    async with node() as worker:
        (handle,) = await worker.ask(["late"])
        assert "tcp_listener" == handle.kind
        handle.close()


async def test_a_handle_that_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is lost, and what stands behind it goes on."""
    async with node() as worker:
        with monkeypatch.context() as patch:
            patch.setattr("actorcluster._link.lane.PATIENCE", 0.2)
            with pytest.raises(HandleError, match="did not arrive"):
                await worker.ask(["silent"])
        (handle,) = await worker.ask(["servers", 1])
        handle.close()


async def test_what_else_is_said_on_the_lane() -> None:
    """It is nobody's business; a handle with a number that nobody declared is closed."""
    async with node() as worker:
        (handle,) = await worker.ask(["chatter"])
        handle.close()


async def test_without_its_lane(caplog: pytest.LogCaptureFixture) -> None:
    """Mail goes on until a handle is to go."""
    with trio.fail_after(SECONDS):
        async with open_primary(settings=SETTINGS) as primary:
            worker = await primary.fork()
            await worker.ask(["leave"])
            assert [] == await worker.ask(["take"])
            ours, theirs = socket.socketpair()
            with ours:
                await worker.send(["take"], theirs)
                await worker.wait()
    assert "the lane for handles is over" in caplog.text


# ---- ports --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["handoff", "shared"])
async def test_a_port(mode: str) -> None:
    async with node() as worker:
        request = {"transport": "tcp", "host": "127.0.0.1", "port": 0, "modes": [mode], "credit": 4}
        address = await worker.ask(["listen", request])
        for _ in range(10):
            assert b"node %d" % (worker.pid or 0) == await visit(address)


async def test_a_port_with_workers_in_python() -> None:
    """Each of them has its turn."""

    async def fork(primary: Primary, address: Any) -> None:
        for _ in range(2):
            worker = await primary.fork()
            request = {"transport": "tcp", "host": "127.0.0.1", "port": 0, "modes": ["handoff"]}
            await worker.ask(["listen", {**request, "backlog": 128, "credit": 10}])

    with trio.fail_after(SECONDS):
        async with open_primary(settings=SETTINGS) as primary:
            with primary.events(events.Listening) as listening:
                plain = {"exec": None, "lane": None}
                await primary.fork(serve, ready="listening", settings=plain)
                address = (await anext(listening)).address
                await fork(primary, address)
            assert isinstance(address, tuple)
            said = [await visit(address) for _ in range(9)]
            assert b"1" in said


async def test_a_worker_that_is_killed_in_the_middle() -> None:
    with trio.fail_after(SECONDS):
        async with open_primary(settings=SETTINGS) as primary:
            worker = await primary.fork()
            handles = await worker.ask(["servers", 3])
            worker.kill("SIGKILL")
            assert "SIGKILL" == (await worker.wait()).signal
            for handle in handles:
                handle.close()


async def test_the_environment_is_clean() -> None:
    async with node(env={"NODE_UNIQUE_ID": "7"}) as worker:
        found = await worker.ask(["environment"])
        assert [] == [name for name in found if name not in os.environ]  # of ours, none is left


async def test_a_lane_is_for_others() -> None:
    async with open_primary(settings={"lane": "node"}) as primary:
        with pytest.raises(ValueError, match="lane='node' is for a command line in exec"):
            await primary.fork(serve)
