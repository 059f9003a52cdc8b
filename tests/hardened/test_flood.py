"""A sender faster than its receiver waits, and says so; for half a minute: see `flood`."""

from __future__ import annotations

from tests.hardened.flood import flood, growth
from tests.hardened.memory import MIB


async def test_a_fast_sender_waits() -> None:
    """The mailbox fills in well under a second; from then on nothing grows."""
    full = (await flood(2, 8))[1:]
    assert growth(full) < 4 * MIB
    for sample in full:
        assert sample.senders_waiting > 0
        assert sample.room < 4096 + 256
    assert full[0].sent < full[-1].sent
