"""Connections: wrk asks two workers on one port, with a connection for each request."""

from __future__ import annotations

import functools
import math
import re
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any, Final

from benchmarks.measures.peers import ANY_NODE, OURS, TRIO
from benchmarks.model import Mark, Result, Row, Scale, Side, Wrong, check
from benchmarks.process import command, program

__all__ = ["rows", "wrk_counts"]

_CLIENTS: Final = 64
_STYLES: Final = {"listeners": "serve_listeners", "raw": "raw Trio sockets"}
_POLICIES: Final = {"rr": "dealt in turn", "none": "one shared socket"}
_NODE_POLICIES: Final = {"rr": "SCHED_RR", "none": "SCHED_NONE"}
_MARKS: Final = {
    ("rr", "listeners"): 1.5,
    ("rr", "raw"): 2.0,
    ("none", "listeners"): 1.0,
    ("none", "raw"): 1.2,
}


def rows(scale: Scale) -> list[Row]:
    """Give a row for each policy and style against Node, and two against bare Trio."""
    against_node = [_against_node(policy, style) for policy, style in _MARKS]
    return against_node + [_against_trio(style) for style in _STYLES]


def _against_node(policy: str, style: str) -> Row:
    who = f"Node cluster, node:net, {_NODE_POLICIES[policy]}"
    peer = _side(who, ANY_NODE.file("connections"), {"policy": policy}, needs=("wrk", "node"))
    return _row(
        policy, style, ANY_NODE.name, peer, Mark(bound=_MARKS[policy, style], at_least=True)
    )


def _against_trio(style: str) -> Row:
    peer = _side(TRIO.who, TRIO.file("connections"), {"style": style}, needs=("wrk",))
    return _row("none", style, TRIO.name, peer, None)


def _row(policy: str, style: str, name: str, peer: Side, mark: Mark | None) -> Row:
    arguments = {"policy": policy, "style": style}
    return Row(
        name=f"connections-{policy}-{style}-{name}",
        measure="connections",
        title=f"connections, {_POLICIES[policy]}, {_STYLES[style]}",
        unit="/s",
        ours=_side(OURS.who, OURS.file("connections"), arguments, needs=("wrk",)),
        peer=peer,
        mark=mark,
        remark=_balance,
    )


def _side(who: str, file: str, arguments: Mapping[str, object], *, needs: tuple[str, ...]) -> Side:
    run = functools.partial(_run, file, arguments)
    return Side(who=who, files=(file,), arguments=arguments, needs=needs, run=run)


def _run(file: str, arguments: Mapping[str, object], scale: Scale) -> Result:
    with program(command(file, arguments)) as server:
        port = server.says()["port"]
        before = 0
        if not scale.quick:
            before = _load(port, 1)["requests"]
        counts = _load(port, scale.seconds)
        server.tell()
        served: list[int] = server.says()["served"]
        server.ends()
    answered = before + counts["requests"]
    # When wrk's time is up, what is in flight was served, but is not counted by wrk.
    if not answered <= sum(served) <= answered + 2 * _CLIENTS:
        raise Wrong(f"wrk counts {answered} answers, the workers {sum(served)}")
    result = {
        "sent": counts["requests"],
        "received": counts["requests"],
        "served": served,
        **counts,
    }
    check(result, least=scale.seconds)
    return {**result, "value": counts["requests"] / counts["seconds"]}


def _load(port: int, seconds: float) -> dict[str, Any]:
    """Let wrk ask for so long; it knows whole seconds only."""
    close = ["-H", "Connection: close"]
    times = f"-d{math.ceil(seconds)}s"
    argv = ["wrk", "-t1", f"-c{_CLIENTS}", times, *close, f"http://127.0.0.1:{port}/"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    return wrk_counts(done.stdout)


def wrk_counts(said: str) -> dict[str, Any]:
    """Read what wrk says.

    Raises:
        Wrong: there were errors, or it says something else.
    """
    match = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m),", said)
    if match is None or "Socket errors" in said or "Non-2xx" in said:
        raise Wrong(f"wrk says:\n{said}")
    unit = {"ms": 0.001, "s": 1.0, "m": 60.0}[match[3]]
    return {"requests": int(match[1]), "seconds": float(match[2]) * unit}


def _balance(results: Sequence[Result]) -> str:
    smallest = statistics.median(
        min(result["served"]) / sum(result["served"]) for result in results
    )
    return f"smallest share {100 * smallest:.1f} %"
