"""From SIGKILL of a worker to the first answer of its replacement, while clients ask."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final

from benchmarks.measures.peers import ANY_NODE, OURS, Peer
from benchmarks.model import Mark, Result, Row, Scale, Side, check
from benchmarks.process import command, program

__all__ = ["rows"]

_CLIENT: Final = "kill_client.py"


def rows(scale: Scale) -> list[Row]:
    """Give the one row."""
    row = Row(
        name="kill-node",
        measure="kill",
        title="SIGKILL to the replacement's first answer",
        unit="s",
        ours=_side(OURS),
        peer=_side(ANY_NODE),
        mark=Mark(bound=0.3, at_least=False, none_of="hung"),
        remark=_clients,
    )
    return [row]


def _side(one: Peer) -> Side:
    file = one.file("kill")
    run = functools.partial(_run, file)
    return Side(who=one.who, files=(file, _CLIENT), arguments={}, needs=one.needs, run=run)


def _run(file: str, scale: Scale) -> Result:
    with program(command(file, {})) as server:
        times = {"seconds": scale.seconds, "warmup": scale.warmup}
        port = server.says()["port"]
        with program(command(_CLIENT, {"port": port, **times})) as client:
            result = client.says()
            client.ends()
        server.tell()
        server.ends()
    check(result)
    return {**result, "value": result["p50"]}


def _clients(results: Sequence[Result]) -> str:
    names = ("answered", "failed", "hung")
    return ", ".join(f"{sum(result[name] for result in results)} {name}" for name in names)
