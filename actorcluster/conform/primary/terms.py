"""What a primary says of itself in WELCOME.

Runs in: both
"""

from __future__ import annotations

from typing import final

import attrs

from ...wire._generated import LIMIT_DEFAULTS
from .talk import Frame

__all__ = ["Problem", "Terms"]


class Problem(Exception):
    """The primary did not do what it must; the text says what."""


@final
@attrs.frozen
class Terms:
    """What the primary has said of itself in WELCOME.

    Attributes:
        limits: what it can receive, with the defaults.
        caps: in force, of all that there are.
    """

    limits: dict[str, int]
    caps: frozenset[str]

    @classmethod
    def of(cls, welcome: Frame) -> Terms:
        """Read a WELCOME.

        Raises:
            Problem: it is none.
        """
        said = welcome.payload
        if not isinstance(said, dict):
            raise Problem("WELCOME without a map")
        limits = said.get("limits") or {}
        return cls({**LIMIT_DEFAULTS, **limits}, frozenset(said.get("caps") or ()))
