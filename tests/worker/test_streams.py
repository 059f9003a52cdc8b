"""Our ends of a worker's standard streams, before and after its end."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from actorcluster import Child, Supervisor, Worker, events, open_primary
from actorcluster._worker.streams import Input, Output
from tests.e2e import actors
from tests.e2e.supervised import AT_ONCE

PATIENCE = 60

pytestmark = pytest.mark.no_leaks


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


# ---- what it writes ---------------------------------------------------------------------------


async def rest_of(stream: Output, size: int | None = None) -> bytes:
    data = b""
    while piece := await stream.receive_some(size):
        data += piece
    return data


async def test_what_was_not_read_can_be_read_later() -> None:
    reader, writer = os.pipe()
    stream = Output(reader)
    os.write(writer, b"some words" * 100)
    os.close(writer)
    before = open_files()
    stream.ended()
    assert before - 1 == open_files()
    assert b"some" == await stream.receive_some(4)
    assert (b" words" + b"some words" * 99, b"") == (
        await rest_of(stream, 7),
        await rest_of(stream),
    )
    await stream.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some()


async def test_it_is_read_when_it_ends() -> None:
    """Who reads goes on up to the end, and the pipe is closed then."""
    reader, writer = os.pipe()
    stream = Output(reader)
    got: list[bytes] = []

    async def read() -> None:
        got.append(await rest_of(stream))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        os.write(writer, b"first")
        stream.ended()
        os.write(writer, b"last")
        os.close(writer)
    assert [b"firstlast"] == got
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reader)


async def test_who_reads_gives_up() -> None:
    """The rest is still to be had."""
    reader, writer = os.pipe()
    stream = Output(reader)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.receive_some)
        await trio.testing.wait_all_tasks_blocked()
        stream.ended()
        nursery.cancel_scope.cancel()
    os.write(writer, b"words")
    os.close(writer)
    assert b"words" == await rest_of(stream)
    await stream.aclose()


async def test_somebody_else_still_writes() -> None:
    """The pipe stays open, and comes after what was there before."""
    reader, writer = os.pipe()
    stream = Output(reader)
    os.write(writer, b"before ")
    stream.ended()
    os.write(writer, b"after")
    os.close(writer)
    assert b"before after" == await rest_of(stream)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reader)


async def test_two_who_read() -> None:
    reader, writer = os.pipe()
    stream = Output(reader)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.receive_some)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await stream.receive_some()
        nursery.cancel_scope.cancel()
    with pytest.raises(ValueError, match="max_bytes must be"):
        await stream.receive_some(0)
    os.close(writer)
    stream.ended()
    with pytest.raises(ValueError, match="max_bytes must be"):
        await stream.receive_some(0)
    await stream.aclose()


# ---- what it reads ----------------------------------------------------------------------------

SENDS: list[Callable[[Input], Awaitable[None]]] = [
    lambda stream: stream.send_all(b"x"),
    lambda stream: stream.wait_send_all_might_not_block(),
]


async def test_nobody_reads_its_stdin_any_more() -> None:
    reader, writer = os.pipe()
    stream = Input(writer)
    await stream.wait_send_all_might_not_block()
    await stream.send_all(b"words")
    assert b"words" == os.read(reader, 10)
    os.close(reader)
    before = open_files()
    stream.ended()
    assert before - 1 == open_files()
    for send in SENDS:
        with pytest.raises(trio.BrokenResourceError):
            await send(stream)
    await stream.aclose()
    for send in SENDS:
        with pytest.raises(trio.ClosedResourceError):
            await send(stream)


async def test_somebody_else_reads_its_stdin() -> None:
    reader, writer = os.pipe()
    stream = Input(writer)
    stream.ended()
    await stream.send_all(b"words")
    assert b"words" == os.read(reader, 10)
    os.close(reader)
    with pytest.raises(trio.BrokenResourceError):
        await stream.send_all(b"words")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(writer)


async def test_it_ends_while_somebody_sends() -> None:
    reader, writer = os.pipe()
    stream = Input(writer)

    async def send() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(bytes(1_000_000))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        os.close(reader)
        stream.ended()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(writer)


# ---- many lives -------------------------------------------------------------------------------


async def test_descriptors_of_workers_that_have_ended() -> None:
    """However many there were, and whoever still has the worker can read what it said."""
    settings = {"stdio": ["pipe"] * 3}
    child = Child("a", actors.streams, args=("said",), backoff=AT_ONCE, settings=settings)
    tree = Supervisor(children=[child], max_restarts=1000, on_exhausted="park")
    seen: list[int] = []
    dead: list[Worker] = []
    with trio.fail_after(PATIENCE):
        async with open_primary(tree) as primary:
            with primary.events(events.Exit) as exits:
                while len(seen) < 40:
                    dead.append((await anext(exits)).worker)
                    seen.append(open_files())
    assert max(seen[20:]) <= max(seen[:20]) + 3
    for worker in dead:
        assert worker.stdout is not None
        assert (b"out: said", b"") == (
            await worker.stdout.receive_some(),
            await worker.stdout.receive_some(),
        )
