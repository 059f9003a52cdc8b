"""The clients, a program: ``python -m tests.reload_load.clients PORT CLIENTS PATIENCE``.

It goes on until its standard input ends, then prints what happened, as JSON.
"""

from __future__ import annotations

import sys
from typing import Final

import attrs
import trio

from tests.chaos.clients import Failure, attempt, run

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
    """Connect again and again, each time with another id."""
    for turn in range(sys.maxsize):
        name = f"{port}.{number}.{turn}"
        end, answer = await attempt(port, number, name, patience)
        await trio.sleep(PAUSE_SECONDS)
        is_right = answer.endswith(f" {name}\n".encode()) and answer.split()[0].isdigit()
        if end.outcome != "served":
            report.failures.append(end)
        elif is_right:
            report.answers.append((end.begun, end.ended - end.begun, int(answer.split()[0])))
        else:
            report.failures.append(attrs.evolve(end, outcome="wrong"))


if __name__ == "__main__":
    trio.run(run, Report(), client, int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
