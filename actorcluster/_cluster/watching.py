"""Who wants to be told of whose end: the primary itself, and workers by MONITOR.

Runs in: primary

A watch is on one life as soon as there is one. Until then, and for groups always, it is on a name,
and looked at again whenever the tree has changed. It is told once, and then forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol, final

import attrs

from .._worker.exit import ExitStatus
from .._worker.monitor import Monitor, detail_of
from .._worker.peer import Peer
from .._worker.ref import Ref
from ..wire.events import Demonitored, Monitored

__all__ = ["End", "Sights", "Watch", "Watching", "WorkerWatches"]


class End(NamedTuple):
    """What there is to tell.

    Attributes:
        worker_id: whose life that was; None: of nobody.
        status: how it ended; None when nobody knows.
        existed: whether there ever was anybody.
    """

    worker_id: int | None
    status: ExitStatus | None
    existed: bool = True


_UNKNOWN: Final = End(None, None)


class Sights(Protocol):
    """Knows who lives, who will, and how others ended."""

    def sight(self, to: int | str) -> int | End | None:
        """Give the id of the life meant, or how it ended; None: it is too early to say."""


@final
@attrs.define(eq=False)
class Watch:
    """One who wants to be told.

    Attributes:
        to: whose end.
        tell: takes it; must not raise.
        life: the id of the life it is on, None while it is on a name.
    """

    to: int | str
    tell: Callable[[End], None]
    life: int | None = None


@final
class Watching:
    """All watches of one primary.

    Args:
        sights: to know by.

    Attributes:
        of_lives: those that are on a life, by its id.
        of_names: those that are on a name.
    """

    def __init__(self, sights: Sights) -> None:
        self._sights = sights
        self.of_lives: dict[int, dict[Watch, None]] = {}
        self.of_names: dict[int | str, dict[Watch, None]] = {}
        self._closed = False

    def __len__(self) -> int:
        """How many there are."""
        return sum(map(len, (*self.of_lives.values(), *self.of_names.values())))

    def begin(self, watch: Watch) -> None:
        """Tell it when there is something to tell, maybe at once."""
        sight = self._sights.sight(watch.to)
        if isinstance(sight, End):
            watch.tell(sight)
        elif sight is None and self._closed:
            watch.tell(_UNKNOWN)
        elif sight is None:
            self.of_names.setdefault(watch.to, {})[watch] = None
        else:
            watch.life = sight
            self.of_lives.setdefault(sight, {})[watch] = None

    def end(self, watch: Watch) -> None:
        """It is not to be told any more. Nothing happens if it was."""
        if watch.life is not None:
            _drop(self.of_lives, watch.life, watch)
        else:
            _drop(self.of_names, watch.to, watch)

    def ended(self, worker_id: int, status: ExitStatus) -> None:
        """A life has ended."""
        for watch in self.of_lives.pop(worker_id, ()):
            watch.tell(End(worker_id, status))

    def look_again(self) -> None:
        """The tree has changed: there may be somebody now, or never will be."""
        for name in list(self.of_names):
            if self._sights.sight(name) is not None:
                for watch in self.of_names.pop(name):
                    self.begin(watch)

    def close(self) -> None:
        """The primary has closed: what is left is on itself."""
        self._closed = True
        names, self.of_names = self.of_names, {}
        for watches in names.values():
            for watch in watches:
                watch.tell(_UNKNOWN)

    def monitor(self, ref: Ref) -> Monitor:
        """Make a monitor in the primary, see `Ref.monitor`."""

        def begin(settle: Callable[[ExitStatus | None], None]) -> Callable[[], None]:
            to = ref.name if ref.aid is None else ref.aid
            watch = Watch(to, lambda end: settle(end.status))
            self.begin(watch)
            return lambda: self.end(watch)

        return Monitor(ref, begin)


def _drop(watches: dict[Any, dict[Watch, None]], key: int | str, watch: Watch) -> None:
    ours = watches.get(key, {})
    ours.pop(watch, None)
    if not ours:
        watches.pop(key, None)


@final
class WorkerWatches:
    """The monitors of one worker.

    Args:
        life: the worker's.
        watching: those of all.
    """

    def __init__(self, life: Peer, watching: Watching) -> None:
        self._life = life
        self._watching = watching
        self._open: dict[int, Watch] = {}

    def on_event(self, event: Monitored | Demonitored) -> None:
        """The worker wants to be told, or does not any more."""
        number = event.number
        if isinstance(event, Demonitored):
            # None: it was told at once, when this was read already.
            if (ended := self._open.pop(number, None)) is not None:
                self._watching.end(ended)
            return

        def tell(end: End) -> None:
            del self._open[number]
            self._down(number, end)

        self._open[number] = watch = Watch(event.target, tell)
        self._watching.begin(watch)

    def gone(self) -> None:
        """The worker is gone."""
        watches, self._open = self._open, {}
        for watch in watches.values():
            self._watching.end(watch)

    def _down(self, number: int, end: End) -> None:
        life = self._life
        aid = None if end.worker_id is None else end.worker_id << 32
        reason: str = "gone" if end.existed else "no_such_actor"
        detail = {}
        if end.status is not None:
            reason, detail = end.status.reason, detail_of(end.status)
        life.connection.send_down(number, aid, reason, detail)
        if life.channel is not None:
            life.channel.flush()
