"""Cuts what goes over a side lane into lines, and writes the record of each. Pure.

Runs in: primary

It shares nothing with the library's own reading of lines but their words, as `tap` does not with
that of frames. Of a line that is no handle and no answer it is noted that there was one: what it
says is between the worker's runtime and its program.

Answers have no numbers on the wire: each is for the first handle that has none, as in
`protocol/SPEC.md`, section 25.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, final

from .._link.nodelines import HANDLE, HANDLE_ACK, HANDLE_NACK
from .tap import Fd
from .tracefile import FROM_WORKER, TO_WORKER, Direction, Lane, encode

__all__ = ["LaneTap"]

_LONGEST: Final = 64 * 1024
"""Of a line: the library reads no longer ones."""
_ANSWERS: Final = {HANDLE_ACK: "ack", HANDLE_NACK: "nack"}
_LARGEST: Final = 2**63


@final
class LaneTap:
    """One worker's lane.

    Args:
        worker: its id.
        note: takes records.
        now: microseconds since the trace began.
    """

    def __init__(self, worker: int, note: Callable[[bytes], None], now: Callable[[], int]) -> None:
        self._worker = worker
        self._note = note
        self._now = now
        self._rest = bytearray(), bytearray()  # of lines whose end is not here
        self._fds: tuple[deque[Fd], deque[Fd]] = deque(), deque()
        self._unanswered: tuple[deque[int], deque[int]] = deque(), deque()
        self._is_over = [False, False]

    def pass_on(
        self,
        direction: Direction,
        buffers: Iterable[bytes | bytearray | memoryview],
        fds: Iterable[Fd] = (),
    ) -> None:
        """Take note of what has gone or come."""
        if self._is_over[direction]:
            return
        self._fds[direction].extend(fds)
        rest = self._rest[direction]
        for buffer in buffers:
            rest += buffer
        *lines, left = rest.split(b"\n")
        rest[:] = left
        for line in lines:
            what, number = _said(line)
            self._take(direction, what, number)
            if self._is_over[direction]:
                return
        if len(rest) > _LONGEST:
            self._take(direction, "broken")

    def end(self, direction: Direction) -> None:
        """That side has closed it."""
        if not self._is_over[direction]:
            self._take(direction, "end")

    def _take(self, direction: Direction, what: str, number: int = 0) -> None:
        fds: Sequence[Fd] = ()
        if what == "handle":
            waiting = self._fds[direction]
            fds = (waiting.popleft(),) if waiting else ()
            self._unanswered[direction].append(number)
        elif what in ("ack", "nack"):
            asked = self._unanswered[TO_WORKER if direction == FROM_WORKER else FROM_WORKER]
            number = asked.popleft() if asked else 0
        elif what != "other":
            self._is_over[direction] = True
            self._rest[direction].clear()
            fds = tuple(self._fds[direction])  # that no line has named
        time, worker = self._now(), self._worker
        lane = Lane(
            time=time, worker=worker, direction=direction, what=what, number=number,
            fds=tuple(fds),
        )  # fmt: skip
        self._note(encode(lane))


def _said(line: bytes | bytearray) -> tuple[str, int]:
    """What a line says, and the number of the handle that comes with it, else 0."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return "broken", 0
    command = said.get("cmd") if isinstance(said, dict) else None
    if command != HANDLE:
        return (_ANSWERS.get(command, "other") if isinstance(command, str) else "other"), 0
    message: Any = said.get("msg")
    number = message.get("handle") if isinstance(message, dict) else None
    return "handle", number if type(number) is int and 0 < number < _LARGEST else 0
