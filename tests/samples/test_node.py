"""The worker in examples/workers/node: its own tests, and its programs under our primary."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import trio

import actorcluster
from actorcluster import Primary, RemoteError, Worker, conform
from tests.require import require
from tests.samples.actor import calls_given_up_end, complaint, handles_both_ways, messages_both_ways
from tests.samples.builds import WORKERS, npm
from tests.samples.load import conformance_actor, hand_offs, overload
from tests.samples.serving import (
    Servers,
    answers_in_turn,
    get,
    half_a_request,
    open_servers,
    page_of,
    serves_a_connection_in_a_message,
    stopping,
)

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


def servers(built: Path, count: int, *flags: str) -> AbstractAsyncContextManager[Servers]:
    """A primary with so many servers, and where they listen; all of them end well."""
    command = ["node", str(built / "serve-http.js"), "--port", "0", *flags]
    return open_servers(command, count, lane="node")


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
        assert text in complaint(["node", str(built / "conformance.js")], environment)


# ---- the conformance actor ----


async def test_messages_both_ways(built: Path) -> None:
    async with the_actor(built) as (primary, worker):
        await messages_both_ways(primary, worker)
        await calls_given_up_end(worker)


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
        await handles_both_ways(worker, times=50)


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
            await answers_in_turn(worker, address, 20)
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
        await serves_a_connection_in_a_message(worker)


async def test_what_is_under_way_is_ended_before_it_stops(built: Path) -> None:
    """A request, and a client that has connected, and could not know that it is too late."""
    async with (
        servers(built, 1) as (primary, (worker,), address),
        await trio.open_tcp_stream(*address) as new,
        half_a_request(worker, address) as stream,
        stopping(primary, worker),
    ):
        await stream.send_all(b"there")
        assert (await page_of(stream)).endswith("request 1 of 10 bytes\n")
        await new.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await page_of(new)).endswith("request 2 of 0 bytes\n")
