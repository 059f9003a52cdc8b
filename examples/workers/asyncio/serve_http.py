"""Serves HTTP on a port that the primary shares out, and talks to the primary meanwhile.

    python serve_http.py [PORT]     # started by a primary, as README.md shows

It takes these messages: "stats" is answered with what was served; ["socket", path] with a handle
on a pipe, at whose other end it writes the text of that page; ["echo", value] with the value;
anything else comes back. In the environment:

    MAX_CONNECTIONS  that are open at once, 64 without
    ACCESS_LOG       a file: the path of each request is appended before anything else is done
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys

from awp import Accepted, Handle, HandleKind, LogHandler, Message, Worker, run

_log = logging.getLogger("serve_http")
_FIRST_REQUEST_SECONDS = 5.0


class Server:
    """Counts what it serves.

    Attributes:
        served: requests so far.
    """

    def __init__(self, worker: Worker, access_log: str | None = None) -> None:
        self.served = 0
        self._worker = worker
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._access_log = None if access_log is None else os.open(access_log, flags, 0o600)

    def page(self, path: str) -> bytes:
        """What is under a path, as JSON."""
        said = {"worker": self._worker.id, "name": self._worker.name, "path": path}
        return json.dumps(said).encode() + b"\n"

    async def connection(self, accepted: Accepted) -> None:
        """Serve requests until the client closes, or the worker stops."""
        reader, writer = await accepted.open()
        try:
            if await self._request(reader, writer, is_first=True):
                while await self._request(reader, writer):
                    pass
        finally:
            writer.close()

    async def _request(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_first: bool = False
    ) -> bool:
        """One request and its answer; give whether another may follow."""
        waiting = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
        stopping = asyncio.ensure_future(self._worker.stopping.wait())
        await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if is_first and not waiting.done():  # who has just connected cannot know that we stop
            await asyncio.wait({waiting}, timeout=_FIRST_REQUEST_SECONDS)
        if not waiting.done():
            waiting.cancel()  # nothing of another request has come: close between two
            return False
        try:
            head = waiting.result().decode("latin-1")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return False
        line, _, fields = head.partition("\r\n")
        method, _, path = line.rpartition(" ")[0].partition(" ")
        if self._access_log is not None:
            os.write(self._access_log, f"{path}\n".encode("latin-1"))
        status = b"200 OK" if method == "GET" else b"405 Method Not Allowed"
        body = self.page(path)
        is_last = line.endswith(" HTTP/1.0") or "connection: close" in fields.lower()
        goes_on = not is_last and not self._worker.stopping.is_set()
        last = b"" if goes_on else b"Connection: close\r\n"
        writer.write(
            b"HTTP/1.1 %b\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n%b"
            % (status, last, len(body), body)
        )
        await writer.drain()
        self.served += 1
        return goes_on and method == "GET"

    async def message(self, message: Message) -> None:
        """Answer a message of the primary, or of another worker."""
        async with message:
            match message.body:
                case "stats":
                    message.reply({"served": self.served, "pid": os.getpid()})
                case ["socket", str(path)]:
                    message.reply(self._pipe(path))
                case ["echo", value]:
                    message.reply(value)
                case body:
                    message.reply(body)

    def _pipe(self, path: str) -> Handle:
        reading, writing = os.pipe()
        os.write(writing, self.page(path))
        os.close(writing)
        return Handle(reading, HandleKind.PIPE_READ)


async def main(worker: Worker) -> None:
    """Serve the port and the mailbox until told to stop."""
    logging.getLogger().addHandler(LogHandler(worker))
    logging.getLogger().setLevel(logging.INFO)
    server = Server(worker, os.environ.get("ACCESS_LOG"))
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    most = int(os.environ.get("MAX_CONNECTIONS", "64"))
    listener = await worker.listen(port, credit=most)
    serving = asyncio.ensure_future(listener.serve(server.connection))
    _log.info("listening on %s in mode %s", listener.address, listener.mode)
    worker.serving(address=listener.address)
    await worker.tell(None, {"listening": listener.address})
    async for message in worker:
        await server.message(message)
    await serving
    _log.info("served %d requests", server.served)


if __name__ == "__main__":
    run(main)
