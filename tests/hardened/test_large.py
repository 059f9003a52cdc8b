"""Large messages both ways: all arrive, in order, and what must not wait does not wait for them.

How long a PING takes says ``python -m tests.hardened.large``.
"""

from __future__ import annotations

import trio

from tests.hardened.gifts import PATIENCE
from tests.hardened.large import run, sizes_of
from tests.hardened.memory import MIB

PLAN = {16 * MIB: 1, 8 * MIB: 2, 3 * MIB: 8}


async def test_large_messages_both_ways() -> None:
    with trio.fail_after(PATIENCE):
        reports = await run(PLAN)
    for report in reports:
        assert list(range(len(sizes_of(PLAN)))) == report.numbers
        assert report.asks > 0
        # A message of 16 MiB leaves in 64 pieces: a PING comes back long before its last one left.
        assert report.overtook > 0
