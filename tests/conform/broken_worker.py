"""A worker of level 0 that is wrong in one place: its PONG goes to channel 0."""

from __future__ import annotations

import os
import socket

from tests.hostile.speech import HELLO, PING, READY, WELCOME, frame

PONG = 7

if __name__ == "__main__":
    number = int(os.environ["ACTORCLUSTER_CHANNEL"].removeprefix("fd:"))
    sock = socket.socket(fileno=number)
    sock.sendall(frame(HELLO, None, {"versions": [[1, 0]]}))
    buffer = b""
    while data := sock.recv(65536):
        buffer += data
        while len(buffer) >= 16 and len(buffer) >= 16 + int.from_bytes(buffer[2:6], "big"):
            end = 16 + int.from_bytes(buffer[2:6], "big")
            kind, body, buffer = buffer[7], buffer[16:end], buffer[end:]
            if kind == WELCOME:
                sock.sendall(frame(READY, None, {}))
            elif kind == PING:
                sock.sendall(frame(PONG, body=body))
