"""The workers to put faults into: where their source is, how they are built and started."""

from __future__ import annotations

import sys
from pathlib import Path

import attrs

__all__ = ["BASES", "Base"]

WORKERS = Path(__file__).parents[2] / "examples" / "workers"


@attrs.frozen
class Base:
    """A worker that passes.

    Attributes:
        source: directory that is copied for each fault.
        command: starts it, inside of the copy.
        build: is run there first; empty: nothing to build.
        tools: programs without which it cannot be tried.
        preload: modules of one in Python, loaded once for all cases.
        lane: the form of a side lane by which its handles go.
    """

    source: Path
    command: tuple[str, ...]
    build: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    preload: str = ""
    lane: str = ""


BASES = {
    "asyncio": Base(WORKERS / "asyncio", (sys.executable, "conformance.py"), preload="asyncio,awp"),
    "go": Base(
        WORKERS / "go",
        ("./conformance",),
        ("go", "build", "-buildvcs=false", "-o", "conformance", "./cmd/conformance"),
        ("go",),
    ),
    "rust": Base(
        WORKERS / "rust",
        ("./target/debug/examples/conformance",),
        ("cargo", "build", "--quiet", "--offline", "--locked", "--example", "conformance"),
        ("cargo",),
    ),
    "c": Base(
        WORKERS / "c",
        ("./conformance",),
        ("make", "--silent", "CFLAGS=-O0", "conformance"),
        ("gcc", "make"),
    ),
    "node": Base(
        WORKERS / "node",
        ("node", "dist/conformance.js"),
        ("sh", "-c", "npm ci --silent --ignore-scripts --prefer-offline && npm run --silent build"),
        ("node", "npm"),
        lane="node",
    ),
}
