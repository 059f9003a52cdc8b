"""Whether a primary writes a trace, and where: what `open_primary` was given, or the environment.

Runs in: primary
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Final, final

import attrs

from .._link.tracing import Tracing

__all__ = ["TRACE_VARIABLE", "Wish", "traced", "wish"]

log = logging.getLogger("actorcluster.trace")

TRACE_VARIABLE: Final = "ACTORCLUSTER_TRACE"
SMALLEST: Final = 64 * 1024


@final
@attrs.frozen(kw_only=True)
class Wish:
    """What somebody wants.

    Attributes:
        path: of the file.
        is_asked: by the program, which is told when it cannot be had; else by the environment.
    """

    path: str
    bodies: bool
    size: int
    is_asked: bool


def wish(trace: object, bodies: object, size: object) -> Wish | None:
    """Check the arguments of `open_primary`; None: no trace is wanted.

    Raises:
        TypeError, ValueError: one of them is wrong.
    """
    if not isinstance(bodies, bool):
        raise TypeError(f"trace_bodies must be a bool, not {bodies!r}")
    if isinstance(size, bool) or not isinstance(size, int):
        raise TypeError(f"trace_size must be a number of bytes, not {size!r}")
    if size < SMALLEST:
        raise ValueError(f"trace_size must be at least {SMALLEST}, not {size}")
    if trace is not None:
        if not isinstance(trace, str | os.PathLike):
            raise TypeError(f"trace must be a path, not {trace!r}")
        path = os.fsdecode(os.fspath(trace))
        if not path:
            raise ValueError("trace must be a path, not an empty one")
        return Wish(path=path, bodies=bodies, size=size, is_asked=True)
    path = os.environ.get(TRACE_VARIABLE, "")
    return Wish(path=path, bodies=bodies, size=size, is_asked=False) if path else None


@contextlib.contextmanager
def traced(wanted: Wish | None) -> Iterator[Tracing | None]:
    """Write a trace as long as the block lasts, if one is wanted.

    Raises:
        OSError: the program has asked for one that cannot be written.
    """
    if wanted is None:
        yield None
        return
    from ..trace.recorder import Recorder  # noqa: PLC0415  (few need it)

    try:
        tracing = Recorder(wanted.path, bodies=wanted.bodies, size=wanted.size)
    except OSError as exc:
        if wanted.is_asked:
            raise
        log.warning("%s is ignored: %s", TRACE_VARIABLE, exc)
        yield None
        return
    try:
        yield tracing
    finally:
        tracing.close()
