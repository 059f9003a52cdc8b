"""What a worker is told that was told to stop and wants a port; what a main ended by, in groups.

Runs in: both

A Stop may come at any moment, also just before main asks for its first port. Left alone, what that
raises is no failure: main has nothing to begin, and ends.
"""

from __future__ import annotations

from typing import final

import trio

__all__ = ["ToldToStop", "is_only", "is_stop"]


@final
class ToldToStop(trio.ClosedResourceError):
    """Raised where a worker that was told to stop asks for a port; to users it is Trio's."""


ToldToStop.__module__ = "trio"  # in tracebacks, and wherever an error is named by its class
ToldToStop.__name__ = ToldToStop.__qualname__ = "ClosedResourceError"


def is_stop(error: BaseException) -> bool:
    """Whether what left a main is no more than that."""
    return is_only(error, ToldToStop)


def is_only(error: BaseException, kind: type[BaseException]) -> bool:
    """Whether it is of this kind and nothing else, however wrapped."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(kind)[1] is None
    return isinstance(error, kind)
