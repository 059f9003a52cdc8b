"""Writes a primary's trace: one system call per pass of the scheduler, and never an error.

Runs in: primary

What is noted gathers until every task that can run in the pass has had its turn, and is then
written to the page cache. The first error ends the trace: it is logged once, and what is not
written from then on is counted.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Final, final

from .._link.carrier import Carrier
from .._link.lane import LaneSocket
from .._link.passes import passes
from .._link.tracing import TraceStatistics
from .carrier import TracedCarrier, TracedLane
from .lanes import LaneTap
from .store import Store
from .tap import Tap
from .tracefile import FROM_WORKER, Begin, End, Exit, Record, Spawn, encode

__all__ = ["Recorder"]

log = logging.getLogger("actorcluster.trace")

_MOST_BODY: Final = 1024 * 1024
_PER_FILE: Final = 4
"""So many of the largest bodies fit into a file."""
_LIFE_SIZE: Final = 24


@final
class Recorder:
    """The trace of one primary; see `Tracing` for what its parts tell it.

    Args:
        path: of the newest file.
        bodies: whether the application's bodies are in it.
        size: bytes of all files, at most.

    Raises:
        OSError: it cannot be written there.
    """

    def __init__(self, path: str, *, bodies: bool, size: int) -> None:
        self._bodies = bodies
        self._most_body = min(_MOST_BODY, size // 2 // _PER_FILE)
        self._began = time.time_ns() // 1000
        self._zero = time.monotonic_ns()
        self._pid = os.getpid()
        self._lives: dict[int, tuple[int, str]] = {}
        self._pending: list[bytes] = []
        self._lost = 0
        self._is_over = False
        self._passes = passes()
        self._store = Store(path, size, self._begin, self._full)

    def statistics(self) -> TraceStatistics:
        """Count what was written."""
        return TraceStatistics(
            path=self._store.path,
            part=self._store.part,
            records=self._store.records,
            lost=self._lost,
            is_over=self._is_over,
        )

    def close(self) -> None:
        """Write what is left, and the end; may be called again."""
        if not self._is_over:
            self._pending.append(encode(End(time=self._now(), why="closed")))
            self._write()
        self._is_over = True
        self._store.close()

    # ---- what it is told ------------------------------------------------------------------

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
        """See `Tracing.spawned`."""
        self._lives[worker] = pid, name
        spawn = Spawn(
            time=self._now(), worker=worker, pid=pid, name=name, method=method,
            protocol=protocol, channel=channel, lane=lane,
        )  # fmt: skip
        self._note_record(spawn)

    def exited(
        self, worker: int, pid: int | None, *, code: int | None, signal: str | None, reason: str
    ) -> None:
        """See `Tracing.exited`."""
        self._lives.pop(worker, None)
        time_ = self._now()
        self._note_record(
            Exit(time=time_, worker=worker, pid=pid, code=code, signal=signal, reason=reason)
        )

    def carry(self, carrier: Carrier, worker: int, unread: bytes = b"") -> Carrier:
        """See `Tracing.carry`."""
        note, now, has_lane = self._note, self._now, isinstance(carrier, LaneSocket)
        tap = Tap(worker, note, now, bodies=self._bodies, most=self._most_body, lane=has_lane)
        if isinstance(carrier, LaneSocket):
            lane = LaneTap(worker, note, now)
            carrier.wrap_lane(lambda end: TracedLane(end, lane, self._fail))
        if unread:
            tap.pass_on(FROM_WORKER, (unread,))
        return TracedCarrier(carrier, tap, self._fail)

    # ---- writing --------------------------------------------------------------------------

    def _now(self) -> int:
        return (time.monotonic_ns() - self._zero) // 1000

    def _note_record(self, record: Record) -> None:
        self._note(encode(record))

    def _note(self, record: bytes) -> None:
        if self._is_over:
            self._lost += 1
            return
        if not self._pending:
            self._passes.at_the_end(self._write)
        self._pending.append(record)

    def _write(self) -> bool:
        """Write what was noted; gives False, for no task is to run for that."""
        records, self._pending = self._pending, []
        if not records:
            return False
        if self._is_over:
            self._lost += len(records)
            return False
        before = self._store.records
        try:
            self._store.append(records)
        except Exception as exc:  # noqa: BLE001  (a fault of the trace must not be the cluster's)
            self._lost += len(records) - (self._store.records - before)
            self._fail(exc)
        return False

    def _fail(self, exc: Exception) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._store.close()
        log.warning("the trace ends, and the cluster goes on: %s: %s", self._store.path, exc)

    def _begin(self, part: int, size: int) -> bytes:
        lives, room = [], size // _PER_FILE
        for worker, (pid, name) in self._lives.items():
            room -= len(name.encode()) + _LIFE_SIZE
            if room > 0:
                lives.append((worker, pid, name))
        begin = Begin(
            time=self._now(), part=part, began=self._began, primary=self._pid,
            bodies=self._bodies, size=size, lives=tuple(lives),
        )  # fmt: skip
        return encode(begin)

    def _full(self) -> bytes:
        return encode(End(time=self._now(), why="full"))
