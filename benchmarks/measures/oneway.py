"""One-way messages, to the worker and to the primary, in four sizes."""

from __future__ import annotations

from typing import Final

from benchmarks.measures.peers import (
    FLOOR,
    FLOOR_BLOCKING,
    NODE,
    NODE_AWAITED,
    PEERS,
    PIPE,
    Peer,
    sides,
    sum_to,
)
from benchmarks.model import Mark, Result, Row, Scale, check

__all__ = ["rows"]

_SIZES: Final = {"small": 8, "1k": 1024, "64k": 64 * 1024, "1m": 1024 * 1024}
_TITLES: Final = {"small": "small dict", "1k": "1 KiB", "64k": "64 KiB", "1m": "1 MiB"}
_CHUNKS: Final = {"small": 256, "1k": 256, "64k": 16, "1m": 1}
_LONG: Final = ("64k", "1m")
_DIRECTIONS: Final = {"to_worker": "to the worker", "to_primary": "to the primary"}

_MARKS: Final = {
    **{
        (size, node.name): bound
        for node in (NODE, NODE_AWAITED)
        for size, bound in {"small": 3.0, "1k": 3.0, "64k": 8.0, "1m": 10.0}.items()
    },
    ("small", PIPE.name): 2.5,
    ("1k", PIPE.name): 2.5,
}


def rows(scale: Scale) -> list[Row]:
    """Give a row for each size, direction and peer; a quick run has two of the sizes."""
    sizes = ("small", "64k") if scale.quick else tuple(_SIZES)
    peers = (NODE, NODE_AWAITED, *PEERS[1:])
    return [
        _row(size, direction, peer) for size in sizes for direction in _DIRECTIONS for peer in peers
    ]


def _row(size: str, direction: str, peer: Peer) -> Row:
    carried = _SIZES[size]

    def judge(result: Result, scale: Scale) -> float:
        count: int = result["received"]
        check(result, checksum=sum_to(count) + count * carried, least=scale.seconds)
        rate: float = count / result["seconds"]
        return rate

    arguments = {
        "direction": direction,
        "size": carried,
        "data": "bytes" if peer.takes_bytes else "text",
        "chunk": _CHUNKS[size],
    }
    bound = _MARKS.get((size, peer.name))
    if peer is FLOOR and size in _LONG:
        peer = FLOOR_BLOCKING
    ours, theirs = sides("oneway", peer, arguments, judge)
    return Row(
        name=f"oneway-{size}-{direction}-{peer.name}",
        measure="oneway",
        title=f"one-way, {_TITLES[size]}, {_DIRECTIONS[direction]}",
        unit="/s",
        ours=ours,
        peer=theirs,
        mark=None if bound is None else Mark(bound=bound, at_least=True),
    )
