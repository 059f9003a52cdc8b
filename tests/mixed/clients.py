"""The clients, a program: ``python -m tests.mixed.clients PORT CLIENTS PATIENCE``.

It goes on until its standard input ends, then prints what happened, as JSON.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from typing import Final

import attrs
import trio

from tests.chaos.clients import Failure, attempt, run

__all__ = ["Report", "ask", "client", "who"]

#: Between two connections: the load is to be steady, not to leave no room for anything else.
PAUSE_SECONDS: Final = 0.02

_ANSWER = re.compile(rb"HTTP/1\.[01] 200 .*?\r\n\r\n(?P<body>.+)", re.DOTALL)
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)\r\n")
_WHO = re.compile(r'(?:hello from |"name": ")([\w-]+)')


@attrs.define
class Report:
    """What became of the connections.

    Attributes:
        served: by the name of who answered.
        failures: all others, the arguments of `Failure`.
        slowest: seconds that an answer took.
    """

    served: Counter[str] = attrs.Factory(Counter)
    failures: list[Failure] = attrs.Factory(list)
    slowest: float = 0.0


async def ask(stream: trio.SocketStream, name: str) -> bytes:
    """Ask for a page; empty if its answer did not come, or not to its end."""
    answer = b""
    try:
        request = f"GET /{name} HTTP/1.1\r\nHost: mixed\r\nConnection: close\r\n\r\n"
        await stream.send_all(request.encode())
        async for chunk in stream:
            answer += chunk
    except trio.BrokenResourceError:
        return b""
    found, length = _ANSWER.match(answer), _LENGTH.search(answer)
    is_whole = found and length and len(found["body"]) == int(length[1])
    return answer if is_whole else b""


def who(answer: bytes) -> str:
    """The name of the worker that gave an answer."""
    found = _WHO.search(answer.decode())
    return found[1] if found else "nobody"


async def client(report: Report, port: int, number: int, patience: float) -> None:
    """Connect again and again, each time with another id."""
    for turn in range(sys.maxsize):
        end, answer = await attempt(port, number, f"{number}.{turn}", patience, ask)
        if end.outcome == "served":
            report.served[who(answer)] += 1
            report.slowest = max(report.slowest, end.ended - end.begun)
        else:
            report.failures.append(end)
        await trio.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    trio.run(run, Report(), client, int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
