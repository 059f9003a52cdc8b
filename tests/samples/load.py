"""Loads for a worker in any language: the conformance actor of the specification's annex A."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

import actorcluster
from actorcluster import Worker

CREDIT = 16
AT_ONCE = 8
BLOB = 256 * 1024
MIB = 1024 * 1024


@asynccontextmanager
async def conformance_actor(
    command: Sequence[str], **settings: Any
) -> AsyncIterator[tuple[actorcluster.Primary, Worker]]:
    """A primary with one worker, which is that command."""
    async with actorcluster.open_primary() as primary:
        yield (
            primary,
            await primary.fork(
                settings={"exec": list(command), **settings},
                env={"ACTORCLUSTER_CONFORMANCE": "1"},
                name="conformance",
            ),
        )


def descriptors(worker: Worker) -> int:
    """How many the process has open."""
    return len(os.listdir(f"/proc/{worker.pid}/fd"))


def peak(worker: Worker) -> int:
    """The most memory that the process ever had, in bytes."""
    status = Path(f"/proc/{worker.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


async def visit(address: tuple[str, int], text: bytes) -> bytes:
    """Say something to the echo of that port; give the line that it says first."""
    async with await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(text)
        await stream.send_eof()
        said = b"".join([piece async for piece in stream])
    line, _, rest = said.partition(b"\n")
    assert text == rest
    return line


@attrs.frozen
class HandOffs:
    """Descriptors before and after hand-offs, and the worker's id as it said it."""

    before: int
    after: int
    said: frozenset[bytes]


async def hand_offs(worker: Worker, count: int, mode: str = "handoff") -> HandOffs:
    """Let a worker serve so many connections, a few at a time."""
    request = {"transport": "tcp", "host": "127.0.0.1", "port": 0}
    request |= {"modes": [mode], "credit": CREDIT}
    host, port = await worker.ask(["listen", request])
    said = set()

    async def visitor(visits: int) -> None:
        for number in range(visits):
            said.add(await visit((host, port), b"hello %d" % number))

    await visitor(1)
    before = descriptors(worker)
    async with trio.open_nursery() as nursery:
        for place in range(AT_ONCE):
            nursery.start_soon(visitor, (count + place) // AT_ONCE)
    after = await settled(worker, before)
    assert 1 == await worker.ask(["unlisten"])
    return HandOffs(before, after, frozenset(said))


async def settled(worker: Worker, before: int) -> int:
    """How many descriptors are open, once they are as few as before, or there is no more hope.

    A client sees the end of a connection before the worker has closed it, and a handle that was
    sent is kept until it is acknowledged.
    """
    with trio.move_on_after(10):
        while descriptors(worker) > before:  # noqa: ASYNC110 - another process's
            await trio.sleep(0.01)
    return descriptors(worker)


async def overload(worker: Worker, times: int) -> tuple[int, int]:
    """Send so many windows of large messages and of calls; give (answers, peak memory)."""
    window = 4 * MIB
    answered = 0
    blob = bytes(range(256)) * (BLOB // 256)

    async def ask(number: int) -> None:
        nonlocal answered
        echoed = await worker.ask(["echo", [number, blob]])
        assert [number, blob] == echoed
        answered += 1

    async with trio.open_nursery() as nursery:
        for number in range(times * window // BLOB):
            nursery.start_soon(ask, number)
            nursery.start_soon(worker.send, ["echo", blob])
    large = blob * (2 * window // BLOB)
    assert large == await worker.ask(["echo", large])
    return answered, peak(worker)
