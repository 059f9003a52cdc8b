"""Programs that know nothing of us do under our primary what they do under Node's own."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.node_adapter.clusters import node_cluster, our_cluster
from tests.node_adapter.stories import SHARED, STORIES, Story, framework
from tests.program import PATIENCE
from tests.require import require

pytestmark = require("node")


async def outcomes(
    told: Story, policy: str = "rr", installed: Path | None = None
) -> tuple[Any, Any]:
    """What comes of a story with each of both."""
    found = []
    for cluster_of in (node_cluster, our_cluster):
        # A short name, for paths of sockets.
        with tempfile.TemporaryDirectory(prefix="ac-") as place, trio.fail_after(4 * PATIENCE):
            async with cluster_of(policy) as cluster:
                found.append(await told(cluster, installed or Path(place)))
    return found[0], found[1]


@pytest.mark.parametrize("name", STORIES)
async def test_it_is_the_same_as_under_nodes_primary(name: str) -> None:
    theirs, ours = await outcomes(STORIES[name])
    assert theirs == ours


@pytest.mark.parametrize("name", SHARED)
async def test_it_is_the_same_where_workers_accept_for_themselves(name: str) -> None:
    theirs, ours = await outcomes(SHARED[name], "none")
    assert theirs == ours


@require("express")
async def test_a_framework_is_the_same(tmp_path: Path) -> None:
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "express@4"]
    subprocess.run(install, cwd=tmp_path, check=True)
    installed = tmp_path / "node_modules" / "express"
    theirs, ours = await outcomes(framework, installed=installed)
    assert theirs == ours
    assert ours[:2] == (True, ['{"hello":"you"}', '{"hello":"me"}', "nothing at /else"])
