"""The diagnostic form of the vectors: JSON that says everything msgpack can say.

Runs in: both
"""

from __future__ import annotations

from actorcluster.conform.diagnostic import (
    NamedHandle,
    from_diagnostic,
    same,
    to_diagnostic,
)

__all__ = ["NamedHandle", "from_diagnostic", "same", "to_diagnostic"]
