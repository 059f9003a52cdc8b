"""Clients of the programs here."""

from __future__ import annotations

import json
import socket
import ssl
from contextlib import suppress
from typing import Any

import trio

from tests.program import PATIENCE

__all__ = ["exchange", "get", "get_twice", "read_all", "resumed"]


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    """Read to the end."""
    data = b""
    with trio.fail_after(PATIENCE):
        async for some in stream:
            data += some
    return data


async def exchange(address: int | str, data: bytes = b"") -> bytes:
    """Connect, send, say that this was all, and read to the end; "reset" if that is how it ends."""
    if isinstance(address, str):
        stream: Any = await trio.open_unix_socket(address)
    else:
        stream = await trio.open_tcp_stream("127.0.0.1", address)
    async with stream, trio.open_nursery() as nursery:
        try:
            if data:  # while the answer is read: the buffers between need not hold it all
                nursery.start_soon(_say, stream, data)
            return await read_all(stream)
        except trio.BrokenResourceError:
            return b"reset"
        finally:
            nursery.cancel_scope.cancel()


async def _say(stream: Any, data: bytes) -> None:
    with suppress(trio.BrokenResourceError):  # which the reader tells
        await stream.send_all(data)
        await stream.send_eof()


def _request(path: str, more: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode()


async def get(port: int, path: str = "/", context: ssl.SSLContext | None = None) -> str:
    """The body of an answer on a connection of its own."""
    stream: Any = await trio.open_tcp_stream("127.0.0.1", port)
    if context is not None:
        stream = trio.SSLStream(stream, context, server_hostname="localhost", https_compatible=True)
    async with stream:
        await stream.send_all(_request(path, "Connection: close\r\n"))
        head, _, body = (await read_all(stream)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        return body.decode()


async def get_twice(port: int) -> list[str]:
    """The bodies of two answers on one connection."""
    bodies = []
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        for path in ("/one", "/two"):
            await stream.send_all(_request(path))
            data = b""
            with trio.fail_after(PATIENCE):
                while b"Content-Length: " not in data or not data.endswith(path.encode()):
                    data += await stream.receive_some()
            bodies.append(data.partition(b"\r\n\r\n")[2].decode())
    return bodies


def resumed(port: int, certificate: str, times: int) -> list[dict[str, Any]]:
    """What a server tells on connections one after another that share a TLS session.

    In a thread of its own: the session of TLS 1.2 is at hand after the handshake.
    """
    context = ssl.create_default_context(cafile=certificate)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    session: ssl.SSLSession | None = None
    told = []
    for _ in range(times):
        with (
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as tls,
        ):
            session = tls.session
            tls.sendall(_request("/", "Connection: close\r\n"))
            data = b"".join(iter(lambda: tls.recv(4096), b""))
            told.append(json.loads(data.partition(b"\r\n\r\n")[2]))
    return told
