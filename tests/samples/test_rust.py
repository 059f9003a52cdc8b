"""The worker in examples/workers/rust: its own tests, and its programs under our primary."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
import trio

from actorcluster import Primary, RemoteError, Worker, conform
from tests.require import ensure, require
from tests.samples.actor import (
    calls_given_up_end,
    complaint,
    handles_both_ways,
    messages_both_ways,
    small_messages,
)
from tests.samples.builds import WORKERS, build_rust, cargo
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

pytestmark = require("rust")

SECONDS: Final = 60


@pytest.fixture(scope="module")
def target() -> Iterator[Path]:
    """What the compiler writes, for all tests here."""
    ensure("rust")
    with TemporaryDirectory(prefix="ac-rust-") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def built(target: Path) -> Path:
    """The directory with the programs."""
    return build_rust(target)


@asynccontextmanager
async def the_actor(built: Path, **settings: Any) -> AsyncIterator[tuple[Primary, Worker]]:
    with trio.fail_after(SECONDS):
        async with conformance_actor([str(built / "conformance")], **settings) as both:
            yield both
        assert 0 == (await both[1].wait()).code


def servers(built: Path, count: int, *flags: str) -> AbstractAsyncContextManager[Servers]:
    """A primary with so many servers, and where they listen; all of them end well."""
    command = [str(built / "serve_http"), "--port", "0", *flags]
    return open_servers(command, count)


# ---- by itself ----


def test_format_lints_and_its_own_tests(target: Path) -> None:
    """The protocol's vectors are among them."""
    done = subprocess.run(
        ["cargo", "fmt", "--check"],
        check=False,
        cwd=WORKERS / "rust",
        capture_output=True,
        text=True,
    )
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    assert "" == cargo(target, "clippy", "--all-targets", "--", "-D", "warnings")
    assert "test result: ok" in cargo(target, "test", "--lib")


def test_it_says_so_when_it_is_no_worker(built: Path) -> None:
    for environment, text in (
        ({}, "not started as a worker"),
        ({"ACTORCLUSTER_CHANNEL": "fd:none"}, "of no use: fd:none"),
        ({"ACTORCLUSTER_CHANNEL": "fd:1"}, "of no use: fd:1"),
    ):
        assert text in complaint([str(built / "conformance")], environment)


# ---- the conformance actor ----


@pytest.mark.parametrize("channel", ["fd", "unix"])
async def test_messages_both_ways(built: Path, channel: str) -> None:
    async with the_actor(built, channel=channel) as (primary, worker):
        await messages_both_ways(primary, worker)


async def test_a_call_that_is_given_up_ends(built: Path) -> None:
    async with the_actor(built) as (_, worker):
        await calls_given_up_end(worker)


async def test_handles_both_ways(built: Path) -> None:
    async with the_actor(built) as (_, worker):
        await handles_both_ways(worker, times=100)


@pytest.mark.parametrize("mode", ["handoff", "shared"])
async def test_hand_offs_leave_nothing(built: Path, mode: str) -> None:
    """A tenth of ``python -m tests.samples``."""
    async with the_actor(built) as (_, worker):
        found = await hand_offs(worker, 1000, mode)
        assert (found.before, {b"1"}) == (found.after, set(found.said))


async def test_overload(built: Path) -> None:
    async with the_actor(built) as (_, worker):
        answered, memory = await overload(worker, 10)
        assert 160 == answered
        assert memory < 200 * 2**20


async def test_ten_times_its_room_in_small_messages(built: Path) -> None:
    async with the_actor(built, mailbox_size=64 * 1024) as (primary, worker):
        await small_messages(primary, worker)


def test_the_kit_finds_nothing(built: Path) -> None:
    command = (str(built / "conformance"),)
    options = conform.Options(command=command, level=2, jobs=4, strict=True, timeout=SECONDS)
    report = conform.try_program(options)
    assert report.badge().startswith("L2 conformant: "), "\n".join(report.lines())


# ---- the server ----


@pytest.mark.parametrize("flags", [[], ["--shared"]], ids=["handoff", "shared"])
async def test_http(built: Path, flags: list[str]) -> None:
    """It serves our port, answers us, and gives us its log."""
    async with servers(built, 1, *flags) as (_, (worker,), address):
        await answers_in_turn(worker, address, 20)
        with (await worker.ask("log")).into_file() as log:
            log.seek(0)
            assert [b"GET", b"/x"] * 20 == [word for line in log for word in line.split()[1:]]
        with pytest.raises(RemoteError, match="nobody answers this"):
            await worker.ask("what?")


async def test_a_connection_is_kept_for_the_next_request(built: Path) -> None:
    """Bodies in chunks among them; what is broken ends the connection."""
    post = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    async with servers(built, 1) as (_, _, address):
        async with await trio.open_tcp_stream(*address) as stream:
            await stream.send_all(post * 2 + b"nonsense\r\n\r\n")
            said = b"".join([piece async for piece in stream]).split(b"HTTP/1.1 ")[1:]
    assert [b"200", b"200", b"400"] == [page[:3] for page in said]
    assert all(page.endswith(b" of 3 bytes\n") for page in said[:2])


async def test_two_share_a_port_evenly(built: Path) -> None:
    async with servers(built, 2) as (_, workers, address):
        for _ in range(20):
            await get(address)
        assert [10, 10] == [await worker.ask("count") for worker in workers]


async def test_a_connection_in_a_message_is_served_too(built: Path) -> None:
    async with servers(built, 1) as (_, (worker,), _):
        await serves_a_connection_in_a_message(worker)


async def test_who_has_connected_may_still_ask_when_it_is_told_to_stop(built: Path) -> None:
    async with servers(built, 1) as (primary, _, address):
        idle, fresh = [await trio.open_tcp_stream(*address) for _ in range(2)]
        await idle.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in await idle.receive_some()
        while primary.statistics().ports[0].unacknowledged:  # noqa: ASYNC110 - another process's
            await trio.sleep(0.01)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(primary.disconnect)
            while primary.statistics().ports[0].workers:  # noqa: ASYNC110 - it has heard STOP
                await trio.sleep(0.01)
            await fresh.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert "hello from" in await page_of(fresh)
        for stream in (idle, fresh):
            await stream.aclose()


async def test_a_request_under_way_is_ended_before_it_stops(built: Path) -> None:
    async with (
        servers(built, 1) as (primary, (worker,), address),
        half_a_request(worker, address) as stream,
        stopping(primary, worker),
    ):
        await stream.send_all(b"there")
        assert (await page_of(stream)).endswith("request 1 of 10 bytes\n")
