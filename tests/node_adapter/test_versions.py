"""A Node that nobody has tried is told of, once."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from actorcluster.adapters.node_versions import NodeVersions


@pytest.mark.parametrize(("version", "lines"), [(20, 0), (24, 0), (18, 1), (23, 1)])
async def test_it_is_told_of_once(
    version: int,
    lines: int,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.WARNING)
    program = tmp_path / "node"
    program.write_text(f"#!/bin/sh\necho v{version}.1.2\n")
    program.chmod(0o755)
    versions = NodeVersions()
    with monkeypatch.context() as patch:
        patch.setattr(os, "readlink", lambda path: str(program))
        for _ in range(2):
            await versions.look(os.getpid())
    assert lines == len(caplog.records)
    if lines:
        assert f"{program} is Node v{version}.1.2; tried are only 20, 22, 24" in caplog.text


async def test_others_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    versions = NodeVersions()
    await versions.look(os.getpid())
    gone = subprocess.Popen([sys.executable, "-IS", "-c", ""])
    gone.wait()
    await versions.look(gone.pid)
    assert [] == caplog.records
