"""The clients, a program: ``python -m tests.reload_load.clients PORT CLIENTS PATIENCE``.

It goes on until its standard input ends, then prints what happened, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Final

import attrs
import trio

from tests.chaos.clients import Failure, Outcome
from tests.reload_load.service import HOST

#: Between two connections: the load is to be steady, not to leave no room for anything else.
PAUSE_SECONDS: Final = 0.015


@attrs.define
class Report:
    """What became of the connections.

    Attributes:
        answers: of those that were served: when they began (``time.monotonic()``), seconds until
            the answer, and the release that gave it.
        failures: all others, the arguments of `Failure`.
    """

    answers: list[tuple[float, float, int]] = attrs.Factory(list)
    failures: list[Failure] = attrs.Factory(list)


async def client(report: Report, port: int, number: int, patience: float) -> None:
    """Connect again and again, each time with another id; one that waits longer hangs."""
    host = f"127.0.0.{2 + number}"  # so many connections would use up the ports of one
    for turn in range(sys.maxsize):
        name = f"{port}.{number}.{turn}"
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
                    outcome, answer = await talk(stream, name)
        ended = time.monotonic()
        await trio.sleep(PAUSE_SECONDS)
        if outcome == "served":
            report.answers.append((begun, ended - begun, int(answer.split()[0])))
        else:
            report.failures.append(Failure(outcome, name, host, port_here, begun, ended))


async def talk(stream: trio.SocketStream, name: str) -> tuple[Outcome, bytes]:
    """Send the id and wait for it."""
    answer = b""
    try:
        await stream.send_all(f"{name}\n".encode())
        async for chunk in stream:
            answer += chunk
    except trio.BrokenResourceError:
        return "cut", answer
    if not answer:
        return "cut", answer
    is_right = answer.endswith(f" {name}\n".encode()) and answer.split()[0].isdigit()
    return ("served" if is_right else "wrong"), answer


async def main(port: int, clients: int, patience: float) -> None:
    """Run them until nobody wants them any more."""
    report = Report()
    async with trio.open_nursery() as nursery:
        for number in range(clients):
            nursery.start_soon(client, report, port, number, patience)
        async with trio.lowlevel.FdStream(0) as stdin:
            await stdin.receive_some()
        nursery.cancel_scope.cancel()
    print(json.dumps(attrs.asdict(report)), flush=True)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
