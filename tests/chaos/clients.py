"""The clients, a program of their own: ``python -m tests.chaos.clients PORT CLIENTS PATIENCE``.

It goes on until its standard input ends, then prints what happened, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import attrs
import trio

from tests.chaos.service import HOST

Outcome = Literal["served", "refused", "hung", "cut", "wrong"]


@attrs.frozen
class Failure:
    """A connection and how it ended.

    Attributes:
        outcome: see above.
        name: its id.
        host: address of the client's end.
        port: of the same; ports are used again in the course of time. None: it had none.
        begun: ``time.monotonic()``, the same clock in all processes.
        ended: likewise.
    """

    outcome: Outcome
    name: str
    host: str
    port: int | None
    begun: float
    ended: float


@attrs.define
class Report:
    """What became of the connections.

    Attributes:
        counts: by outcome.
        failures: of all but the served ones, the arguments of `Failure`.
    """

    counts: dict[Outcome, int] = attrs.Factory(dict)
    failures: list[Failure] = attrs.Factory(list)

    def add(self, failure: Failure) -> None:
        """Note what became of one."""
        outcome = failure.outcome
        self.counts[outcome] = self.counts.get(outcome, 0) + 1
        if outcome != "served":
            self.failures.append(failure)


async def attempt(
    port: int,
    number: int,
    name: str,
    patience: float,
    talk: Callable[[trio.SocketStream, str], Awaitable[bytes]] | None = None,
) -> tuple[Failure, bytes]:
    """Connect, send the id and wait for an answer, whatever it is; one that waits longer hangs."""
    # An address of its own: so many connections would use up the ports of one.
    host = f"127.0.0.{2 + number}"
    outcome: Outcome = "hung"
    port_here, begun, answer = None, time.monotonic(), b""
    with trio.move_on_after(patience):
        try:
            stream = await trio.open_tcp_stream(HOST, port, local_address=host)
        except OSError:
            outcome = "refused"
        else:
            async with stream:
                port_here = stream.socket.getsockname()[1]
                answer = await (talk or say_line)(stream, name)
                outcome = "served" if answer else "cut"
    return Failure(outcome, name, host, port_here, begun, time.monotonic()), answer


async def say_line(stream: trio.SocketStream, name: str) -> bytes:
    """Send the id and wait for the answer; empty if the connection was cut."""
    answer = b""
    try:
        await stream.send_all(f"{name}\n".encode())
        async for chunk in stream:
            answer += chunk
    except trio.BrokenResourceError:
        return b""
    return answer


async def client(report: Report, port: int, number: int, patience: float) -> None:
    """Connect again and again, each time with another id."""
    for turn in range(sys.maxsize):
        name = f"{number}.{turn}"
        end, answer = await attempt(port, number, name, patience)
        if end.outcome == "served" and answer != f"{name}\n".encode():
            end = attrs.evolve(end, outcome="wrong")
        report.add(end)


async def run(
    report: Any, client: Callable[..., Awaitable[None]], port: int, clients: int, patience: float
) -> None:
    """Run clients until nobody wants them any more, and print the report."""
    async with trio.open_nursery() as nursery:
        for number in range(clients):
            nursery.start_soon(client, report, port, number, patience)
        async with trio.lowlevel.FdStream(0) as stdin:
            await stdin.receive_some()
        nursery.cancel_scope.cancel()
    print(json.dumps(attrs.asdict(report)), flush=True)


if __name__ == "__main__":
    trio.run(run, Report(), client, int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
