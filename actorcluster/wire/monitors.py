"""Monitors: asking to be told of the end of another actor, and being told.

Runs in: both
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..errors import LocalProtocolError
from ._generated import AbortCode, Kind
from .events import Demonitored, Down, Monitored
from .fields import read_envelope, read_map
from .frames import Frame, encode_frame
from .ports import Ports
from .session import NIL

__all__ = ["Monitors"]

_LAST_NUMBER: Final = 2**32 - 1
#: Longer texts of a DOWN are cut off, so that it fits into any frame.
_LONGEST_TEXT: Final = 1000


class Monitors(Ports):
    """The layer of MONITOR, DEMONITOR and DOWN; both ends know the numbers that are open."""

    _next_monitor = 1

    # ---- out: the worker ------------------------------------------------------------------

    def send_monitor(self, target: int | str) -> int:
        """Ask to be told of an end; returns the number of the `Down`.

        Raises:
            LocalProtocolError: not now, or there are ``max_monitors`` already.
            MessageTooLarge: the name does not fit into a frame.
        """
        self._check_sendable(Kind.MONITOR)
        limit = self.peer_limits["max_monitors"]
        if len(self._monitors) >= limit:
            raise LocalProtocolError(f"there are {limit} monitors, the peer takes no more")
        number = self._next_monitor
        while number in self._monitors:
            number = _after(number)
        envelope = self._pack([number, target])
        self._outbox.put(self._whole_frame(Kind.MONITOR, 0, envelope, NIL))
        self._monitors.add(number)
        self._next_monitor = _after(number)
        return number

    def send_demonitor(self, number: int) -> None:
        """Take a monitor back. Nothing happens when it, or the connection, is over already."""
        if number in self._monitors:
            self._monitors.remove(number)
            if Kind.DEMONITOR in self._machine.sendable:
                self._outbox.put(encode_frame(Kind.DEMONITOR, 0, self._pack([number]), NIL))

    # ---- out: the primary -----------------------------------------------------------------

    def send_down(
        self, number: int, aid: int | None, reason: str, detail: Mapping[str, Any]
    ) -> None:
        """Answer a `Monitored`. Nothing happens when it, or the connection, is over already.

        Args:
            number: of the monitor.
            aid: of the life that ended, None for nobody.
            reason: in a word.
            detail: see the registry's keys of DOWN; texts are cut to what fits into any frame.
        """
        if number in self._monitors:
            self._monitors.remove(number)
            if Kind.DOWN in self._machine.sendable:
                envelope = self._pack([number, aid, reason])
                payload = self._encode_map({key: _brief(value) for key, value in detail.items()})
                self._outbox.put_answer(encode_frame(Kind.DOWN, 0, envelope, payload))

    # ---- in -------------------------------------------------------------------------------

    def _on_monitor(self, frame: Frame) -> None:
        number, target = read_envelope(frame.kind, frame.envelope)
        if number in self._monitors:
            raise self._violation("AWP-SU-2", f"MONITOR {number} is open already")
        limit = self.limits["max_monitors"]
        if len(self._monitors) >= limit:
            text = f"more than {limit} monitors"
            raise self._violation("AWP-SU-4", text, AbortCode.LIMIT_EXCEEDED)
        self._monitors.add(number)
        self._events.append(Monitored(number, target))

    def _on_demonitor(self, frame: Frame) -> None:
        (number,) = read_envelope(frame.kind, frame.envelope)
        if number in self._monitors:
            self._monitors.remove(number)
            self._events.append(Demonitored(number))

    def _on_down(self, frame: Frame) -> None:
        number, aid, reason = read_envelope(frame.kind, frame.envelope)
        detail = read_map(frame.kind, frame.payload)
        if number in self._monitors:
            self._monitors.remove(number)
            self._events.append(Down(number, aid, reason, detail))


def _after(number: int) -> int:
    return number + 1 if number < _LAST_NUMBER else 1


def _brief(value: Any) -> Any:
    """A text that can be sent, and is not long; other values as they are."""
    if not isinstance(value, str):
        return value
    return value[:_LONGEST_TEXT].encode("utf-8", "replace").decode()
