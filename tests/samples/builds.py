"""The samples, each built once in a directory of its own; their own directories stay clean."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.program import ROOT

__all__ = ["WORKERS", "build_c"]

WORKERS = ROOT / "examples" / "workers"


def build_c(into: Path, *, sanitized: bool, source: Path = WORKERS / "c") -> Path:
    """Build the sample in C; returns where its programs are.

    Args:
        into: an empty directory.
        sanitized: with the sanitizers for addresses and undefined behaviour.
        source: the sample, or a copy of it.

    Raises:
        AssertionError: the compiler had something to say.
    """
    options = [f"O={into}", *(["SANITIZE=1"] if sanitized else [])]
    done = subprocess.run(
        ["make", "--silent", "--jobs=2", *options, "all", "tests"],
        cwd=source,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stdout)
    return into
