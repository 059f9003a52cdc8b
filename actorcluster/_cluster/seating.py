"""Gives each life its seat: the one place where a worker comes into being.

Runs in: primary

A place in the tree outlives its workers. What it runs is found and checked once, when the place is
made; each life of it is then a `Seat` with a `Worker`, a `Life` and a `Relay`.
"""

from __future__ import annotations

import math
import os
from typing import Final, final

import attrs
import trio

from .._worker.ladder import RUNG_SECONDS
from .._worker.life import Life
from .._worker.mailbox import MergedMailbox
from .._worker.moments import LifeOptions
from .._worker.process import Process
from .._worker.ref import Ref, main_actor
from .._worker.settings import Settings
from .._worker.start import Plan, Starter
from .._worker.targets import check_target
from .._worker.worker import Worker
from .events import Event, EventHub
from .limits import Limits, is_watched, reached
from .liveness import Liveness
from .names import Names
from .options import limits_of, own_settings
from .places import Place
from .ports import Ports
from .relay import Relay
from .seat import Role, Seat
from .supervision import Supervision
from .ties import below
from .tree import Child
from .watching import WorkerWatches

__all__ = ["Launch", "Seating", "drain_seconds"]

_BRUTAL: Final = "brutal_kill"

#: How often to look what a worker has used, if it has limits.
_LOOK_SECONDS: Final = 1.0

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@final
@attrs.frozen(kw_only=True)
class Launch:
    """What a place runs, checked.

    Attributes:
        child: its spec.
        settings: of this place.
        plan: how to start it.
    """

    child: Child
    settings: Settings
    plan: Plan


@final
class Seating:
    """Begins and ends the lives of one primary's places.

    Args:
        nursery: each life is a task in it.
        names: who has which.
        hub: for events.
        ports: shared ones.
        mailbox: the primary's.

    Attributes:
        tree: whose places these are; set by the owner.
        starter: makes processes.
        stop_by: when everything has to be gone.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        *,
        names: Names,
        hub: EventHub,
        ports: Ports,
        mailbox: MergedMailbox,
    ) -> None:
        self.tree: Supervision
        self.starter = Starter(nursery)
        self.stop_by = math.inf
        self._liveness = Liveness(nursery)
        self._nursery = nursery
        self._names = names
        self._hub = hub
        self._ports = ports
        self._mailbox = mailbox
        self._cluster = os.urandom(16)
        self._successors: dict[Place, Seat] = {}

    # ---- places ---------------------------------------------------------------------------

    def check(self, child: Child, settings: Settings) -> Launch:
        """Find out whether and how a child can be started.

        Raises:
            TypeError, ValueError, RuntimeError: it cannot; see `Primary.fork`.
        """
        own = own_settings(settings, child)
        target = check_target(child.target, child.args, own)
        plan = self.starter.plan(target, child.args, own)
        return Launch(child=child, settings=own, plan=plan)

    def check_all(self, top: Place, settings: Settings) -> None:
        """Find out whether a place and all below it can be started, and how.

        Raises:
            TypeError, ValueError, RuntimeError: one cannot; the text begins with its name.
        """
        for place in below(top):
            if isinstance(place.spec, Child):
                try:
                    place.launch = self.check(place.spec, settings)
                except (TypeError, ValueError, RuntimeError) as error:
                    raise type(error)(f"{place.name}: {error}") from error

    # ---- lives ----------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection
    def begin(self, place: Place) -> None:
        """Begin a life; what goes wrong with it is its end."""
        self._begin(place, "present", is_fresh=place.generation > self.tree.plan.generation)

    @trio.lowlevel.enable_ki_protection
    def renew(self, place: Place) -> None:
        """Begin a life beside the present one."""
        is_fresh = (place.successor or 0) > self.tree.plan.generation
        self._successors[place] = self._begin(place, "successor", is_fresh=is_fresh)

    @trio.lowlevel.enable_ki_protection
    def switch(self, place: Place) -> None:
        """Give the name to the successor, and end the life that had it."""
        past = self._names.seat_named(place.name)
        assert past is not None
        self.adopt(place)
        past.role = "past"
        self._end(past)

    def adopt(self, place: Place) -> None:
        """The successor is the present life."""
        seat = self._successors.pop(place)
        seat.role = "present"
        self._names.appoint(seat)

    def drop(self, place: Place) -> None:
        """Kill the successor."""
        seat = self._successors.pop(place)
        seat.role = "past"
        seat.life.brutal_kill()

    def _begin(self, place: Place, role: Role, *, is_fresh: bool) -> Seat:
        launch: Launch = place.launch
        child, plan = launch.child, launch.plan
        worker_id, incarnation = self._names.claim(place.name)
        options = LifeOptions(
            worker_id=worker_id,
            name=place.name,
            config={**plan.config, "incarnation": incarnation},
            cluster=self._cluster,
            limits=limits_of(launch.settings),
            ready=child.ready,
            start_timeout=min(place.patience, child.start_timeout),
            shutdown=child.shutdown,
            heartbeat=child.heartbeat,
            hung_after=child.hung_after,
        )
        seat = Seat(
            self._hub, self._ports, self._release, self.tree, place, liveness=self._liveness
        )
        seat.role = role

        async def start() -> Process:
            return await self.starter.start(plan, worker_id, is_fresh=is_fresh)

        life = seat.life = Life(options, start, seat, self._mailbox, self._names)
        seat.relay = Relay(seat.life, self._names)
        seat.watches = WorkerWatches(seat.life, self._names.watching)
        seat.worker = Worker(
            incarnation=incarnation, settings=launch.settings, life=seat.life, place=seat
        )
        seat.life.sender = Ref(place.name, self._names, main_actor(worker_id), seat.worker)
        self._names.add(seat)
        if role == "present":
            self._names.appoint(seat)
        seat.forked()
        self._nursery.start_soon(life.run)
        if child.limits is not None and is_watched(child.limits):
            self._nursery.start_soon(self._watch, seat, child.limits)
        return seat

    async def _watch(self, seat: Seat, limits: Limits) -> None:
        """Look once in a while whether a life has reached a limit."""
        life = seat.life
        while life.status is None:
            with trio.move_on_after(_LOOK_SECONDS):
                await life.dead.wait()
            if seat.role == "present" and life.ready_at is not None:
                why = reached(
                    limits,
                    rss=0 if life.process is None else resident_bytes(life.process.pid),
                    messages=seat.connection.sent,
                    accepted=self._ports.taken(seat),
                )
                if why is not None:
                    self.tree.recycle(seat.place, why)

    def end(self, place: Place) -> None:
        """End a life as its child says, and before `stop_by`."""
        seat = self._names.seat_named(place.name)
        if seat is not None:
            self._end(seat)
        if place.besides:  # those that were replaced may have less time now
            for past in list(self._names.seats.values()):
                if past.place is place and past.role == "past":
                    self._end(past)

    def _end(self, seat: Seat) -> None:
        life = seat.life
        shutdown = life.options.shutdown
        left = self.stop_by - trio.current_time()
        if shutdown == _BRUTAL or not life.settled.is_set() or left <= 0:
            life.brutal_kill()
        else:
            life.stop(drain_seconds(shutdown, left))

    def prepare(self, patience: float) -> None:
        """Have the code that is on disk now ready for fresh lives; then tell the tree."""
        self._nursery.start_soon(self._prepare, patience)

    async def _prepare(self, patience: float) -> None:
        error: Exception | None = None
        try:
            with trio.fail_after(patience):
                await self.starter.prepare()
        except (OSError, RuntimeError, trio.TooSlowError, trio.ClosedResourceError) as exc:
            error = exc
        self.tree.prepared(error)

    def commit(self) -> None:
        """All lives that begin from now on are fresh."""
        self.starter.commit()

    def revert(self) -> None:
        """There are no fresh lives any more."""
        self.starter.revert()

    def look_again(self) -> None:
        """Something has changed: who waits for somebody may go on."""
        self._names.look_again()

    def tell(self, event: Event) -> None:
        """Something has happened to a place; it is remembered with the worker."""
        seat = event.worker.place
        assert isinstance(seat, Seat)
        seat.emit(event)

    def _release(self, seat: Seat) -> None:
        """A life is over: its names are free."""
        self._names.remove(seat)


def resident_bytes(pid: int) -> int:
    """Give the memory of a process that is in use, what it shares included; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError):  # it has ended
        return 0


def drain_seconds(shutdown: float, left: float) -> float:
    """When to cancel a main, so that the rungs above still fit under the limit for all.

    Args:
        shutdown: what it was promised.
        left: until everything has to be gone.
    """
    return min(shutdown, max(left / 2, left - 2 * RUNG_SECONDS))
