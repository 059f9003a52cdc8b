"""The registry and the vectors, from the installed package or from the checkout.

Runs in: both

A wheel has them beside this file; in a checkout they stand in ``protocol/``.
"""

from __future__ import annotations

import functools
import json
import tomllib
from pathlib import Path
from typing import Any, Final

import attrs

__all__ = [
    "STREAM_FILES",
    "Requirement",
    "preludes",
    "protocol_directory",
    "requirements",
    "vectors",
]

STREAM_FILES: Final = (
    "streams",
    "fragments",
    "descriptors",
    "faults",
    "aborts",
    "monitors",
    "codes",
)
_INSTALLED: Final = Path(__file__).with_name("protocol")
_CHECKOUT: Final = Path(__file__).parents[2] / "protocol"


@attrs.frozen
class Requirement:
    """A numbered sentence of the specification.

    Attributes:
        level: MUST, SHOULD or MAY.
        applies: to the "worker", the "primary" or "both".
        is_built: not *reserved*.
    """

    id: str
    level: str
    applies: str
    is_built: bool
    text: str


@functools.cache
def protocol_directory() -> Path:
    """Find the directory with the registry and the vectors."""
    for place in (_INSTALLED, _CHECKOUT):
        if (place / "awp.v1.toml").is_file():
            return place
    raise FileNotFoundError(f"there is no awp.v1.toml in {_INSTALLED} or {_CHECKOUT}")


@functools.cache
def requirements() -> dict[str, Requirement]:
    """Give all sentences by id, in the order of the registry."""
    data = tomllib.loads((protocol_directory() / "awp.v1.toml").read_text(encoding="utf-8"))
    return {
        one["id"]: Requirement(
            one["id"],
            one["level"],
            one["applies"],
            one["status"] == "built",
            " ".join(one["text"].split()),
        )
        for one in data["requirement"]
    }


@functools.cache
def vectors(name: str) -> list[dict[str, Any]]:
    """Read one of the vector files."""
    found: list[dict[str, Any]] = _load(name)
    return found


@functools.cache
def preludes() -> dict[str, Any]:
    """Read what was said before a stream begins, by name."""
    found: dict[str, Any] = _load("preludes")
    return found


def _load(name: str) -> Any:
    path = protocol_directory() / "vectors" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))
