"""HTTP servers among the workers in other languages, and their clients."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

import actorcluster
from actorcluster import Primary, Worker, events

__all__ = [
    "Servers",
    "answers_in_turn",
    "get",
    "half_a_request",
    "open_servers",
    "page_of",
    "serves_a_connection_in_a_message",
    "stopping",
]

SECONDS: Final = 60

Servers = tuple[Primary, list[Worker], tuple[str, int]]
"""A primary with servers, and where they listen."""


@asynccontextmanager
async def open_servers(
    command: Sequence[str], count: int, **settings: Any
) -> AsyncIterator[Servers]:
    """So many with that command, which say of themselves where they listen; all end well."""
    settings = {"exec": tuple(command), **settings}
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
    """One connection, one request; gives the page."""
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    async with await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(request.encode())
        return await page_of(stream)


async def page_of(stream: trio.SocketStream) -> str:
    """The only answer on a connection, without its head."""
    head, _, page = b"".join([piece async for piece in stream]).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    return page.decode()


async def answers_in_turn(worker: Worker, address: tuple[str, int], times: int) -> None:
    """The only server answers so many requests, the first that it ever had."""
    who = f"hello from {worker.name}, process {worker.pid}"
    for number in range(1, times + 1):
        assert f"{who}, request {number} of 0 bytes\n" == await get(address)
    assert times == await worker.ask("count")


async def serves_a_connection_in_a_message(worker: Worker) -> None:
    """As it does those that came by its port; it is the first."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with await trio.open_tcp_stream(*server.getsockname()) as client:
            accepted, _ = server.accept()
            await worker.ask(None, accepted)
            await client.send_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert (await page_of(client)).endswith("request 1 of 0 bytes\n")


@asynccontextmanager
async def half_a_request(
    worker: Worker, address: tuple[str, int]
) -> AsyncIterator[trio.SocketStream]:
    """The first one of a server, which waits for the last five of ten bytes."""
    async with await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello")
        while 1 != await worker.ask("count"):  # noqa: ASYNC110 - another process's
            await trio.sleep(0.01)
        yield stream


@asynccontextmanager
async def stopping(primary: Primary, worker: Worker) -> AsyncIterator[None]:
    """Inside it has been told to stop, behind it has stopped."""
    async with trio.open_nursery() as nursery:
        with primary.events(events.Draining) as draining:
            nursery.start_soon(worker.disconnect, SECONDS)
            await anext(aiter(draining))
        yield
