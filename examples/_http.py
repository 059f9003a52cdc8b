"""HTTP for the examples: h11 over any Trio stream."""

from __future__ import annotations

import functools
import sys
from collections.abc import Awaitable, Callable, Sequence

import trio

try:
    import h11
except ImportError:
    sys.exit("this example speaks HTTP with h11: pip install h11")

Responder = Callable[[str], Awaitable[str]]  # the target of a request -> the text to answer


async def serve_http(
    listeners: Sequence[trio.abc.Listener[trio.abc.Stream]], respond: Responder
) -> None:
    await trio.serve_listeners(functools.partial(answer, respond), list(listeners))


async def answer(respond: Responder, stream: trio.abc.Stream) -> None:
    """Answer one request, then close: the next one is dealt to a worker anew."""
    connection = h11.Connection(h11.SERVER)
    async with stream:
        try:
            request = await next_event(connection, stream)
            if not isinstance(request, h11.Request):
                return  # the client connected and left
            while not isinstance(await next_event(connection, stream), h11.EndOfMessage):
                pass  # whatever it sends along is of no interest here
            body = (await respond(request.target.decode())).encode()
            headers = [("content-length", str(len(body))), ("connection", "close")]
            for event in h11.Response(status_code=200, headers=headers), h11.Data(data=body):
                await stream.send_all(connection.send(event) or b"")
        except (h11.RemoteProtocolError, trio.BrokenResourceError):
            pass  # no HTTP, or gone in the middle of it


async def next_event(connection: h11.Connection, stream: trio.abc.Stream) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(bytes(await stream.receive_some()))
    return event
