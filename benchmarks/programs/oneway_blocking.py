"""One-way messages with blocking calls and msgpack alone: no loop of events, and nobody else.

The least that long messages ask of Python: the kernel copies each in and out, msgpack as well.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
from typing import Any, Final

import msgpack

from benchmarks.programs.common import Arguments, arguments, now, say

_LENGTH: Final = struct.Struct(">I")
_HEADS: Final = 64
"""Bytes that a message takes beside its data, at most."""


class BlockingPipe:
    """One end: the length of each message, then the message."""

    def __init__(self, end: socket.socket, longest: int) -> None:
        self._end = end
        self._packer = msgpack.Packer(autoreset=False, buf_size=longest)
        self._buffer = memoryview(bytearray(longest))

    def send(self, body: Any) -> None:
        """Send one message."""
        self._packer.pack(body)
        with self._packer.getbuffer() as packed:
            size = len(packed)
            sent = self._end.sendmsg([_LENGTH.pack(size), packed]) - _LENGTH.size
            if sent < size:
                self._end.sendall(packed[sent:])
        self._packer.reset()

    def receive(self) -> Any:
        """Wait for a message."""
        (size,) = _LENGTH.unpack(self._end.recv(_LENGTH.size, socket.MSG_WAITALL))
        with self._buffer[:size] as data:
            self._end.recv_into(data, 0, socket.MSG_WAITALL)
            return msgpack.unpackb(data)


def send_for(pipe: BlockingPipe, seconds: float, data: str | bytes, chunk: int) -> None:
    """Send for so long, looking at the clock once in a chunk; then say how many it were."""
    sent, until = 0, now() + seconds
    while now() < until:
        for _ in range(chunk):
            pipe.send({"n": sent, "data": data})
            sent += 1
    pipe.send({"end": sent})


def receive_all(pipe: BlockingPipe) -> dict[str, Any]:
    """Look at every message until the one that says how many were sent."""
    received = checksum = 0
    while True:
        body = pipe.receive()
        if "end" in body:
            return {"sent": body["end"], "received": received, "checksum": checksum}
        received += 1
        checksum += body["n"] + len(body["data"])


def worker(pipe: BlockingPipe, data: str | bytes, chunk: int, *, to_worker: bool) -> None:
    """Receive all and say what it was, or send for as long as the primary says; and again."""
    while True:
        if to_worker:
            pipe.send(receive_all(pipe))
        else:
            send_for(pipe, pipe.receive(), data, chunk)


def main(given: Arguments) -> None:
    data, chunk = given.data(), given.whole("chunk", 256)
    to_worker = given.text("direction", "to_worker") == "to_worker"
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1024 * 1024)  # as ours has
    longest = len(data) + _HEADS
    pid = os.fork()
    if not pid:
        ours.close()
        worker(BlockingPipe(theirs, longest), data, chunk, to_worker=to_worker)
    theirs.close()
    pipe = BlockingPipe(ours, longest)
    result: dict[str, Any] = {}
    for seconds in given.phases():
        started = now()
        if to_worker:
            send_for(pipe, seconds, data, chunk)
            result = pipe.receive()
        else:
            pipe.send(seconds)
            result = receive_all(pipe)
        result["seconds"] = now() - started
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    say(**result)


if __name__ == "__main__":
    main(arguments())
