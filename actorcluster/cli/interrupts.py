"""Ctrl-C: how it is known, and the exit code that tells of it.

Runs in: primary
"""

from __future__ import annotations

from typing import Final

__all__ = ["INTERRUPTED", "is_interrupt"]

INTERRUPTED: Final = 130
"""What shells say of a program that Ctrl-C ended."""


def is_interrupt(exc: BaseException) -> bool:
    """Whether it is Ctrl-C, or a group of exceptions that has it."""
    if isinstance(exc, BaseExceptionGroup):
        return exc.subgroup(KeyboardInterrupt) is not None
    return isinstance(exc, KeyboardInterrupt)
