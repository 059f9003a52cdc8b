"""A worker that listens, and forgets HANDLE_ACK: ``python -m tests.hostile.forgetful WHAT PORT``.

Connections it takes and closes, or gives back: ``takes``, ``rejects``.
"""

from __future__ import annotations

import array
import os
import socket
import sys

from tests.hostile.speech import CONN_REPLY, LISTEN, Speaker, frame

LISTENING, CONN = 0x11, 0x12
HEADER = 16
CHANNEL = 1


def main() -> None:
    what, port = sys.argv[1:]
    speaker = Speaker()
    speaker.about = {"handles": ["tcp-socket"]}
    speaker.reach("active")
    asked = {"transport": "tcp", "host": "127.0.0.1", "port": int(port), "credit": 1000}
    speaker.say(frame(LISTEN, None, {**asked, "modes": ["handoff"]}, channel=CHANNEL))
    speaker.hear(LISTENING)
    speaker.tell_test("listens")
    heard = b""
    handed = 0
    while True:
        data, fds = _receive(speaker.socket)
        heard += data
        while len(heard) >= HEADER:
            size = HEADER + int.from_bytes(heard[2:6], "big")
            if len(heard) < size:
                break
            kind, nfds = heard[7], heard[9]
            heard = heard[size:]
            if kind == CONN:
                numbers = list(range(handed + 1, handed + nfds + 1))
                handed += nfds
                envelope = [handed, numbers] if what == "rejects" else [handed]
                speaker.say(frame(CONN_REPLY, envelope, channel=CHANNEL))
        for fd in fds:
            os.close(fd)


def _receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """What one read gives, and descriptors that came with it."""
    data, ancillary, _, _ = sock.recvmsg(65536, socket.CMSG_SPACE(253 * 4))
    fds = array.array("i")
    for _, _, rights in ancillary:
        fds.frombytes(rights)
    return data, list(fds)


if __name__ == "__main__":
    main()
