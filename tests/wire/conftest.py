"""A connection to talk to."""

from __future__ import annotations

import pytest

from tests.wire.pair import ConnectionPair


@pytest.fixture
def pair() -> ConnectionPair:
    """Two active connections."""
    pair = ConnectionPair()
    pair.start()
    return pair
