"""Programs that know nothing of us do under our primary what they do under Node's own."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.node_adapter.clusters import node_cluster, our_cluster
from tests.node_adapter.stories import SHARED, STORIES, Story
from tests.require import require

pytestmark = [require("node"), pytest.mark.no_leaks]


async def outcomes(told: Story, policy: str = "rr") -> tuple[Any, Any]:
    """What comes of a story with each of both."""
    found = []
    for cluster_of in (node_cluster, our_cluster):
        with tempfile.TemporaryDirectory(prefix="ac-") as place:  # short, for paths of sockets
            async with cluster_of(policy) as cluster:
                found.append(await told(cluster, Path(place)))
    return found[0], found[1]


@pytest.mark.parametrize("name", STORIES)
async def test_it_is_the_same_as_under_nodes_primary(name: str) -> None:
    theirs, ours = await outcomes(STORIES[name])
    assert theirs == ours


@pytest.mark.parametrize("name", SHARED)
async def test_it_is_the_same_where_workers_accept_for_themselves(name: str) -> None:
    theirs, ours = await outcomes(SHARED[name], "none")
    assert theirs == ours
