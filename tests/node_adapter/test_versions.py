"""A Node that nobody has tried is told of, once."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from actorcluster.adapters.node_versions import NodeVersions
from tests.e2e.unprivileged import GROUP, NOBODY
from tests.require import require


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


@require("other-user")
async def test_the_program_of_another_user_runs_as_that_user(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING)
    worker = subprocess.Popen(["sleep", "600"], user=NOBODY, group=GROUP, extra_groups=[])
    try:
        with tempfile.TemporaryDirectory() as there, monkeypatch.context() as patch:
            os.chmod(there, 0o755)  # another user is to find the program
            program = Path(there, "node")
            program.write_text("#!/bin/sh\necho v99.$(id -u).$(id -g) && exec yes\n")
            program.chmod(0o755)
            patch.setattr(os, "readlink", lambda path: str(program))
            await NodeVersions().look(worker.pid)
        assert f"is Node v99.{NOBODY}.{GROUP};" in caplog.text
    finally:
        worker.kill()
        worker.wait()


async def test_others_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    versions = NodeVersions()
    await versions.look(os.getpid())
    gone = subprocess.Popen([sys.executable, "-IS", "-c", ""])
    gone.wait()
    await versions.look(gone.pid)
    assert [] == caplog.records
