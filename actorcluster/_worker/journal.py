"""What a worker logs, as records of `logging` in its primary.

Runs in: primary

A worker's words are text and stay text. They come into a record as arguments of a format that is
ours, with control characters escaped and cut to a length; no logger is made for a name that a
worker chose; a time or level that makes no sense is replaced. So the worst that it can do is to say
something untrue under its own name, and how often it can do that is bounded, see `logquota`.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from typing import Any, Final, final

import trio

from ..wire.events import Log
from .logquota import LogQuota
from .words import printable

__all__ = ["Journal"]

_BASE: Final = "actorcluster.worker"
#: A name that nobody chose. Such are new with each fork, and a logger is never forgotten.
_NO_NAME: Final = re.compile(r"worker-\d+\Z")

_LONGEST: Final = 16 * 1024
_LONGEST_NAME: Final = 256
_LONGEST_ATTRIBUTE: Final = 1024
_MOST_ATTRIBUTES: Final = 32
#: A record that waited for so many seconds keeps its own time; another has a wrong clock.
_OLDEST: Final = 86_400.0
_SCALARS: Final = (bool, int, float, type(None))

log = logging.getLogger(_BASE)


@final
class Journal:
    """Writes down what one life logs.

    Args:
        name: of the place.
        worker_id: of the life.
    """

    def __init__(self, name: str, worker_id: int) -> None:
        self._name = name
        self._worker_id = worker_id
        self._is_named = _NO_NAME.match(name) is None
        suffix = name if self._is_named else "unnamed"
        self._logger = logging.getLogger(f"{_BASE}.{suffix}")
        self._quota = LogQuota()

    @property
    def dropped(self) -> int:
        """Records that came too fast."""
        return self._quota.dropped

    def note(self, event: Log, pid: int | None) -> None:
        """Write down one record, unless nobody would see it, or there are too many.

        Args:
            event: what the worker said.
            pid: of it.
        """
        level = min(max(event.level, 1), logging.CRITICAL)
        if not self._logger.isEnabledFor(level):
            return
        now = trio.current_time()
        text = event.message[:_LONGEST]
        is_taken = self._quota.take(now, len(text) + len(event.logger) + _size(event.attributes))
        self._tell(self._quota.to_tell(now))
        if is_taken:
            self._logger.handle(self._record(event, level, text, pid))

    def close(self) -> None:
        """The life is over: tell of the last that were dropped."""
        self._tell(self._quota.rest())

    def _tell(self, dropped: int) -> None:
        if dropped:
            log.warning("worker %s logs too much: %d records were dropped", self._name, dropped)

    def _record(self, event: Log, level: int, text: str, pid: int | None) -> logging.LogRecord:
        logger = printable(event.logger[:_LONGEST_NAME])
        arguments = (logger, printable(text))
        record = self._logger.makeRecord(
            self._logger.name,
            level,
            "",
            0,
            "%s: %s" if self._is_named else f"{self._name}: %s: %s",
            arguments,
            None,
            extra={
                "worker": self._name,
                "worker_id": self._worker_id,
                "worker_logger": logger,
                "worker_attributes": _attributes(event.attributes),
            },
        )
        age = record.created - event.time
        if math.isfinite(age) and 0 <= age <= _OLDEST:
            record.created = event.time
            record.msecs = float(int(event.time % 1 * 1000))
            record.relativeCreated -= age * 1000
        if pid is not None:
            record.process = pid
        record.processName = self._name
        return record


def _size(attributes: Mapping[Any, Any]) -> int:
    """Characters that a record may have of them."""
    return sum(
        min(len(key), _LONGEST_NAME)
        + (min(len(value), _LONGEST_ATTRIBUTE) if isinstance(value, str) else 0)
        for key, value in attributes.items()
    )


def _attributes(given: Mapping[Any, Any]) -> dict[str, Any]:
    """Those that any handler can write down: few and short, texts and numbers alone."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        if len(found) == _MOST_ATTRIBUTES:
            break
        if isinstance(value, str):
            value = printable(value[:_LONGEST_ATTRIBUTE])  # noqa: PLW2901  (the same, made fit)
        elif not isinstance(value, _SCALARS):
            continue
        found[printable(key[:_LONGEST_NAME])] = value
    return found
