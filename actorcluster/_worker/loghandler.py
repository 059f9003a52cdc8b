"""A `logging.Handler` that sends what a worker logs to its primary.

Runs in: worker

Theory of operation
===================

A record may be logged by any thread, in a signal handler, and by the code that writes the channel.
So nothing is sent where it is logged: it is put into a queue, and the event loop is asked to empty
that at its next turn. The queue is bounded, and so is what is given to the channel at once: a
primary that does not read, or a loop that stands still, costs records, not memory. How many is told
by one more record, in the place where they are missing.

A copy of the process, made by a fork, has the handler, and nobody that it could send to: there it
does nothing. So it does once the channel is over.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from typing import Any, Final, NamedTuple, final

import trio

from .._link.channel import Channel
from ..errors import LocalProtocolError, MessageTooLarge

__all__ = ["LogQueue", "PrimaryHandler"]

_MOST_RECORDS: Final = 1000
_MOST_CHARACTERS: Final = 1024 * 1024
#: That much is given to the channel, until that has written it.
_AT_ONCE: Final = 256 * 1024
#: What it costs beside its text.
_OVERHEAD: Final = 200
_LOGGER: Final = "actorcluster.actor"


class _Line(NamedTuple):
    level: int
    time: float
    logger: str
    message: str
    attributes: dict[str, Any]

    @property
    def size(self) -> int:
        return len(self.message) + _OVERHEAD


@final
class LogQueue:
    """What waits to be sent, of all handlers of one worker.

    Args:
        channel: to the primary.

    Attributes:
        level: lower ones are not worth sending, as the primary said.
    """

    def __init__(self, channel: Channel) -> None:
        self.level = 0
        self._channel = channel
        self._lock = threading.RLock()  # a signal's handler may log while we have it
        self._lines: deque[_Line] = deque()
        self._size = 0
        self._dropped = 0
        self._given = 0
        self._waits = False
        self._pid = os.getpid()
        self._token = trio.lowlevel.current_trio_token()

    def put(self, line: _Line) -> None:
        """Queue a record; from any thread."""
        if os.getpid() != self._pid or self._channel.ended:
            return
        with self._lock:
            if len(self._lines) >= _MOST_RECORDS or self._size + line.size > _MOST_CHARACTERS:
                self._dropped += 1
                return
            if self._dropped:
                line_of_dropped = self._missing(line.time)
                self._lines.append(line_of_dropped)
                self._size += line_of_dropped.size
            self._lines.append(line)
            self._size += line.size
        try:
            self._token.run_sync_soon(self.flush, idempotent=True)
        except trio.RunFinishedError:
            self._lines.clear()

    def _missing(self, when: float) -> _Line:
        text = f"{self._dropped} log records were dropped here: there were too many"
        self._dropped = 0
        return _Line(logging.WARNING, when, _LOGGER, text, {})

    def flush(self, *, is_last: bool = False) -> None:
        """Give the channel what waits; in the event loop.

        Args:
            is_last: all of it, for there is no later.
        """
        channel = self._channel
        if channel.is_flushed:
            self._given = 0
        while self._lines and (is_last or self._given < _AT_ONCE):
            with self._lock:
                line = self._lines.popleft()
                self._size -= line.size
            self._given += line.size
            self._send(line)
        if is_last and self._dropped:
            self._send(self._missing(time.time()))
        channel.flush()
        if self._lines and not self._waits:
            self._waits = True
            trio.lowlevel.spawn_system_task(self._go_on)

    def _send(self, line: _Line) -> None:
        try:
            self._channel.connection.send_log(*line)
        except (LocalProtocolError, MessageTooLarge):  # nobody hears it any more
            self._lines.clear()

    async def _go_on(self) -> None:
        """Wait until the primary has read some of it."""
        try:
            await self._channel.wait_flushed()
        finally:
            self._waits = False
        self.flush()


@final
class PrimaryHandler(logging.Handler):
    """Sends records to the primary; see `Actor.log_handler`.

    Args:
        queue: of the worker.
        level: lower ones are not sent.
    """

    def __init__(self, queue: LogQueue, level: int | str = logging.NOTSET) -> None:
        super().__init__(level)
        self._queue = queue

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record."""
        if record.levelno < self._queue.level:
            return
        try:
            self._queue.put(
                _Line(
                    int(record.levelno),
                    float(record.created),
                    _text(record.name),
                    _text(self.format(record)),
                    {
                        "file": _text(record.pathname),
                        "line": int(record.lineno),
                        "function": _text(record.funcName or ""),
                        "thread": _text(record.threadName or ""),
                    },
                )
            )
        except Exception:  # noqa: BLE001  (as every handler: to log must not fail)
            self.handleError(record)


def _text(text: str) -> str:
    """Fit to be sent: file names may hold what is no UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
