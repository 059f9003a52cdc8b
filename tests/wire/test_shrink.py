"""The memory of connections that are over."""

from __future__ import annotations

import tracemalloc

import pytest

from actorcluster.wire import events
from tests.wire.pair import ConnectionPair

KIB = 1024


def pair_in_use() -> ConnectionPair:
    """Two connections on which something was said."""
    pair = ConnectionPair(primary={"gather": True})
    pair.start()
    pair.send(pair.worker, {"a": [1, 2]})
    pair.send(pair.primary, "x")
    pair.run()
    return pair


def test_it_takes_little_memory_then() -> None:
    """No decoder is left, of which even the smallest takes 40 KiB."""
    tracemalloc.start()
    try:
        kept = [pair_in_use() for _ in range(10)]
        in_use = tracemalloc.get_traced_memory()[0]
        for pair in kept:
            pair.worker.shrink()
            pair.primary.shrink()
        shrunk = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert in_use > 5 * shrunk
    assert shrunk < 10 * 2 * 35 * KIB


@pytest.mark.parametrize("size", [1, 1000, 100_000])
def test_it_can_still_be_used(size: int) -> None:
    pair = pair_in_use()
    for _ in range(2):
        pair.worker.shrink()
        pair.primary.shrink()
        for side in (pair.worker, pair.primary):
            pair.send(side, {"text": "x" * size, "list": [1, None, 2.5]})
            pair.send(side, ["y"] * 3)
    bodies = []
    for event in pair.run():
        if isinstance(event, events.TellsReceived):
            bodies += event.bodies
        elif isinstance(event, events.TellReceived):
            bodies.append(event.body)
    one, other = {"text": "x" * size, "list": [1, None, 2.5]}, ["y"] * 3
    assert (4, 4) == (bodies.count(one), bodies.count(other))
