"""The worker in examples/workers/asyncio, without our package and Trio, under our primary."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

import actorcluster
from actorcluster import Primary, Worker, conform
from tests.program import ROOT
from tests.samples import serving
from tests.samples.actor import calls_given_up_end, handles_both_ways, messages_both_ways
from tests.samples.load import conformance_actor, hand_offs, overload

SECONDS = 60
PLACE = ROOT / "examples/workers/asyncio"
CONFORMANCE = [sys.executable, str(PLACE / "conformance.py")]
SERVE_HTTP = [sys.executable, str(PLACE / "serve_http.py")]


@pytest.fixture
async def primary() -> AsyncIterator[Primary]:
    with trio.fail_after(SECONDS):
        async with actorcluster.open_primary() as primary:
            yield primary


@asynccontextmanager
async def the_actor(**settings: Any) -> AsyncIterator[tuple[Primary, Worker]]:
    with trio.fail_after(SECONDS):
        async with conformance_actor(CONFORMANCE, **settings) as both:
            yield both


def test_the_kit_finds_no_fault_and_misses_nothing() -> None:
    options = conform.Options(
        command=tuple(CONFORMANCE), level=2, jobs=4, timeout=SECONDS, preload=("asyncio", "awp")
    )
    report = conform.try_program(options)
    assert 0 == report.exit_status, "\n".join(report.lines())
    assert report.badge().startswith("L2 conformant: ")


async def get(address: tuple[str, int], path: str) -> Any:
    return json.loads(await serving.get(address, path))


@pytest.mark.parametrize("channel", ["fd", "unix"])
async def test_messages_both_ways(channel: str) -> None:
    async with the_actor(channel=channel) as (primary, worker):
        await messages_both_ways(primary, worker)
        await calls_given_up_end(worker)


async def test_handles_both_ways() -> None:
    async with the_actor() as (_, worker):
        await handles_both_ways(worker)


@pytest.mark.parametrize("mode", ["handoff", "shared"])
async def test_hand_offs_leave_nothing(mode: str) -> None:
    """A short form of ``python -m tests.samples``."""
    async with the_actor() as (_, worker):
        found = await hand_offs(worker, 100, mode)
        assert (found.before, {b"1"}) == (found.after, set(found.said))


async def test_overload() -> None:
    async with the_actor() as (_, worker):
        answered, memory = await overload(worker, 10)
        assert 160 == answered
        assert memory < 400 * 2**20


async def test_two_serve_http(primary: Primary, caplog: pytest.LogCaptureFixture) -> None:
    """They share a port with each other; what they log is written down here; they stop in time."""
    caplog.set_level(logging.INFO)
    workers = [await primary.fork(settings={"exec": SERVE_HTTP}) for _ in range(2)]
    addresses = []
    for _ in workers:
        with await primary.mailbox.receive() as message:
            addresses.append(message.body["listening"])
    assert addresses[0] == addresses[1]
    pages = [await get(addresses[0], f"/{number}") for number in range(10)]
    assert [f"/{number}" for number in range(10)] == [page["path"] for page in pages]
    served = [sum(page["worker"] == one.id for page in pages) for one in workers]
    assert 10 == sum(served)
    assert all(served)  # in turn, but for one that has not said yet that it is free again
    for worker, count in zip(workers, served, strict=True):
        assert {"served": count, "pid": worker.pid} == await worker.ask("stats")
        assert {"x": 1} == await worker.ask({"x": 1})
        handle = await worker.ask(["socket", "/pipe"])
        with handle.into_file() as file:
            assert "/pipe" == json.loads(file.read())["path"]
    fresh = [await trio.open_tcp_stream(*addresses[0]) for _ in workers]  # and nothing asked yet
    kept = await trio.open_tcp_stream(*addresses[0])
    await kept.send_all(b"GET / HTTP/1.1\r\n\r\n")
    assert (await kept.receive_some()).startswith(b"HTTP/1.1 200 OK\r\n")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(primary.disconnect)
        assert b"" == await kept.receive_some()
        for stream in fresh:
            await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
            assert b"Connection: close" in b"".join([piece async for piece in stream])
    assert ["shutdown", "shutdown"] == [(await worker.wait()).reason for worker in workers]
    for stream in (kept, *fresh):
        await stream.aclose()
    said = [record.getMessage() for record in caplog.records]
    counts = [int(found[1]) for text in said if (found := re.search(r"served (\d+) req", text))]
    assert 13 == sum(counts)


async def test_killed() -> None:
    async with the_actor() as (_, worker):
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(actorcluster.PeerClosed):
                    await worker.ask(["sleep", 60_000])

            nursery.start_soon(ask)
            assert 0 == await worker.ask(["cancel_state"])
            worker.kill("SIGKILL")
        assert "SIGKILL" == (await worker.wait()).signal


async def test_told_to_exit() -> None:
    async with the_actor() as (_, worker):
        with pytest.raises(actorcluster.PeerClosed):
            await worker.ask(["exit", 3])
        assert 3 == (await worker.wait()).code


async def test_stops_at_once_when_it_is_idle(primary: Primary) -> None:
    worker = await primary.fork(settings={"exec": CONFORMANCE})
    await worker.disconnect()
    found = await worker.wait()
    assert (0, "shutdown") == (found.code, found.reason)


def test_by_itself() -> None:
    """Its own tests, where neither our package nor Trio can be imported."""
    forbidden = "import sys; sys.modules.update(dict.fromkeys(('actorcluster', 'trio')))"
    code = f"{forbidden}; import unittest; unittest.main('tests.test_process', argv=['x', 'Talks'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        cwd=PLACE,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert 0 == done.returncode, done.stderr
    assert "\nOK" in done.stderr
