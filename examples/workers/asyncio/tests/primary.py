"""A primary of a few lines, to start a worker and to talk to it byte by byte."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack

from awp.awp_v1 import HEADER_SIZE, Kind
from awp.framing import header
from awp.speaking import L2
from awp.values import NIL

PLACE = Path(__file__).parents[1]
SECONDS = 30.0


class Line:
    """The primary's end of the connection to one worker.

    Attributes:
        process: the worker.
        hello: what it said first.
    """

    def __init__(self, sock: socket.socket, process: subprocess.Popen[str]) -> None:
        self.sock = sock
        self.process = process
        self._buffer = b""
        sock.settimeout(SECONDS)
        kind, _, body = self.frame()
        assert kind == Kind.HELLO, kind
        self.hello: dict[str, Any] = body[1]
        welcome = {"version": [1, 0], "worker": 7, "cluster": bytes(16), "caps": list(L2)}
        welcome |= {"handles": self.hello["handles"], "name": "w"}
        self.say(Kind.WELCOME, 0, None, welcome)
        assert self.frame()[0] == Kind.READY

    def say(self, kind: int, channel: int, envelope: Any, payload: Any, fds: Any = ()) -> None:
        body = msgpack.packb(envelope) + msgpack.packb(payload)
        data = header(kind, 0, len(fds), channel, len(body)) + body
        socket.send_fds(self.sock, [data], list(fds)) if fds else self.sock.sendall(data)

    def frame(self) -> tuple[int, int, list[Any]]:
        """The next frame: kind, channel, and what is in its body."""
        while True:
            if len(self._buffer) >= HEADER_SIZE:
                end = HEADER_SIZE + int.from_bytes(self._buffer[2:6], "big")
                if len(self._buffer) >= end:
                    data, self._buffer = self._buffer[:end], self._buffer[end:]
                    unpacker = msgpack.Unpacker(strict_map_key=False)
                    unpacker.feed(data[HEADER_SIZE:])
                    return data[7], int.from_bytes(data[12:16], "big"), list(unpacker)
            more = self.sock.recv(65536)
            if not more:
                raise EOFError
            self._buffer += more

    def until(self, kind: int) -> tuple[int, list[Any]]:
        """The next frame of that kind: channel, and what is in its body."""
        while True:
            found, channel, body = self.frame()
            if found == kind:
                return channel, body

    def ask(self, channel: int, body: Any) -> Any:
        """A call's answer, or its error map."""
        self.say(Kind.CALL, channel, None, body)
        while True:
            kind, found, said = self.frame()
            if found == channel and kind in (Kind.REPLY, Kind.ERROR):
                return said[1]


@contextmanager
def started(*arguments: str) -> Iterator[Line]:
    """A worker: what follows `python`."""
    ours, theirs = socket.socketpair()
    environ = os.environ | {
        "ACTORCLUSTER_CHANNEL": f"fd:{theirs.fileno()}",
        "ACTORCLUSTER_WORKER_ID": "7",
        "ACTORCLUSTER_LIMITS": "window=131072 nonsense=x",
        "PYTHONPATH": str(PLACE),
    }
    with subprocess.Popen(
        [sys.executable, *arguments],
        env=environ,
        pass_fds=[theirs.fileno()],
        text=True,
        stdout=subprocess.PIPE,
    ) as process:
        theirs.close()
        try:
            with ours:
                yield Line(ours, process)
                process.wait(SECONDS)
        finally:
            process.kill()


assert NIL == b"\xc0"
