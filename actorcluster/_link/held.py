"""Handles inside a body value, wherever they are.

Runs in: both
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..wire.sendable import entries
from .handles import Handle

__all__ = ["handles_in"]


def handles_in(body: Any) -> Iterator[Handle]:
    """Find the handles in a received body; one that stands in several places comes as often."""
    nests: list[Any] = [[body]]
    while nests:
        for _, value in entries(nests.pop()):
            if isinstance(value, Handle):
                yield value
            elif isinstance(value, (dict, list)):
                nests.append(value)
