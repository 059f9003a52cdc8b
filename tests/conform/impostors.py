"""Programs that speak and are no workers: ``python -m tests.conform.impostors NAME``."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from typing import NoReturn

from tests.hostile.speech import GOODBYE, HELLO, READY, frame

UNIMPLEMENTED = 0x0C
CAPABILITIES = [
    "ack", "call", "frag", "handle", "handle.ack", "handle.head", "handle.send",
    "listen.handoff", "listen.shared", "log", "msg",
]  # fmt: skip


def channel() -> socket.socket:
    return socket.socket(fileno=int(os.environ["ACTORCLUSTER_CHANNEL"].removeprefix("fd:")))


def unimplemented() -> None:
    """Introduce itself, and understand nothing."""
    sock = channel()
    said = {"versions": [[1, 0]], "caps": CAPABILITIES, "limits": {}, "handles": []}
    sock.sendall(frame(HELLO, None, said) + frame(READY, None, {}))
    buffer = b""
    while data := sock.recv(65536):
        buffer += data
        while len(buffer) >= 16 and len(buffer) >= 16 + int.from_bytes(buffer[2:6], "big"):
            kind, number = buffer[7], int.from_bytes(buffer[12:16], "big")
            buffer = buffer[16 + int.from_bytes(buffer[2:6], "big") :]
            sock.sendall(frame(UNIMPLEMENTED, [kind], None, channel=number))


def replay(recording: str) -> NoReturn:
    """Say what a good worker once said, whatever it hears."""
    sock = channel()
    for step in json.loads(recording):
        if "send" in step:
            sock.sendall(bytes.fromhex(step["send"]))
        else:
            sock.recv(65536)
    while True:
        signal.pause()


def polite() -> None:
    """Say what level 0 says, in its order, without ever reading what for."""
    sock = channel()
    sock.sendall(frame(HELLO, None, {"versions": [[1, 0]]}))
    sock.recv(65536)
    sock.sendall(frame(READY, None, {}))
    sock.recv(65536)
    sock.sendall(frame(GOODBYE, None, {"recv": 0}))
    sock.shutdown(socket.SHUT_WR)
    while sock.recv(65536):
        pass


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
