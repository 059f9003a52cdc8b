"""The worker in examples/workers/node: its own tests, and its programs under our primary."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import trio

import actorcluster
from actorcluster import Handle, Primary, RemoteError, Worker, conform, events
from tests.require import require
from tests.samples.builds import WORKERS, npm
from tests.samples.load import conformance_actor, descriptors, hand_offs, overload, settled

pytestmark = require("npm")

SECONDS: Final = 60


@pytest.fixture
def built(node_sample: Path) -> Path:
    """The directory with the programs, built once for all tests."""
    return node_sample


@asynccontextmanager
async def the_actor(built: Path) -> AsyncIterator[tuple[Primary, Worker]]:
    command = ["node", str(built / "conformance.js")]
    with trio.fail_after(SECONDS):
        async with conformance_actor(command, lane="node") as both:
            yield both


@asynccontextmanager
async def servers(
    built: Path, count: int, *flags: str
) -> AsyncIterator[tuple[Primary, list[Worker], tuple[str, int]]]:
    """A primary with so many servers, and where they listen; all of them end well."""
    command = ("node", str(built / "serve-http.js"), "--port", "0", *flags)
    settings: dict[str, Any] = {"exec": command, "lane": "node"}
    with trio.fail_after(SECONDS):
        async with actorcluster.open_primary() as primary:
            workers = [await primary.fork(settings=settings, ready="called") for _ in range(count)]
            with await workers[0].mailbox.receive() as message:
                host, _, port = message.body["serving"].rpartition(":")
            yield primary, workers, (host, int(port))
            await primary.disconnect()
            ends = [await worker.wait() for worker in workers]
    assert [(0, "shutdown")] * count == [(end.code, end.reason) for end in ends]


async def get(address: tuple[str, int], path: str = "/x") -> str:
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    async with await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(request.encode())
        return await page_of(stream)


async def page_of(stream: trio.SocketStream) -> str:
    head, _, page = b"".join([piece async for piece in stream]).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    return page.decode()


# ---- by itself ----


def test_lint_and_its_own_tests(built: Path) -> None:
    """The protocol's vectors are among them, and a worker that ends in the midst of a loop."""
    npm("run", "--silent", "lint", source=built.parent)
    files = sorted(map(str, built.glob("test/*.test.js")))
    done = subprocess.run(
        ["node", "--test", *files],
        check=False,
        cwd=WORKERS / "node",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert 0 == done.returncode, done.stdout[-5000:]
    assert "skipped 0" in done.stdout


def test_it_says_so_when_it_is_no_worker(built: Path) -> None:
    for environment, text in (
        ({}, "not started as a worker"),
        ({"ACTORCLUSTER_CHANNEL": "fd:none"}, "of no use: fd:none"),
        ({"ACTORCLUSTER_CHANNEL": "fd:0", "ACTORCLUSTER_LANE": "other"}, "of no use: other"),
    ):
        done = subprocess.run(
            ["node", str(built / "conformance.js")],
            check=False,
            env=os.environ | environment,
            capture_output=True,
            text=True,
        )
        assert (2, "") == (done.returncode, done.stdout)
        assert text in done.stderr


# ---- the conformance actor ----


async def test_messages_both_ways(built: Path) -> None:
    async with the_actor(built) as (primary, worker):
        body = {"a": [1, -1, 2**64 - 1, 2.5, 2.0, "ü", b"\0", None, True], "b": {}}
        assert body == await worker.ask(["echo", body])
        large = "x" * 5_000_000
        assert large == await worker.ask(["echo", large])
        with pytest.raises(RemoteError, match="no such luck"):
            await worker.ask(["fail", "no such luck"])
        assert 3 == await worker.ask(["tell_back", [3, "hi"]])
        told = []
        for _ in range(3):
            with await primary.mailbox.receive() as message:
                told.append(message.body)
        assert [[1, "hi"], [2, "hi"], [3, "hi"]] == told
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.ask, ["sleep", 60_000])
            await trio.testing.wait_all_tasks_blocked()
            assert 0 == await worker.ask(["cancel_state"])
            nursery.cancel_scope.cancel()
        while not await worker.ask(["cancel_state"]):  # noqa: ASYNC110 - another process's
            await trio.sleep(0.01)


async def test_without_a_lane_it_takes_messages_alone(built: Path) -> None:
    """That is level 1; over ``unix:`` there is never a lane."""
    command = ["node", str(built / "conformance.js")]
    with trio.fail_after(SECONDS):
        async with conformance_actor(command, channel="unix") as (_, worker):
            assert [1] == await worker.ask(["echo", [1]])
            ours, theirs = socket.socketpair()
            with ours, theirs, pytest.raises(actorcluster.HandleError):
                await worker.ask(["take_handle"], theirs)


async def test_handles_both_ways(built: Path) -> None:
    async with the_actor(built) as (_, worker):
        before = descriptors(worker)
        for _ in range(50):
            ours, theirs = socket.socketpair()
            reading, writing = os.pipe()
            expected = [[4, os.fstat(theirs.fileno()).st_ino], [9, os.fstat(writing).st_ino]]
            with ours, open(reading, "rb"):
                given = [Handle.of(theirs), Handle.of(open(writing, "wb"))]
                assert expected == await worker.ask(["take_handle", given])
            for handle in await worker.ask(["give_handle", 2]):
                with handle.into_socket() as sock:
                    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        assert before == await settled(worker, before)


@pytest.mark.parametrize("mode", ["handoff", "shared"])
async def test_hand_offs_leave_nothing(built: Path, mode: str) -> None:
    """A tenth of ``python -m tests.samples --lane node``."""
    async with the_actor(built) as (_, worker):
        found = await hand_offs(worker, 1000, mode)
        assert found.after <= found.before
        assert {b"1"} == set(found.said)


async def test_overload(built: Path) -> None:
    async with the_actor(built) as (_, worker):
        answered, memory = await overload(worker, 10)
        assert 160 == answered
        assert memory < 400 * 2**20


def test_the_kit_finds_nothing(built: Path) -> None:
    """What is different with a lane, with Node's sockets and at the end of Node's processes.

    The vectors are among its own tests. All cases take two minutes: ``python -m actorcluster
    conform --lane node --level 2 --strict --jobs 4 -- node dist/conformance.js``.
    """
    options = conform.Options(
        command=("node", str(built / "conformance.js")),
        level=2,
        jobs=4,
        strict=True,
        lane="node",
        only=("fds.*", "ha.*", "ln.*", "li.*", "st.*", "tr.*"),
    )
    report = conform.try_program(options)
    assert 0 == report.exit_status, "\n".join(report.lines())


# ---- the server ----


@pytest.mark.parametrize("flags", [[], ["--shared"]], ids=["handoff", "shared"])
async def test_http(built: Path, flags: list[str]) -> None:
    """node:http serves our port as it is; the worker answers us, and gives us its log."""
    async with servers(built, 1, *flags) as (_, (worker,), address):
        async with (await worker.ask("log")).into_stream() as log:
            for number in range(1, 21):
                page = await get(address)
                start = f"hello from {worker.name}, process {worker.pid}"
                assert f"{start}, request {number} of 0 bytes\n" == page
            assert 20 == await worker.ask("count")
            lines = b""
            while lines.count(b"\n") < 20:
                lines += await log.receive_some()
        assert [b"GET", b"/x"] * 20 == [
            word for line in lines.splitlines() for word in line.split()[1:]
        ]
        assert 7 == await worker.ask(["echo", 7])
        with pytest.raises(RemoteError, match="nobody answers this"):
            await worker.ask("what?")


async def test_two_share_a_port_evenly(built: Path, tmp_path: Path, monkeypatch: Any) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("ACCESS_LOG", str(log))
    async with servers(built, 2) as (_, workers, address):
        for number in range(20):
            await get(address, f"/{number}")
        assert [10, 10] == [await worker.ask("count") for worker in workers]
    assert [f"/{number}" for number in range(20)] == log.read_text().split()


async def test_a_connection_in_a_message_is_served_too(built: Path) -> None:
    async with servers(built, 1) as (_, (worker,), _):
        with socket.create_server(("127.0.0.1", 0)) as server:
            async with await trio.open_tcp_stream(*server.getsockname()) as client:
                accepted, _ = server.accept()
                await worker.ask(None, accepted)
                await client.send_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert (await page_of(client)).endswith("request 1 of 0 bytes\n")


async def test_what_is_under_way_is_ended_before_it_stops(built: Path) -> None:
    """A request, and a client that has connected, and could not know that it is too late."""
    async with servers(built, 1) as (primary, (worker,), address):
        stream = await trio.open_tcp_stream(*address)
        new = await trio.open_tcp_stream(*address)
        async with stream, new, trio.open_nursery() as nursery:
            await stream.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello")
            while 1 != await worker.ask("count"):  # noqa: ASYNC110 - another process's
                await trio.sleep(0.01)
            with primary.events(events.Draining) as draining:
                nursery.start_soon(worker.disconnect, SECONDS)
                await anext(aiter(draining))
            await stream.send_all(b"there")
            assert (await page_of(stream)).endswith("request 1 of 10 bytes\n")
            await new.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await page_of(new)).endswith("request 2 of 0 bytes\n")
