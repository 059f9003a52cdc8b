"""The samples, each built once in a directory of its own; their own directories stay clean."""

from __future__ import annotations

import faulthandler
import os
import subprocess
from pathlib import Path

from tests.program import ROOT

__all__ = ["WORKERS", "build_c", "build_go", "go"]

WORKERS = ROOT / "examples" / "workers"

#: Nothing is to be fetched, neither modules, of which the sample needs none, nor a toolchain.
_ALONE = {"GOFLAGS": "-buildvcs=false", "GOPROXY": "off", "GOTOOLCHAIN": "local"}


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


def build_go(into: Path, *, source: Path = WORKERS / "go") -> Path:
    """Build the sample in Go; returns where its programs are.

    Args:
        into: an empty directory.
        source: the sample, or a copy of it.

    Raises:
        AssertionError: the compiler had something to say.
    """
    go("build", "-o", f"{into}/", "./cmd/...", source=source)
    return into


def go(*arguments: str, source: Path = WORKERS / "go") -> None:
    """Run the tool in a sample's directory; its cache is the user's.

    Raises:
        AssertionError: it had something to say.
    """
    faulthandler.cancel_dump_traceback_later()  # the first build ever may take a minute
    done = subprocess.run(
        ["go", *arguments],
        cwd=source,
        env=os.environ | _ALONE,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stdout
