"""Open sockets in messages, one in each: how many a second, and how soon one is answered."""

from __future__ import annotations

from typing import Final

from benchmarks.measures.peers import (
    FLOOR_BLOCKING,
    NODE,
    NODE_ADVANCED,
    NODE_AWAITED,
    PIPE,
    TRIO,
    Peer,
    sides,
    sum_to,
)
from benchmarks.model import Mark, Result, Row, Scale, check

__all__ = ["rows"]

_PEERS: Final = (NODE, NODE_ADVANCED, PIPE, TRIO, FLOOR_BLOCKING)
_CHUNK: Final = 16


def rows(scale: Scale) -> list[Row]:
    """Give the rows of both kinds, for each peer that can pass sockets."""
    return [_sent(peer) for peer in (NODE, NODE_AWAITED, *_PEERS[1:])] + [
        _asked(peer) for peer in _PEERS
    ]


def _check(result: Result, scale: Scale) -> None:
    count = result["received"]
    check(result, checksum=sum_to(count) + count * result["port"], least=scale.seconds)


def _sent(peer: Peer) -> Row:
    def judge(result: Result, scale: Scale) -> float:
        _check(result, scale)
        rate: float = result["received"] / result["seconds"]
        return rate

    ours, theirs = sides("handles", peer, {"mode": "send", "chunk": _CHUNK}, judge)
    return Row(
        name=f"handles-{peer.name}",
        measure="handles",
        title="handles, one in each message",
        unit="/s",
        ours=ours,
        peer=theirs,
        mark=Mark(bound=15, at_least=True) if peer in (NODE, NODE_AWAITED) else None,
    )


def _asked(peer: Peer) -> Row:
    def judge(result: Result, scale: Scale) -> float:
        _check(result, scale)
        median: float = result["p50"]
        return median

    ours, theirs = sides("handles", peer, {"mode": "ask"}, judge)
    return Row(
        name=f"handle-roundtrip-{peer.name}",
        measure="handles",
        title="round trip with a handle, one after another",
        unit="s",
        ours=ours,
        peer=theirs,
        mark=Mark(bound=0.5, at_least=False) if peer is NODE else None,
    )
