"""A fork server of the test's own, and a clock that processes can keep up with."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio.testing

from actorcluster._worker.forkserver import ForkServer
from tests.worker.helpers import server_for


@pytest.fixture
def fast_clock() -> trio.testing.MockClock:
    """Ten seconds are one; real processes have to keep up with it."""
    return trio.testing.MockClock(rate=10)


@pytest.fixture
async def wait_server() -> AsyncIterator[ForkServer]:
    server = server_for("wait")
    yield server
    await server.aclose()
