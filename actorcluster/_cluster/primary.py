"""The primary: forks workers, hears what happens to them, stops them all when it is left.

Runs in: primary

Each worker's life is one task in the nursery of `open_primary`; this file keeps the books.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar, final, overload

import attrs
import trio

from .._link.tracing import TraceStatistics, Tracing
from .._worker.mailbox import MailboxStatistics, MergedMailbox
from .._worker.ref import Ref
from .._worker.settings import Settings
from .._worker.worker import Worker, WorkerStatistics, patience
from ..errors import RestartLimitReached
from . import events
from .forking import ForkOperations
from .loopback import Loopback
from .mailing import MailForMany
from .names import Names
from .operations import start_error
from .peeking import Policies
from .places import Group, Outcome, Phase
from .ports import Ports, PortStatistics
from .seating import Seating
from .supervision import Supervision
from .tree import Supervisor

__all__ = ["Primary", "PrimaryStatistics"]

E = TypeVar("E", bound=events.Event)
E2 = TypeVar("E2", bound=events.Event)


@final
@attrs.frozen(kw_only=True)
class PrimaryStatistics:
    """A snapshot of a primary.

    Attributes:
        workers: by id.
        mailbox: what waits for the primary, all workers together.
        ports: one entry for each shared port, see ``docs/reference/statistics.md``.
        given_up: how many tasks did not heed their cancellation, were given up, and still run.
        trace: what was written of it, see ``docs/reference/trace.md``; None: there is none.
    """

    workers: Mapping[int, WorkerStatistics]
    mailbox: MailboxStatistics
    ports: tuple[PortStatistics, ...]
    given_up: int = 0
    trace: TraceStatistics | None = None


@final
class Primary(ForkOperations, MailForMany):
    """Supervisor of worker processes; made by `open_primary`."""

    def __init__(
        self,
        nursery: trio.Nursery,
        tree: Supervisor,
        *,
        settings: Settings,
        policy: str,
        policies: Policies,
        shutdown_timeout: float | None,
        tracing: Tracing | None,
    ) -> None:
        self._tracing = tracing
        self.mailbox = MergedMailbox()
        self._settings = settings
        self._nursery = nursery
        self._shutdown_timeout = shutdown_timeout
        self.scope = trio.CancelScope()
        self._hub = events.EventHub()
        self._names = Names()
        self._names.loopback = Loopback(nursery, self.mailbox, self._names, settings)
        self._seats = self._names.seats
        self._closing = False
        self._token = trio.lowlevel.current_trio_token()
        self._ports = Ports(nursery, policy=policy, policies=policies)
        self._seating = Seating(
            nursery,
            names=self._names,
            hub=self._hub,
            ports=self._ports,
            mailbox=self.mailbox,
            on_interrupt=self._interrupted,
            tracing=tracing,
        )
        self._tree = Supervision(tree, self._seating, self._hub, self._tree_ended)
        self.failure: RestartLimitReached | None = None
        self._seating.tree = self._names.tree = self._tree
        nursery.start_soon(self._tree.run)

    async def _start_tree(self) -> None:
        """Start the tree and wait until it is up.

        Raises:
            WorkerStartError: of the first child that could not be started.
            RestartLimitReached: it gave up.
            OSError: a port cannot be bound that a supervisor is to hold; nothing was started.
            TypeError, ValueError, RuntimeError: a child can never be started; none was.
        """
        self._seating.check_all(self._tree.plan.root, self._settings)
        self._seating.pins.hold(self._tree.plan.root, self._settings.listen_fds)
        self._tree.start()
        await self._tree.settled.wait()
        outcome = self._tree.outcome
        if outcome is not None and outcome.kind == "start_failed":
            worker, status = outcome.status
            raise start_error(worker, status, self._seat_of(worker).life.options)
        if self.failure is not None:
            raise self.failure

    def _tree_ended(self, outcome: Outcome) -> None:
        """Stop the block: nothing of the tree runs any more."""
        if outcome.kind == "exhausted":
            self.failure = _limit_reached(self._tree.plan.root, outcome)
        if not self._closing:
            self.scope.cancel()

    # ---- facts ----------------------------------------------------------------------------

    @property
    def workers(self) -> Mapping[int, Worker]:
        """The workers that are not both disconnected and gone, by id; an immutable snapshot."""
        return MappingProxyType({number: seat.worker for number, seat in self._seats.items()})

    def ref(self, name: str) -> Ref:
        """Give the address of whoever has that name.

        Never fails: whether there is such an actor shows when it is sent to.
        """
        return self._names.named(name)

    def statistics(self) -> PrimaryStatistics:
        """Count what waits, everywhere. Never waits itself."""
        return PrimaryStatistics(
            workers={number: seat.worker.statistics() for number, seat in self._seats.items()},
            mailbox=self.mailbox.statistics(),
            ports=self._ports.statistics(),
            given_up=len(self._seating.tasks.given_up),
            trace=None if self._tracing is None else self._tracing.statistics(),
        )

    # ---- events ---------------------------------------------------------------------------

    @overload
    def events(
        self, kind: type[E], /, *, worker: Worker | None = None
    ) -> events.Subscription[E]: ...
    @overload
    def events(
        self, kind: type[E], other: type[E2], /, *, worker: Worker | None = None
    ) -> events.Subscription[E | E2]: ...
    @overload
    def events(
        self, *kinds: type[events.Event], worker: Worker | None = None
    ) -> events.Subscription[events.Event]: ...
    def events(
        self, *kinds: type[events.Event], worker: Worker | None = None
    ) -> events.Subscription[events.Event]:
        """Subscribe: ``with primary.events(events.Exit) as exits: async for event in exits``.

        Args:
            kinds: event classes; none for all.
            worker: only what happens to this one.
        """
        for kind in kinds:
            events.check_kind(kind)
        return events.Subscription(self._hub, kinds, worker)

    async def wait_for(self, kind: type[E], worker: Worker) -> E:
        """Wait for an event of a worker; returns at once if the worker already had it.

        Args:
            kind: an event class.
            worker: of this primary.

        Raises:
            PeerClosed: it can no longer happen.
            trio.ClosedResourceError: the primary has closed.
        """
        events.check_kind(kind)
        seat = self._seat_of(worker)
        await trio.lowlevel.checkpoint()
        while True:
            self._raise_if_closing()
            event = seat.find(kind)
            if event is not None:
                return event
            if not seat.may_still(kind):
                raise seat.life.closed(f"it had no {kind.__name__} and never will")
            await seat.happens()

    # ---- the end --------------------------------------------------------------------------

    async def disconnect(self, timeout: float | None = None) -> None:
        """Tell all workers to drain and leave; returns when every one is gone.

        One may fork again afterwards. Ports that nobody uses any more are closed, but those that
        a supervisor holds.

        Args:
            timeout: as for `Worker.disconnect`.

        Raises:
            TypeError, ValueError: the timeout is no number of seconds.

        Cancellation:
            The workers stay told.
        """
        seconds = patience(timeout)
        for place in list(self._tree.plan.places.values()):
            is_giving_up = place.is_group and place.phase is Phase.STOPPING
            if place.phase is Phase.WAITING or is_giving_up:
                self._tree.end(place)  # nobody comes back behind our back
        for seat in reversed(seats := list(self._seats.values())):
            seat.leaving()
            seat.life.stop(seconds)
        for seat in seats:
            await seat.life.dead.wait()
        self._ports.close_unused()
        await trio.lowlevel.checkpoint()

    async def wait(self) -> None:
        """Wait until no worker lives or will be started again."""
        await trio.lowlevel.checkpoint()
        while not self._tree.is_idle():
            await self._tree.changes()

    def _stop_soon(self) -> None:
        """Begin the stop of the whole block; for the signal handlers of `run`.

        May be called from a signal handler or another thread.
        """
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self.scope.cancel, idempotent=True)

    def _kill_all(self) -> None:
        """Kill every worker now. Safe in a signal handler."""
        for seat in list(self._seats.values()):
            seat.life.kill_now()

    def _interrupted(self) -> None:
        """Ctrl-C has arrived in a task of ours: the same as in the body."""
        if self._closing:
            self._abandon()
        else:
            self.scope.cancel()

    def _abandon(self) -> None:
        """Kill every worker now, and start none again."""
        for place in list(self._tree.plan.places.values()):
            if not place.is_group or place.phase is Phase.WAITING:
                self._tree.leaving(place)  # a supervisor whose turn has not come restarts nobody
        for seat in list(self._seats.values()):
            seat.life.brutal_kill()

    async def _shut_down(self) -> None:
        """Stop every worker, last started first; returns when every process is reaped.

        Asks and waits of ours that are in progress end now, and so do starts.
        """
        self._closing = self._names.closed = True
        for seat in reversed(list(self._seats.values())):
            seat.life.close_primary()
            seat.wake()
        limit = math.inf if self._shutdown_timeout is None else self._shutdown_timeout
        self._seating.stop_by = trio.current_time() + limit
        self._tree.stop()
        with trio.move_on_after(limit):
            await self.wait()
        self._abandon()
        await self.wait()
        self._names.loopback.close()
        self._names.watching.close()
        self._ports.close()
        await self._seating.starter.aclose()
        self.mailbox._end()
        self._hub.close()


def _limit_reached(root: Group, outcome: Outcome) -> RestartLimitReached:
    restarts, within = root.budget.spent(), root.budget.within
    _, status = outcome.status
    cause = "" if outcome.place is None else f"; the last was {outcome.place.name}: {status}"
    return RestartLimitReached(
        f"{root.name}: {restarts} restarts within {within:g} seconds, of"
        f" {root.budget.max_restarts} allowed{cause}",
        name=root.name,
        restarts=restarts,
        within=within,
        last_status=status,
    )
