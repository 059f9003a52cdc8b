"""Questions and answers: one after another, and 64 tasks at a time."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.measures.peers import NODE, PEERS, Peer, sides, sum_to
from benchmarks.model import Mark, Result, Row, Scale, check

__all__ = ["rows"]

_SIZE = 8
_MANY = 64


def rows(scale: Scale) -> list[Row]:
    """Give the rows of both kinds, for each peer."""
    return [_sequential(peer) for peer in PEERS] + [_in_flight(peer) for peer in PEERS]


def _checked(result: Result, scale: Scale) -> Result:
    count = result["received"]
    check(result, checksum=sum_to(count) + count * _SIZE, least=scale.seconds)
    return result


def _tails(results: Sequence[Result]) -> str:
    p99 = statistics.median(result["p99"] for result in results)
    return f"p99 {p99 * 1e6:.0f} µs"


def _arguments(peer: Peer, in_flight: int) -> dict[str, object]:
    data = "bytes" if peer.takes_bytes else "text"
    return {"size": _SIZE, "data": data, "in_flight": in_flight}


def _sequential(peer: Peer) -> Row:
    def judge(result: Result, scale: Scale) -> float:
        median: float = _checked(result, scale)["p50"]
        return median

    ours, theirs = sides("roundtrip", peer, _arguments(peer, 1), judge)
    return Row(
        name=f"roundtrip-{peer.name}",
        measure="roundtrip",
        title="round trip, small dict, one after another",
        unit="s",
        ours=ours,
        peer=theirs,
        mark=Mark(bound=1.3, at_least=False) if peer is NODE else None,
        remark=_tails,
    )


def _in_flight(peer: Peer) -> Row:
    def judge(result: Result, scale: Scale) -> float:
        rate: float = _checked(result, scale)["received"] / result["seconds"]
        return rate

    ours, theirs = sides("roundtrip", peer, _arguments(peer, _MANY), judge)
    return Row(
        name=f"in-flight-{peer.name}",
        measure="roundtrip",
        title=f"round trips, small dict, {_MANY} in flight",
        unit="/s",
        ours=ours,
        peer=theirs,
        mark=Mark(bound=0.7, at_least=True) if peer is NODE else None,
        remark=_tails,
    )
