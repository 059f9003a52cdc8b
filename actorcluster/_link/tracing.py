"""What writes down what goes over the workers' connections, as those see it that make them.

Runs in: primary

There is one only where somebody wants a trace; then what carries the bytes is wrapped, once for
each connection, and nothing else knows of it.
"""

from __future__ import annotations

from typing import Protocol, final

import attrs

from .carrier import Carrier

__all__ = ["TraceStatistics", "Tracing"]


@final
@attrs.frozen(kw_only=True)
class TraceStatistics:
    """What was written of a trace.

    Attributes:
        path: of the newest file.
        part: its number; another one has begun as often as one was full.
        records: written so far, to all of them.
        lost: that were not written, since it failed.
        is_over: whether it has.
    """

    path: str
    part: int
    records: int
    lost: int
    is_over: bool


class Tracing(Protocol):
    """The trace of one primary; nothing here ever raises or waits."""

    def spawned(
        self,
        worker: int,
        pid: int,
        *,
        name: str,
        method: str,
        protocol: str,
        channel: str,
        lane: bool,
    ) -> None:
        """A worker's process is there."""

    def carry(self, carrier: Carrier, worker: int, unread: bytes = b"") -> Carrier:
        """Wrap what carries the bytes of a connection.

        Args:
            carrier: of a connection over which nothing has gone.
            worker: whose.
            unread: what has come before, all the same.
        """

    def exited(
        self, worker: int, pid: int | None, *, code: int | None, signal: str | None, reason: str
    ) -> None:
        """A worker's process is gone, or never came into being."""

    def statistics(self) -> TraceStatistics:
        """Count what was written."""
