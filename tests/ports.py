"""Ports of 127.0.0.1 for those who have to know one before anybody binds it."""

from __future__ import annotations

import random
import socket
from pathlib import Path

__all__ = ["free_port"]

_LOWEST = 10_000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port that nobody has, and that the kernel gives to nobody who does not name it.

    One that the kernel has just given and taken back, it may give to the tests that run beside
    these before it is used here.
    """
    first = int(_RANGE.read_text().split()[0])
    numbers = random.SystemRandom()  # the other may be seeded, and alike in each run
    while True:
        port = numbers.randrange(_LOWEST, first) if first > _LOWEST else 0
        with socket.socket(socket.AF_INET, kind) as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(sock.getsockname()[1])
