"""One worker's place in the primary: turns the moments of its life into events.

Runs in: primary
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias, TypeVar, final

import attrs
import trio

from .._worker.exit import ExitStatus
from .._worker.life import Life
from .._worker.peer import Peer
from .._worker.report import CrashReport, PastLife
from .._worker.worker import Worker
from ..wire import events as wire_events
from ..wire.connection import Connection
from . import events
from .events import EventHub
from .liveness import Liveness
from .places import Phase, Place
from .ports import Ports
from .relay import Relay
from .supervision import Supervision
from .watching import WorkerWatches

__all__ = ["Role", "Seat"]

E = TypeVar("E", bound=events.Event)

Role: TypeAlias = Literal["present", "successor", "past"]

#: Of so many lives of a place it is known how they ended.
_REMEMBERED: Final = 10


@final
class Seat:
    """A worker, its life, and what happened in it so far.

    Attributes:
        place: whose life it is.
        role: ``"present"``: the place's own; ``"successor"``: it starts beside that, to take over;
            ``"past"``: it was replaced, or is not wanted any more.
    """

    def __init__(
        self,
        hub: EventHub,
        ports: Ports,
        forget: Callable[[Seat], None],
        tree: Supervision,
        place: Place,
        *,
        liveness: Liveness,
    ) -> None:
        self._hub = hub
        self._liveness = liveness
        self._ports = ports
        self._forget = forget
        self._tree = tree
        self.place = place
        self.role: Role = "present"
        self.worker: Worker
        self.life: Peer
        self.relay: Relay
        self.watches: WorkerWatches
        self.history: dict[type[events.Event], events.Event] = {}
        self.happened = trio.Event()
        self._asks: int | None = None

    def is_in(self, hub: EventHub) -> bool:
        """Whether it is a seat of the primary with that hub."""
        return hub is self._hub

    def emit(self, event: events.Event) -> None:
        """Remember and tell."""
        self.history.setdefault(type(event), event)
        self.wake()
        self._hub.emit(event)

    def wake(self) -> None:
        """Let those who wait for something look again."""
        happened, self.happened = self.happened, trio.Event()
        happened.set()

    def find(self, kind: type[E]) -> E | None:
        """Give the first event of a kind that has happened so far."""
        return next((event for event in self.history.values() if isinstance(event, kind)), None)

    def may_still(self, kind: type[events.Event]) -> bool:
        """Whether an event of a kind can still happen."""
        if events.Exit in self.history:
            return False
        return events.Disconnect not in self.history or any(
            issubclass(last, kind) for last in (events.Exit, events.Restart, events.GaveUp)
        )

    def forked(self) -> None:
        """Its life begins."""
        self.emit(events.Fork(worker=self.worker))

    def leaving(self) -> None:
        """Somebody wants it gone, and nothing in its place."""
        if self.role != "present":
            return  # its place has another life, which nobody speaks of
        is_next_due = self.place.phase is Phase.WAITING and self.place.status[0] is self.worker
        if self.life.status is None or is_next_due:  # else its successors are others' business
            self._tree.leaving(self.place)

    # what the life tells (see Moments)

    def ready(self) -> None:
        if isinstance(self.life, Life):
            self._liveness.watch(self, self.life)
        if self.role == "present":
            self._tree.ready(self.place)
        elif self.role == "successor":
            self._tree.succeeded(self.place)

    def online(self) -> None:
        self.emit(events.Online(worker=self.worker))

    def draining(self) -> None:
        self._ports.retire(self)
        self.emit(events.Draining(worker=self.worker))

    def disconnected(self) -> None:
        self._asks = self._asks_waiting()  # who still waits may give up before it is reported
        self._ports.forget(self)
        self._liveness.forget(self)
        self.relay.gone()
        self.watches.gone()
        self.emit(events.Disconnect(worker=self.worker))

    def reported(self, status: ExitStatus) -> ExitStatus:
        now, place = trio.current_time(), self.place
        if status.reason not in ("normal", "shutdown"):
            history = tuple(_past(past, now) for past in place.history)
            status = attrs.evolve(status, report=self._report(status, history, now))
        one = (self.worker.incarnation, str(status), now)
        place.history = (one, *place.history[: _REMEMBERED - 1])
        return status

    def exited(self, status: ExitStatus) -> None:
        self._forget(self)
        self.emit(events.Exit(worker=self.worker, status=status))
        if self.role == "present":
            self._tree.ended(self.place, self.worker, status)
        elif self.role == "successor":
            self._tree.successor_ended(self.place, self.worker, status)
        else:
            self._tree.past_ended(self.place)

    def failed(self, error: Exception) -> None:
        self.emit(events.Error(worker=self.worker, error=error))

    def port(self, event: wire_events.Event) -> None:
        self._ports.on_event(self, event)

    def mail(self, event: wire_events.TellReceived | wire_events.CallReceived) -> None:
        self.relay.mail(event)

    def monitor(self, event: wire_events.Monitored | wire_events.Demonitored) -> None:
        self.watches.on_event(event)

    def bounced(self, event: wire_events.Undeliverable) -> bool:
        return self.relay.bounced(event)

    def _report(self, status: ExitStatus, history: tuple[PastLife, ...], now: float) -> CrashReport:
        life, worker = self.life, self.worker
        return CrashReport(
            name=worker.name,
            worker_id=worker.id,
            incarnation=worker.incarnation,
            pid=worker.pid,
            ended=str(status),
            reason=status.reason,
            code=status.code,
            signal=status.signal,
            error=status.error,
            rusage=status.rusage,
            uptime=0.0 if life.ready_at is None else now - life.ready_at,
            asks_in_flight=self._asks_waiting() if self._asks is None else self._asks,
            history=history,
            stack=None if life.stack is None else life.stack.text,
            **self._last_words(),
        )

    def _asks_waiting(self) -> int:
        channel = self.life.channel
        return 0 if channel is None else channel.statistics().asks_waiting

    def _last_words(self) -> dict[str, Any]:
        tee = None if self.life.process is None else self.life.process.tee
        if tee is None:  # maybe because there is no process; then it wrote nothing
            return {"stderr": () if self.worker.settings.stderr == "capture" else None}
        return {
            "stderr": tee.last.lines(),
            "stderr_dropped": tee.last.dropped,
            "stderr_unshown": tee.unshown,
        }

    # what the ports need (see PortClient)

    @property
    def id(self) -> int:
        return self.worker.id

    @property
    def connection(self) -> Connection:
        return self.life.connection

    @property
    def listen_fds(self) -> Mapping[str, int] | tuple[int, ...]:
        return self.worker.settings.listen_fds

    def flush(self) -> None:
        if self.life.channel is not None:
            self.life.channel.flush_once()

    def listening(self, address: tuple[str, int] | str) -> None:
        self.life.set_listening()
        self.emit(events.Listening(worker=self.worker, address=address))


def _past(past: tuple[int, str, float], now: float) -> PastLife:
    incarnation, ended, at = past
    return PastLife(incarnation=incarnation, ended=ended, ago=now - at)
