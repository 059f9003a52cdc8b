"""What supervision, mail and ports make of Node programs."""

from __future__ import annotations

import collections
import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest
import trio

import actorcluster
from actorcluster import Child, NotHandled, Pool, Supervisor, Worker, events, open_primary
from tests.node_adapter import actors
from tests.node_adapter.clients import exchange, get
from tests.node_adapter.clusters import command
from tests.ports import free_port
from tests.program import PATIENCE
from tests.require import require

pytestmark = require("node")


async def served_by(port: int, count: int) -> collections.Counter[int]:
    """How many of some connections, one after another, each process served."""
    return collections.Counter([int((await get(port)).split()[0]) for _ in range(count)])


async def next_of(worker: Worker) -> Any:
    """The body of the next message of a worker."""
    with trio.fail_after(PATIENCE):
        return (await worker.mailbox.receive()).body


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what nobody tells."""
    with trio.fail_after(PATIENCE):
        while not is_so():  # noqa: ASYNC110  (nobody tells)
            await trio.sleep(0.01)


async def test_a_pool_beside_one_in_python_on_one_port() -> None:
    port = free_port()
    tree = Supervisor(
        children=[
            Pool("node", None, count=2, exec=command("fixed.js"), protocol="node",
                 env={"PORT": str(port)}, ready="listening"),
            Pool("python", actors.web, count=2, args=[port], ready="listening"),
        ]
    )  # fmt: skip
    async with open_primary(tree) as primary:
        served = await served_by(port, 40)
        assert {worker.pid: 10 for worker in primary.workers.values()} == served


async def test_who_dies_comes_back_and_refuses_nobody() -> None:
    port = free_port()
    child = Child(
        "web", None, exec=command("fixed.js"), protocol="node", env={"PORT": str(port)},
        ready="listening", shutdown=PATIENCE,
    )  # fmt: skip
    async with open_primary(Supervisor(children=[child])) as primary:
        (first,) = primary.workers.values()
        assert {first.pid: 1} == await served_by(port, 1)
        first.kill("SIGKILL")
        served = await served_by(port, 2)
        (second,) = primary.workers.values()
        assert {second.pid: 2} == served
        assert 2 == second.incarnation


async def test_what_was_under_way_to_who_dies_goes_to_another() -> None:
    port = free_port()
    async with open_primary() as primary:
        options: dict[str, Any] = {"protocol": "node", "ready": "listening"}
        env = {"PORT": str(port)}
        stopped = await primary.fork(exec=command("fixed.js"), env=env, **options)
        stopped.kill("SIGSTOP")
        found: list[int] = []

        async def ask() -> None:
            found.append(int((await get(port)).split()[0]))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
            await until(lambda: primary.statistics().ports[0].unacknowledged == 3)
            other = await primary.fork(exec=command("fixed.js"), env=env, **options)
            stopped.kill("SIGKILL")
        assert [other.pid] * 3 == found


async def test_a_reload_serves_all_the_time() -> None:
    port = free_port()
    pool = Pool(
        "web", None, count=2, exec=command("fixed.js"), protocol="node", env={"PORT": str(port)},
        ready="listening", shutdown=PATIENCE,
    )  # fmt: skip
    async with open_primary(Supervisor(children=[pool])) as primary:
        before = {worker.pid for worker in primary.workers.values()}
        is_over = False
        served: list[int] = []

        async def ask() -> None:
            while not is_over:
                served.append(int((await get(port)).split()[0]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await primary.reload("web")
            after = {worker.pid for worker in primary.workers.values()}
            is_over = True
        assert not before & after
        assert served
        assert set(served) <= before | after


async def test_who_does_not_leave_is_made_to() -> None:
    async with open_primary() as primary:
        worker = await primary.fork(exec=command("stubborn.js"), protocol="node")
        assert "there" == await next_of(worker)
        status = await worker.disconnect(timeout=0)
        assert ("SIGKILL", "killed") == (status.signal, status.reason)


async def test_ready_is_what_it_calls_ready() -> None:
    async with open_primary() as primary, trio.open_nursery() as nursery:
        worker = primary.fork_soon(exec=command("late.js"), protocol="node", ready="called")
        await worker.send("not yet")
        assert "not yet" == await next_of(worker)
        assert "online" == worker.state
        with primary.events(events.Exit) as ends:
            await worker.send("ready")
            assert "ready" == await next_of(worker)
            nursery.start_soon(worker.disconnect)
            assert worker is (await anext(ends)).worker


async def test_a_program_that_does_not_start() -> None:
    async with open_primary() as primary:
        options: dict[str, Any] = {"protocol": "node", "settings": {"silent": True}}
        with pytest.raises(actorcluster.WorkerStartError) as caught:
            await primary.fork(exec=command("missing.js"), ready="listening", **options)
        assert caught.value.status is not None
        assert 1 == caught.value.status.code
        with pytest.raises(actorcluster.WorkerStartError, match="was not ready within"):
            argv = [sys.executable, "-IS", "-c", "import time; time.sleep(600)"]
            await primary.fork(exec=argv, protocol="node", start_timeout=0.2)


async def test_all_that_it_said_is_read() -> None:
    async with open_primary() as primary:
        worker = await primary.fork(exec=command("chatty.js"), protocol="node")
        status = await worker.wait()
        assert (0, False) == (status.code, status.voluntary)
        assert list(range(2000)) == [(await next_of(worker))["n"] for _ in range(2000)]
        assert "end" == await next_of(worker)


async def test_who_is_not_listened_to_is_held_back_and_lost_with_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    settings = {"mailbox_size": 64 * 1024}
    async with open_primary(settings=settings) as primary:
        worker = await primary.fork(exec=command("chatty.js"), protocol="node")
        worker.kill("SIGCONT")
        await until(lambda: worker.mailbox.statistics().messages == 256)
        worker.kill("SIGKILL")
        await worker.wait()
        count = worker.mailbox.statistics().messages
        assert 256 == count
    assert "of its messages are lost, for nobody read those before" in caplog.text


async def test_asks_and_what_json_cannot_say_come_back() -> None:
    async with open_primary() as primary:
        worker = await primary.fork(exec=command("late.js"), protocol="node")
        with pytest.raises(NotHandled):
            await worker.ask("anything")
        with primary.events(events.Error) as errors:
            await worker.send({"cmd": "NODE_CLUSTER", "act": "disconnect"})
            assert "is for the runtime alone" in str((await anext(errors)).error)
            reader, writer = os.pipe()
            with pytest.raises(actorcluster.HandleError, match="pipe-read"):
                await worker.send("a pipe", reader)
            os.close(reader)
            os.close(writer)
        await worker.send(math.nan)
        assert await next_of(worker) is None
        await worker.send(b"\x01")
        assert {"type": "Buffer", "data": [1]} == await next_of(worker)


async def test_others_reach_it_by_name_with_a_socket() -> None:
    async with open_primary() as primary:
        worker = await primary.fork(name="node", exec=command("takes_sockets.js"), protocol="node")
        assert "there" == await next_of(worker)
        between = await primary.fork(actors.hands_over, "node")
        ours, theirs = socket.socketpair()
        await between.send("hello", theirs)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        with trio.fail_after(PATIENCE):
            assert b"hello, from the worker\n" == await stream.receive_some()
        await stream.aclose()
        assert {"served": "hello"} == await next_of(worker)


async def test_a_file_never_gets_there(tmp_path: Any) -> None:
    async with open_primary() as primary:
        worker = await primary.fork(exec=command("takes_sockets.js"), protocol="node")
        assert "there" == await next_of(worker)
        memory = os.memfd_create("x")
        with (tmp_path / "file").open("wb") as file:
            for descriptor in (file, memory):
                with pytest.raises(actorcluster.HandleError):
                    await worker.send("a file", descriptor)
        os.close(memory)
        worker.kill(signal.SIGTERM)
        assert "SIGTERM" == (await worker.wait()).signal


async def test_a_listening_socket_for_it() -> None:
    async with open_primary() as primary:
        worker = await primary.fork(exec=command("takes_servers.js"), protocol="node")
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            port = listener.getsockname()[1]
            await worker.send("serve", listener, keep_open=True)
            assert "serves" == await next_of(worker)
            assert b"from the server" == await exchange(port)
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind(("127.0.0.1", 0))
        port = datagrams.getsockname()[1]
        await worker.send("listen", datagrams)
        assert "listens" == await next_of(worker)
        with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            await client.sendto(b"x", ("127.0.0.1", port))
            with trio.fail_after(PATIENCE):
                assert b"got x" == await client.recv(100)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="target: 'a' is a Node program, which exec= names"):
        Child("a", "m:f", protocol="node")
    with pytest.raises(ValueError, match="hung_after: 'a': a Node program cannot be asked"):
        Child("a", None, exec=["node"], protocol="node", hung_after=9)
    with pytest.raises(ValueError, match="protocol must be 'awp' or 'node'"):
        Child("a", None, exec=["node"], protocol="bun")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ValueError, match="protocol: 'a' runs as a task and cannot have it"):
        Child("a", actors.web, run="task", protocol="node")


async def test_a_program_has_to_be_named() -> None:
    async with open_primary() as primary:
        with pytest.raises(ValueError, match="exec must be a whole command line, such as"):
            primary.fork_soon(protocol="node")
        with pytest.raises(ValueError, match="channel and lane say how our own protocol"):
            primary.fork_soon(exec=["node"], protocol="node", settings={"channel": "unix"})
