"""Workers of somebody else: they speak the protocol's first level, byte for byte, and little else.

As a program, ``foreign.py HOW``: ``answers`` answers PING with PONG; ``silent`` never does; both
end at the end of the stream, or when they are told to stop.
"""

from __future__ import annotations

import os
import socket
import struct
import sys

HELLO = bytes.fromhex("95ce0000000fce01000000ce00000000c081a876657273696f6e7391920100")
READY = bytes.fromhex("95ce00000002ce03000000ce00000000c080")
GOODBYE = bytes.fromhex("95ce00000008ce04000000ce00000000c081a47265637600")
HEADER = struct.Struct("!BBIBBBHBI")
WELCOME, PING, PONG, STOP = 2, 6, 7, 13


def main(how: str) -> None:
    """Be one."""
    channel = socket.socket(fileno=int(os.environ["ACTORCLUSTER_CHANNEL"].partition(":")[2]))
    channel.sendall(HELLO)
    stream = channel.makefile("rb")
    while header := stream.read(HEADER.size):
        _, _, length, _, kind, *_ = HEADER.unpack(header)
        payload = stream.read(length)
        if kind == WELCOME:
            channel.sendall(READY)
        elif kind == PING and how == "answers":
            channel.sendall(header[:7] + bytes([PONG]) + header[8:] + payload)
        elif kind == STOP:
            channel.sendall(GOODBYE)
            return


if __name__ == "__main__":
    main(sys.argv[1])
