"""One worker's place in the primary: turns the moments of its life into events.

Runs in: primary
"""

from __future__ import annotations

import logging
import weakref
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar, final

import trio

from .._worker.deferred import Deferred, settled
from .._worker.exit import ExitStatus, RemoteFailure, add_report, in_words
from .._worker.life import Life
from .._worker.peer import Peer
from .._worker.ref import Ref
from .._worker.report import CrashReport, PastLife
from .._worker.settings import ListenFds
from .._worker.words import printable
from .._worker.worker import Worker
from ..wire import events as wire_events
from ..wire.connection import Connection
from . import events
from .balance import warmth
from .events import EventHub
from .liveness import Liveness
from .passage import Directory
from .places import Phase, Place
from .ports import Ports
from .relay import Relay
from .supervision import Supervision
from .tree import Child
from .watching import Watching, WorkerWatches

__all__ = ["Role", "Seat"]

log = logging.getLogger("actorcluster.task")

E = TypeVar("E", bound=events.Event)

Role: TypeAlias = Literal["present", "successor", "past"]
#: Code, signal, reason and error of an `ExitStatus`.
Ended: TypeAlias = tuple[
    int | None, str | None, str, RemoteFailure | Deferred[RemoteFailure] | None
]
#: Name, id, incarnation and pid of a worker, when it was ready, asks in flight, when it ended.
Facts: TypeAlias = tuple[str, int, int, int | None, float | None, int, float]
#: The incarnation of an earlier life, how it ended, and when.
Past: TypeAlias = tuple[int, Ended, float]

_NOTHING: Final[dict[str, Any]] = {}

#: Of so many lives of a place it is known how they ended.
_REMEMBERED: Final = 10


class SeatedIn(Directory, Protocol):
    """Knows who has which seat.

    Attributes:
        watching: who is to be told of whose end.
    """

    watching: Watching

    def address(self, worker: Worker) -> Ref:
        """Make the ref to this worker, and no other of its name."""

    def remove(self, seat: Seat, worker: Worker) -> None:
        """A worker is gone."""


@final
class Seat:
    """A worker, its life, and what happened in it so far.

    Attributes:
        place: whose life it is.
        role: ``"present"``: the place's own; ``"successor"``: it starts beside that, to take over;
            ``"past"``: it was replaced, or is not wanted any more.
        is_paused: whether it is to get no connections.
    """

    _relay: Relay | None = None
    _watches: WorkerWatches | None = None
    _happened: trio.Event | None = None
    _asks: int | None = None
    is_paused = False
    _worker: Worker | None = None
    _past: weakref.ref[Worker] | None = None
    _ended_at = 0.0

    def __init__(
        self,
        hub: EventHub,
        ports: Ports,
        directory: SeatedIn,
        tree: Supervision,
        place: Place,
        *,
        liveness: Liveness,
    ) -> None:
        self._hub = hub
        self._liveness = liveness
        self._ports = ports
        self._directory = directory
        self._tree = tree
        self.now = tree.now
        self.place = place
        self.role: Role = "present"
        self.life: Peer
        #: the fields of what has happened first of each kind. Events would hold the worker, and
        #: that this: most lives are over without the collector's help.
        self._history: dict[type[events.Event], dict[str, Any]] = {}

    def is_in(self, hub: EventHub) -> bool:
        """Whether it is a seat of the primary with that hub."""
        return hub is self._hub

    @property
    def worker(self) -> Worker:
        """Whose seat it is; whoever asks for one that is over has it at hand."""
        worker = self._worker
        if worker is None and self._past is not None:
            worker = self._past()
        assert worker is not None
        return worker

    @property
    def relay(self) -> Relay:
        """Passes on its messages; made with the first."""
        if self._relay is None:
            self._relay = Relay(self.life, self._directory)
        return self._relay

    @property
    def watches(self) -> WorkerWatches:
        """Its monitors; made with the first."""
        if self._watches is None:
            self._watches = WorkerWatches(self.life, self._directory.watching)
        return self._watches

    def emit(self, kind: type[events.Event], **more: Any) -> None:
        """Remember what happens, and tell; an event is only made if somebody wants it."""
        self.tell(kind, more)

    def tell(self, kind: type[events.Event], more: dict[str, Any]) -> None:
        """Do as `emit`, given all fields in one."""
        wanted = self._hub.wanted.get(kind)
        if wanted is None:
            wanted = self._hub.who_wants(kind)
        self._history.setdefault(kind, more)
        if wanted:
            event = kind(worker=self._worker or self.worker, **more)
            for subscription in wanted:
                subscription.put(event)
        if self._happened is not None:
            self.wake()

    def wake(self) -> None:
        """Let those who wait for something look again."""
        if self._happened is not None:
            self._happened.set()
            self._happened = None

    async def happens(self) -> None:
        """Wait until something has happened."""
        if self._happened is None:
            self._happened = trio.Event()
        await self._happened.wait()

    def find(self, kind: type[E]) -> E | None:
        """Give the first event of a kind that has happened so far."""
        found = next((one for one in self._history if issubclass(one, kind)), None)
        if found is None:
            return None
        event = found(worker=self.worker, **self._history[found])
        assert isinstance(event, kind)
        return event

    def may_still(self, kind: type[events.Event]) -> bool:
        """Whether an event of a kind can still happen."""
        if events.Exit in self._history:
            return False
        return events.Disconnect not in self._history or any(
            issubclass(last, kind) for last in (events.Exit, events.Restart, events.GaveUp)
        )

    def pause(self, *, is_paused: bool) -> None:
        """Somebody wants it to get no connections, or some again."""
        if is_paused != self.is_paused:
            self.is_paused = is_paused
            self._ports.look_again(self)

    @property
    def weight(self) -> float:
        """What its share is compared with; its next lives have the same."""
        return self.place.weight

    @weight.setter
    def weight(self, weight: float) -> None:
        self.place.weight = weight

    def forked(self, worker: Worker) -> None:
        """Its life begins."""
        self._worker = worker
        self.tell(events.Fork, _NOTHING)

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
            self._tree.ready(self.place, self.life.ready_at)
        elif self.role == "successor":
            self._tree.succeeded(self.place)

    def heartbeat_changed(self) -> None:
        assert isinstance(self.life, Life)
        if self.life.was_ready:
            self._liveness.forget(self)
            self._liveness.watch(self, self.life)

    def address(self) -> Ref:
        return self._directory.address(self.worker)

    def online(self) -> None:
        self.tell(events.Online, _NOTHING)

    def draining(self) -> None:
        self._ports.retire(self)
        self.emit(events.Draining)

    def disconnected(self) -> None:
        if self.life.channel is not None:
            self._asks = self._asks_waiting()  # who still waits may give up before it is reported
            self._ports.forget(self)
        if isinstance(self.life, Life):
            self._liveness.forget(self)
        if self._relay is not None:
            self._relay.gone()
        if self._watches is not None:
            self._watches.gone()
        self.tell(events.Disconnect, _NOTHING)

    def reported(self, status: ExitStatus) -> ExitStatus:
        place, worker = self.place, self._worker or self.worker
        self._ended_at = now = self.now()
        ended = (status.code, status.signal, status.reason, status._error)
        if status.reason not in ("normal", "shutdown"):
            life = self.life
            more = self._last_words(life) if isinstance(life, Life) else _NOTHING
            asks = self._asks
            if asks is None:
                asks = 0 if life.channel is None else self._asks_waiting()
            facts = (worker.name, worker.id, worker.incarnation, life.pid, life.ready_at, asks, now)
            # few are ever read
            report = Deferred(_report, facts, more, ended, status.rusage, place.history)
            add_report(status, report)
            if status.reason == "error" and place.is_temporary and life.start_method == "task":
                _log_failure(place.name, status)
        place.history = ((worker.incarnation, ended, now), *place.history[: _REMEMBERED - 1])
        return status

    def exited(self, status: ExitStatus) -> None:
        worker = self._worker or self.worker
        self._directory.remove(self, worker)
        self.tell(events.Exit, {"status": status})
        if self.role == "present":
            self._tree.ended(self.place, (worker, status), self._ended_at)
        elif self.role == "successor":
            self._tree.successor_ended(self.place, (worker, status))
        else:
            self._tree.past_ended(self.place)
        self._past = weakref.ref(worker)
        self._worker = None  # which has this

    def failed(self, error: Exception) -> None:
        self.emit(events.Error, error=error)

    def port(self, event: wire_events.Event) -> None:
        self._ports.on_event(self, event)

    def mail(self, event: wire_events.TellReceived | wire_events.CallReceived) -> None:
        self.relay.mail(event)

    def monitor(self, event: wire_events.Monitored | wire_events.Demonitored) -> None:
        self.watches.on_event(event)

    def bounced(self, event: wire_events.Undeliverable) -> bool:
        return self.relay.bounced(event)

    def _asks_waiting(self) -> int:
        channel = self.life.channel
        return 0 if channel is None else channel.statistics().asks_waiting

    def _last_words(self, life: Life) -> dict[str, Any]:
        tee = None if life.process is None else life.process.tee
        stack = None if life.stack is None else life.stack.text
        if tee is None:  # maybe because there is no process; then it wrote nothing
            is_captured = self.worker.settings.stderr == "capture"
            return {"stack": stack, "stderr": () if is_captured else None}
        return {
            "stack": stack,
            "stderr": tee.last.lines(),
            "stderr_dropped": tee.last.dropped,
            "stderr_unshown": tee.unshown,
        }

    # what the ports need (see PortClient)

    @property
    def id(self) -> int:
        return self.worker.id

    @property
    def name(self) -> str:
        return self.worker.name

    def warmth(self, now: float) -> float:
        spec = self.place.spec
        warm_up = spec.warm_up if isinstance(spec, Child) else 0.0
        return warmth(self.life.ready_at, warm_up, now)

    @property
    def connection(self) -> Connection:
        return self.life.connection

    @property
    def listen_fds(self) -> ListenFds:
        return self.worker.settings.listen_fds

    def flush(self) -> None:
        if self.life.channel is not None:
            self.life.channel.flush_once()

    def listening(self, address: tuple[str, int] | str) -> None:
        self.life.note_listening()
        self.emit(events.Listening, address=address)
        self.life.set_listening()  # what follows from that is told behind it


def _log_failure(name: str, status: ExitStatus) -> None:
    """Say why a task failed that nobody restarts, as a process would on its stderr."""
    page = "" if status.error is None else status.error.traceback or ""
    lines = [printable(line) for line in page.splitlines()]
    log.error("%s", "\n".join([f"{name}: {status}", *lines]))


def _report(
    facts: Facts, more: dict[str, Any], ended: Ended, rusage: Any, history: tuple[Past, ...]
) -> CrashReport:
    name, worker_id, incarnation, pid, ready_at, asks, now = facts
    code, signal, reason, error = ended
    return CrashReport(
        name=name,
        worker_id=worker_id,
        incarnation=incarnation,
        pid=pid,
        uptime=0.0 if ready_at is None else now - ready_at,
        asks_in_flight=asks,
        ended=in_words(*ended),
        reason=reason,
        code=code,
        signal=signal,
        error=settled(error),
        rusage=rusage,
        history=tuple(
            PastLife(incarnation=incarnation, ended=in_words(*its_end), ago=now - at)
            for incarnation, its_end, at in history
        ),
        **more,
    )
