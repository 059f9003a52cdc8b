"""A thousand asks under kills, cancellations and closes; ten thousand: see `asks`."""

from __future__ import annotations

import pytest
import trio

from tests.hardened.asks import run

PATIENCE = 60


@pytest.mark.parametrize("seed", [1, 2])
async def test_each_ask_has_one_outcome(seed: int) -> None:
    with trio.fail_after(PATIENCE):
        result = await run(500, seed)
    assert {"answer", "fail", "not handled", "cancelled", "closed"} == set(result.outcomes.values())
