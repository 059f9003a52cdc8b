"""What a worker leaves behind ends as it would in any program, though most modules are spared."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

import actorcluster
from actorcluster._worker.forkserver import ForkServer
from actorcluster._worker.process import Launch
from tests.program import ROOT
from tests.require import require

from . import leavers
from .helpers import finish

pytestmark = require("clone")

_GZIP = 31  # as zlib calls the format


@pytest.fixture(scope="module", autouse=True)
def _unmeasured() -> Iterator[None]:
    """Whoever measures coverage changes in what order an interpreter takes modules down."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module")
def server(_unmeasured: None) -> Iterator[ForkServer]:
    server = ForkServer(entry="tests.worker.leavers:leave")
    trio.run(server.prepare)
    yield server
    trio.run(server.aclose)


async def leave(server: ForkServer, what: str, here: Path, stderr: int | None = None) -> int:
    """Exit code of a worker that leaves these things there."""
    stdio = (None, None, stderr)
    process = await server.start(Launch(worker_id=1, args=(what, str(here)), stdio=stdio))
    status, _ = await process.wait()
    await finish(process)
    assert status is not None
    return os.waitstatus_to_exitcode(status)


LEAVE_AN_ARCHIVE = """
import json, sys
import actorcluster._cluster.primary, actorcluster._worker.template
import gzip
json.archive = gzip.open(sys.argv[1], "wt")
json.archive.write("gzipped")
"""


def test_a_program_loses_nothing_that_is_left_in_json(tmp_path: Path) -> None:
    """Else no worker can be expected to do better.

    If it does: something imports `json` that outlives the last collection, see `spared`.
    """
    path = tmp_path / "archive"
    subprocess.run([sys.executable, "-c", LEAVE_AN_ARCHIVE, str(path)], cwd=ROOT, check=True)
    assert b"gzipped" == gzip.decompress(path.read_bytes())


async def test_what_ends_before_modules_do(server: ForkServer, tmp_path: Path) -> None:
    """All of that, and the worker's own modules; the fork server's are not touched any more."""
    assert 0 == await leave(server, "without_an_end", tmp_path)
    assert {
        "log": "logged\n",
        "memory": "held back\n",
        "mine": "freed",
        "pool": "done",
        "process": "done",
        "thread": "done",
    } == {path.name: path.read_text() for path in tmp_path.iterdir()}


async def test_a_worker_that_fails_spares_them_too(tmp_path: Path) -> None:
    """No frame of its event loop is left in what an exception went through."""
    async with actorcluster.open_primary() as primary:
        for well, code in (True, 7), (False, 1):
            here = tmp_path / str(code)
            here.mkdir()
            worker = await primary.fork(leavers.ends, str(here), well)
            assert code == (await worker.wait()).code
            assert ["mine"] == os.listdir(here)


async def test_files_are_written_wherever_they_were_left(
    server: ForkServer, tmp_path: Path
) -> None:
    assert 0 == await leave(server, "files", tmp_path)
    assert "text" == (tmp_path / "text").read_text()
    assert b"zipped" == zipfile.ZipFile(tmp_path / "zip").read("name")
    for name in ("gzip", "builtins"):
        assert b"gzipped" == gzip.decompress((tmp_path / name).read_bytes())


async def test_objects_end_wherever_they_were_left(server: ForkServer, tmp_path: Path) -> None:
    assert 0 == await leave(server, "objects", tmp_path)
    assert {"of its own", "in a spared module", "in a cycle", "of a thread", "of a context"} == {
        path.name for path in tmp_path.iterdir()
    }


async def test_output_and_what_a_traceback_knows_are_written(
    server: ForkServer, tmp_path: Path
) -> None:
    assert 0 == await leave(server, "output", tmp_path)
    assert b"gzipped" == gzip.decompress((tmp_path / "stdout").read_bytes())
    with open(tmp_path / "stderr", "w") as stderr:
        assert 1 == await leave(server, "failed", tmp_path, stderr.fileno())
    assert "ArithmeticError: on purpose" in (tmp_path / "stderr").read_text()
    assert b"gzipped" == gzip.decompress((tmp_path / "local").read_bytes())


async def test_what_preload_has_left_is_written_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By the worker; then the fork server ends it once more."""
    path = tmp_path / "archive"
    monkeypatch.setenv("LEFTOVER", str(path))
    server = ForkServer(["tests.worker.leftover"], entry="tests.worker.leavers:leave")
    assert 0 == await leave(server, "of_preload", tmp_path)
    await server.aclose()
    assert b"gzipped" == zlib.decompressobj(_GZIP).decompress(path.read_bytes())
