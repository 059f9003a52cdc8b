"""A number and what there is so many of, in English.

Runs in: both
"""

from __future__ import annotations

__all__ = ["counted"]


def counted(count: int, what: str) -> str:
    """Say ``1 case`` or ``2 cases``.

    Args:
        count: how many there are.
        what: a noun, in its singular, whose plural ends in ``s``.
    """
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
