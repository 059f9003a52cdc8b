"""The samples, each built once in a directory of its own; their own directories stay clean."""

from __future__ import annotations

import faulthandler
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.program import ROOT
from tests.require import ensure

__all__ = [
    "WORKERS",
    "build_c",
    "build_go",
    "build_node",
    "build_rust",
    "cargo",
    "go",
    "node_sample",
    "npm",
]

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
    assert "" == _run(["make", "--silent", "--jobs=2", *options, "all", "tests"], source)
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


def build_rust(into: Path) -> Path:
    """Build the sample in Rust; returns where its programs are.

    Args:
        into: an empty directory, for all that the compiler writes.

    Raises:
        AssertionError: the compiler had something to say.
    """
    assert "" == cargo(into, "build", "--examples")
    return into / "debug" / "examples"


def cargo(target: Path, command: str, *arguments: str) -> str:
    """Run the tool in the sample's directory; returns what it and its programs say.

    Raises:
        AssertionError: it failed.
    """
    faulthandler.cancel_dump_traceback_later()
    # The sample needs no other package: nothing is fetched, and nothing written beside the source.
    environment = {"CARGO_TARGET_DIR": str(target), "CARGO_INCREMENTAL": "0"}
    options = ["--quiet", "--offline", "--locked"]
    return _run(["cargo", command, *options, *arguments], WORKERS / "rust", environment)


def go(*arguments: str, source: Path = WORKERS / "go") -> None:
    """Run the tool in a sample's directory; its cache is the user's.

    Raises:
        AssertionError: it had something to say.
    """
    faulthandler.cancel_dump_traceback_later()  # the first build ever may take a minute
    _run(["go", *arguments], source, _ALONE)


def build_node(into: Path, *, source: Path = WORKERS / "node") -> Path:
    """Build the sample in TypeScript; returns where its programs are.

    Args:
        into: an empty directory, which is a copy of the sample then, with what it is built with.
        source: the sample, or a copy of it.

    Raises:
        AssertionError: npm or the compiler had something to say.
    """
    faulthandler.cancel_dump_traceback_later()  # what npm has not cached yet may take a minute
    left = shutil.ignore_patterns("node_modules", "dist")
    shutil.copytree(source, into, dirs_exist_ok=True, ignore=left)
    npm("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", source=into)
    npm("run", "--silent", "build", source=into)
    return into / "dist"


@pytest.fixture(scope="session")
def node_sample() -> Iterator[Path]:
    """What `build_node` gives, once for all tests."""
    ensure("npm")
    with TemporaryDirectory(prefix="ac-node-") as directory:
        yield build_node(Path(directory))


def npm(*arguments: str, source: Path) -> str:
    """Run npm in a sample's directory; returns what it said.

    Raises:
        AssertionError: it failed.
    """
    return _run(["npm", *arguments], source)


def _run(command: Sequence[str], cwd: Path, environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stdout
    return done.stdout
