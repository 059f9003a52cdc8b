"""The worker in examples/workers/c, under the sanitizers: by itself, the kit, a primary of ours."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import trio

from actorcluster import Primary, Worker, conform, open_primary
from tests.require import ensure, require
from tests.samples.actor import handles_both_ways, messages_both_ways, small_messages
from tests.samples.builds import build_c
from tests.samples.load import conformance_actor, hand_offs, overload

pytestmark = require("gcc")

SECONDS = 60.0


@pytest.fixture(scope="module")
def programs() -> Iterator[Path]:
    """Built once for all tests here."""
    ensure("gcc")
    with TemporaryDirectory(prefix="ac-c-") as directory:
        yield build_c(Path(directory), sanitized=True)


@pytest.mark.parametrize("name", ["test_mp", "test_awp", "test_fuzz"])
def test_its_own_tests_pass(programs: Path, name: str) -> None:
    done = subprocess.run(
        [programs / name], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    assert (0, f"{name}: all well\n", "") == (done.returncode, done.stdout, done.stderr)


def test_the_kit_finds_no_fault_and_misses_nothing(programs: Path) -> None:
    options = conform.Options(command=(str(programs / "conformance"),), level=2, timeout=SECONDS)
    report = conform.try_program(options)
    assert 0 == report.exit_status, "\n".join(report.lines())


@asynccontextmanager
async def the_actor(programs: Path, **settings: Any) -> AsyncIterator[tuple[Primary, Worker]]:
    with trio.fail_after(SECONDS):
        async with conformance_actor([str(programs / "conformance")], **settings) as both:
            yield both
        assert 0 == (await both[1].wait()).code


@pytest.mark.parametrize("channel", ["fd", "unix"])
async def test_messages_both_ways(programs: Path, channel: str) -> None:
    async with the_actor(programs, channel=channel) as (primary, worker):
        await messages_both_ways(primary, worker)


async def test_handles_both_ways(programs: Path) -> None:
    async with the_actor(programs) as (_, worker):
        await handles_both_ways(worker)


@pytest.mark.parametrize("mode", ["handoff", "shared"])
async def test_hand_offs_leave_nothing(programs: Path, mode: str) -> None:
    """A short form of ``python -m tests.samples``."""
    async with the_actor(programs) as (_, worker):
        found = await hand_offs(worker, 200, mode)
        assert (found.before, {b"1"}) == (found.after, set(found.said))


async def test_overload(programs: Path) -> None:
    async with the_actor(programs) as (_, worker):
        answered, memory = await overload(worker, 10)
        assert 160 == answered
        assert memory < 400 * 2**20


async def test_ten_times_its_room_in_small_messages(programs: Path) -> None:
    async with the_actor(programs, mailbox_size=64 * 1024) as (primary, worker):
        await small_messages(primary, worker)


# ---- the HTTP server --------------------------------------------------------------------------


@asynccontextmanager
async def servers(programs: Path, names: str) -> AsyncIterator[tuple[Primary, int, list[Worker]]]:
    """One for each letter, and the port on which they all listen."""
    settings: dict[str, Any] = {"exec": (str(programs / "serve_http"), "0")}
    with trio.fail_after(SECONDS):
        async with open_primary() as primary:
            workers = [await primary.fork(None, name=name, settings=settings) for name in names]
            port = 0
            for _ in workers:
                with await primary.mailbox.receive() as message:
                    said, (_, port) = message.body
                    assert "listening" == said
            yield primary, port, workers
        assert {0} == {(await worker.wait()).code for worker in workers}


async def get(port: int, path: str = "/") -> str:
    """One connection, one request; what the server says until it closes."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return b"".join([piece async for piece in stream]).decode()


async def test_servers_share_a_port(programs: Path) -> None:
    async with servers(programs, "ab") as (_, port, workers):
        said = [await get(port) for _ in range(10)]
        for worker in workers:
            assert 5 == sum(f"hello from {worker.name}," in page for page in said)
            assert {"served": 5, "open": 0} == await worker.ask("stats")


async def test_a_connection_is_passed_on_with_what_was_read_of_it(programs: Path) -> None:
    async with servers(programs, "abc") as (_, port, _):
        for name in "cabcab":
            assert f"hello from {name}," in await get(port, f"/pass/{name}")


async def test_a_connection_for_nobody_is_closed(programs: Path) -> None:
    async with servers(programs, "a") as (_, port, _):
        assert "" == await get(port, "/pass/z")
        assert "hello from a," in await get(port)


async def test_who_is_told_to_stop_closes_what_is_idle(programs: Path) -> None:
    async with servers(programs, "a") as (primary, port, (worker,)):
        idle = await trio.open_tcp_stream("127.0.0.1", port)
        await idle.send_all(b"GET / HTTP/1.1\r\n\r\nGET / HT")
        assert b"keep-alive" in await idle.receive_some()
        await primary.disconnect()
        assert b"" == await idle.receive_some()
        await idle.aclose()
        assert "shutdown" == (await worker.wait()).reason


async def test_who_has_connected_may_still_ask_when_it_is_told_to_stop(programs: Path) -> None:
    """For a while: somebody who has nothing to say in it is closed."""
    async with servers(programs, "a") as (primary, port, _):
        streams = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(3)]
        idle, fresh, silent = streams
        await idle.send_all(b"GET / HTTP/1.1\r\n\r\n")
        assert b"keep-alive" in await idle.receive_some()
        while primary.statistics().ports[0].unacknowledged:  # noqa: ASYNC110 - another process's
            await trio.sleep(0.01)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(primary.disconnect)
            assert b"" == await idle.receive_some()
            await fresh.send_all(b"GET / HTTP/1.1\r\n\r\n")
            assert b"hello from a," in b"".join([piece async for piece in fresh])
            assert b"" == await silent.receive_some()
        for stream in streams:
            await stream.aclose()
