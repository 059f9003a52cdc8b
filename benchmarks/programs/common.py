"""What the Python programs share: their arguments, what they send, the line they print."""

from __future__ import annotations

import contextlib
import json
import math
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\nhello world\n"
"""What every server answers; ``common.js`` has the same bytes."""


class Arguments:
    """The ``name=value`` arguments of this program.

    Attributes:
        argv: as they were given, to be passed on to a worker.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self.argv = list(argv)
        self._given = dict(argument.split("=", 1) for argument in argv)

    def text(self, name: str, default: str) -> str:
        """Give a text."""
        return self._given.get(name, default)

    def number(self, name: str, default: float) -> float:
        """Give a number."""
        return float(self._given.get(name, default))

    def whole(self, name: str, default: int) -> int:
        """Give a whole number."""
        return int(self._given.get(name, default))

    def data(self) -> str | bytes:
        """Make what a message carries beside its number: ``size`` ASCII characters, or bytes."""
        text = "x" * self.whole("size", 8)
        return text.encode() if self.text("data", "text") == "bytes" else text

    def phases(self) -> tuple[float, float]:
        """Seconds of the warm-up, which is discarded, and of what is measured."""
        return self.number("warmup", 0.1), self.number("seconds", 1.0)


def arguments() -> Arguments:
    """Read the command line of this program."""
    return Arguments(sys.argv[1:])


def say(**result: Any) -> None:
    """Print a JSON line."""
    print(json.dumps(result), flush=True)


def now() -> float:
    """Read the clock that every process of this machine shares, in seconds."""
    return time.monotonic()


def percentile(times: Sequence[float], share: float) -> float:
    """Give the smallest of the times that is not exceeded by this share of them."""
    ordered = sorted(times)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(times: Sequence[float]) -> dict[str, float]:
    """Sum up how long something took each time."""
    return {"p50": percentile(times, 0.5), "p99": percentile(times, 0.99), "max": max(times)}


@contextlib.contextmanager
def tcp_pair() -> Iterator[tuple[socket.socket, int]]:
    """Connect two TCP sockets; gives one of them, and the port of the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, (_, port) = listener.accept()
        with server, client:
            yield server, port
