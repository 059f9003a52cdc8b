"""Programs and modules that some sides need: whether they are here, and in which version."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
from typing import Final

__all__ = ["lack", "versions"]

_HINTS: Final = {
    "escript": "escript is not installed: it comes with Erlang",
    "node": "node is not installed",
    "wrk": "wrk is not installed",
    "zmq": "pyzmq is not installed: pip install 'actorcluster[bench]'",
}

_LIBRARIES: Final = ("actorcluster", "trio", "msgpack", "pyzmq")


@functools.cache
def lack(name: str) -> str | None:
    """Say why this program or module cannot be used; None if it can."""
    if name == "zmq":
        is_here = importlib.util.find_spec(name) is not None
    else:
        is_here = shutil.which(name) is not None
    return None if is_here else _HINTS[name]


def versions() -> dict[str, str]:
    """Give the version of all that takes part and is here."""
    found = {"Python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if lack("node") is None:
        found["Node"] = _said("node", "--version").lstrip("v")
    if lack("wrk") is None:
        found["wrk"] = _said("wrk", "--version").split()[1]  # its exit code is 1
    return found


def _said(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.strip()
