"""From the start of a worker to its first message.

Warm: in a program that has started workers before. Cold: from the start of the program itself to
the first message of its first worker.
"""

from __future__ import annotations

import functools
import statistics
import time
from typing import Final

from benchmarks import process
from benchmarks.measures.peers import ANY_NODE, FLOOR, OURS, PIPE, TRIO, Peer, sides
from benchmarks.model import Mark, Result, Row, Scale, Side, check

__all__ = ["rows"]

_PEERS: Final = (ANY_NODE, PIPE, TRIO, FLOOR)


def rows(scale: Scale) -> list[Row]:
    """Give the rows of both kinds, for each peer."""
    return [_warm(peer) for peer in _PEERS] + [_cold(peer) for peer in _PEERS]


def _warm(peer: Peer) -> Row:
    def judge(result: Result, scale: Scale) -> float:
        check(result)
        median: float = result["p50"]
        return median

    ours, theirs = sides("start", peer, {"mode": "warm"}, judge)
    return Row(
        name=f"start-warm-{peer.name}",
        measure="start",
        title="start to first message, warm",
        unit="s",
        ours=ours,
        peer=theirs,
        mark=Mark(bound=0.12, at_least=False) if peer.name == ANY_NODE.name else None,
    )


def _cold(peer: Peer) -> Row:
    def side(one: Peer) -> Side:
        file = one.file("start")
        return Side(
            who=one.who,
            files=(file,),
            arguments={"mode": "cold"},
            needs=one.needs,
            run=functools.partial(_start_cold, file),
        )

    return Row(
        name=f"start-cold-{peer.name}",
        measure="start",
        title="start to first message, cold, the program included",
        unit="s",
        ours=side(OURS),
        peer=side(peer),
    )


def _start_cold(file: str, scale: Scale) -> Result:
    """Start the program until the time is up; the figure is the median."""
    times: list[float] = []
    until = time.monotonic() + scale.seconds
    while not times or time.monotonic() < until:
        result = process.run(file, {"mode": "cold", "since": time.monotonic()})
        check(result)
        times.append(result["p50"])
    return {
        "sent": len(times),
        "received": len(times),
        "times": times,
        "seconds": sum(times),
        "value": statistics.median(times),
    }
