"""The worker in examples/workers/go: its own tests, and its programs under our primary."""

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
from tests.samples.actor import calls_given_up_end, complaint, handles_both_ways, messages_both_ways
from tests.samples.builds import WORKERS, build_go, go
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

pytestmark = require("go")

SECONDS: Final = 60


@pytest.fixture(scope="module")
def built() -> Iterator[Path]:
    """The directory with the programs, built once for all tests here."""
    ensure("go")
    with TemporaryDirectory(prefix="ac-go-") as directory:
        yield build_go(Path(directory))


@asynccontextmanager
async def the_actor(built: Path, **settings: Any) -> AsyncIterator[tuple[Primary, Worker]]:
    with trio.fail_after(SECONDS):
        async with conformance_actor([str(built / "conformance")], **settings) as both:
            yield both


def servers(built: Path, count: int, *flags: str) -> AbstractAsyncContextManager[Servers]:
    """A primary with so many servers, and where they listen; all of them end well."""
    command = [str(built / "serve_http"), "-port", "0", *flags]
    return open_servers(command, count)


# ---- by itself ----


def test_format_vet_and_its_own_tests() -> None:
    """The protocol's vectors are among them. ``.ci/run`` has the race detector look on, too."""
    done = subprocess.run(
        ["gofmt", "-l", "."], check=False, cwd=WORKERS / "go", capture_output=True, text=True
    )
    assert ("", "") == (done.stdout, done.stderr)
    go("vet", "./...")
    go("test", "./...")


def test_it_says_so_when_it_is_no_worker(built: Path) -> None:
    for environment, text in (
        ({}, "not started as a worker"),
        ({"ACTORCLUSTER_CHANNEL": "fd:none"}, "of no use: fd:none"),
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


def test_the_kit_finds_nothing(built: Path) -> None:
    options = conform.Options(command=(str(built / "conformance"),), level=2, jobs=4, strict=True)
    report = conform.try_program(options)
    assert report.badge().startswith("L2 conformant: "), "\n".join(report.lines())


# ---- the server ----


@pytest.mark.parametrize("flags", [[], ["-shared"]], ids=["handoff", "shared"])
async def test_http(built: Path, flags: list[str]) -> None:
    """net/http serves our port as it is; the worker answers us, and gives us its log."""
    async with servers(built, 1, *flags) as (_, (worker,), address):
        await answers_in_turn(worker, address, 20)
        with (await worker.ask("log")).into_file() as log:
            log.seek(0)
            assert [b"GET", b"/x"] * 20 == [word for line in log for word in line.split()[1:]]
        with pytest.raises(RemoteError, match="nobody answers this"):
            await worker.ask("what?")


async def test_two_share_a_port_evenly(built: Path) -> None:
    async with servers(built, 2) as (_, workers, address):
        for _ in range(20):
            await get(address)
        assert [10, 10] == [await worker.ask("count") for worker in workers]


async def test_a_connection_in_a_message_is_served_too(built: Path) -> None:
    async with servers(built, 1) as (_, (worker,), _):
        await serves_a_connection_in_a_message(worker)


async def test_a_request_under_way_is_ended_before_it_stops(built: Path) -> None:
    async with (
        servers(built, 1) as (primary, (worker,), address),
        half_a_request(worker, address) as stream,
        stopping(primary, worker),
    ):
        await stream.send_all(b"there")
        assert (await page_of(stream)).endswith("request 1 of 10 bytes\n")
