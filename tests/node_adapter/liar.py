"""A worker that says it is a Node program, and then what no Node program says.

It is run as a program of its own: ``liar.py what``.
"""

from __future__ import annotations

import array
import json
import os
import socket
import sys
import time
from collections.abc import Callable


def line(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"


def cluster(**message: object) -> bytes:
    return line({"cmd": "NODE_CLUSTER", "seq": 7, **message})


def send(data: bytes, *fds: int) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    while data:  # the first bytes have the descriptors
        data = data[channel.sendmsg([data], rights) :]
        rights = []


def long_line() -> None:
    piece = b" " * 1_000_000
    for _ in range(100):
        send(piece)


HANDLE = line({"cmd": "NODE_HANDLE", "type": "net.Socket", "msg": "take"})
QUERY = {"act": "queryServer", "address": "127.0.0.1", "port": 0, "addressType": 4, "index": 0}
SECRET = "5ec2e7" * 8

LIES: dict[str, Callable[[], object]] = {
    "malformed": lambda: send(b'{"ticketKeys":"' + SECRET.encode() + b"\n"),
    "long": long_line,
    "act": lambda: send(cluster(act="dance")),
    "ack": lambda: send(cluster(ack=5, accepted=True)),
    "handle_ack": lambda: send(line({"cmd": "NODE_HANDLE_ACK"})),
    "two": lambda: send(HANDLE, 0, 1),
    "stray": lambda: send(line("plain"), 0),
    "key": lambda: send(cluster(act="close", key="1:2:3")),
    "port": lambda: send(cluster(**{**QUERY, "port": SECRET})),
    "keys": lambda: send(cluster(**QUERY, data={"ticketKeys": SECRET}) + b"nonsense\n"),
    "utf8": lambda: send(b'"\xff\xfe"\n'),
    "deep": lambda: send(b"[" * 90_000 + b"\n"),
    "deep_data": lambda: send(
        cluster(**QUERY, data="DEEP").replace(b'"DEEP"', b"[" * 600 + b"1e400" + b"]" * 600)
    ),
    "deep_act": lambda: send(cluster(act="DEEP").replace(b'"DEEP"', b"[" * 120 + b"]" * 120)),
    "deep_message": lambda: send(b"[" * 100 + b"]" * 100 + b"\n"),
    "deeper_message": lambda: send(b"[" * 900 + b"]" * 900 + b"\n"),
}


if __name__ == "__main__":
    channel = socket.socket(fileno=int(os.environ["NODE_CHANNEL_FD"]))
    channel.setblocking(True)
    send(cluster(act="online"))
    try:
        LIES[sys.argv[1]]()
        if sys.argv[1] != "long":
            time.sleep(600)  # whoever hears it ends this
    except BrokenPipeError:
        time.sleep(600)
