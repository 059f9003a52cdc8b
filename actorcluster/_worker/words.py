"""Texts of others, fit to be shown.

Runs in: primary
"""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    """Escape what would do something to a terminal or a log file rather than be seen in it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
