"""A worker's own monitors, by the numbers that the primary answers.

Runs in: worker
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Protocol, final

from .._link.channel import Channel
from ..wire.events import Down
from .exit import ExitStatus
from .monitor import LOST, Monitor, status_from
from .ref import Ref, is_primary

__all__ = ["Watches"]


class Way(Protocol):
    """How a worker reaches its primary."""

    @property
    def channel(self) -> Channel: ...
    def is_connected(self) -> bool: ...


_Settle = Callable[[ExitStatus | None], None]


@final
class Watches:
    """Whom a worker watches.

    The primary is watched without a word: its end is the end of the channel.

    Args:
        way: to the primary.
    """

    def __init__(self, way: Way) -> None:
        self._way = way
        self._waiting: dict[int, _Settle] = {}
        self._of_primary = itertools.count(-1, -1)

    def monitor(self, ref: Ref) -> Monitor:
        """See `Ref.monitor`."""

        def begin(settle: _Settle) -> Callable[[], None]:
            return self._begin(ref, settle)

        return Monitor(ref, begin)

    def _begin(self, ref: Ref, settle: _Settle) -> Callable[[], None]:
        if not self._way.is_connected():
            settle(LOST)
            return lambda: None
        if is_primary(ref):
            number = next(self._of_primary)
        else:
            channel = self._way.channel
            number = channel.connection.send_monitor(ref.name if ref.aid is None else ref.aid)
            channel.flush()
        self._waiting[number] = settle
        return lambda: self._end(number)

    def _end(self, number: int) -> None:
        if self._waiting.pop(number, None) is not None and number > 0:
            channel = self._way.channel
            channel.connection.send_demonitor(number)
            channel.flush()

    def on_down(self, event: Down) -> None:
        """The primary says how somebody ended."""
        settle = self._waiting.pop(event.number)
        settle(None if event.aid is None else status_from(event.reason, event.detail))

    def lose(self) -> None:
        """The primary is lost, and with it all that it knew."""
        waiting, self._waiting = self._waiting, {}
        for settle in waiting.values():
            settle(LOST)
