"""Gives each life its seat: the one place where a worker comes into being.

Runs in: primary

A place in the tree outlives its workers. What it runs is found and checked once, when the place is
made; each life of it is then a `Seat` with a `Worker`, a `Life` and a `Relay`.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final, final

import attrs
import trio

from .._link.adapter import Adapter
from .._link.tracing import Tracing
from .._worker.job import Job
from .._worker.ladder import RUNG_SECONDS
from .._worker.life import Life
from .._worker.mailbox import MergedMailbox
from .._worker.moments import LifeOptions
from .._worker.process import Process
from .._worker.settings import Settings
from .._worker.start import Plan, Starter
from .._worker.targetchecks import check_target
from .._worker.tasklife import TaskLife
from .._worker.worker import Worker
from .events import Event, EventHub
from .limits import Limits, is_watched, reached
from .liveness import Liveness
from .names import Names
from .options import child_of_life, limits_of, own_settings
from .pins import Pins
from .places import Place
from .ports import Ports
from .seat import Role, Seat
from .supervision import Supervision
from .tasks import Tasks
from .ties import below
from .tree import Child

__all__ = ["Launch", "Seating", "drain_seconds"]

_BRUTAL: Final = "brutal_kill"

#: How often to look what a worker has used, if it has limits.
_LOOK_SECONDS: Final = 1.0

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@final
@attrs.define(kw_only=True, eq=False)
class Launch:
    """What a place runs, checked.

    Attributes:
        child: its spec.
        settings: of this place.
        base: where the child gives settings to each life: what they are added to.
        plan: how to start it, as a process or as a task.
        shared: what all its lives have in common, once there was one.
    """

    child: Child
    settings: Settings
    plan: Plan | Job
    base: Settings | None = None
    shared: LifeOptions | None = None


@final
class Seating:
    """Begins and ends the lives of one primary's places.

    Args:
        nursery: each life is a task in it.
        names: who has which.
        hub: for events.
        ports: shared ones.
        mailbox: the primary's.
        on_interrupt: called when Ctrl-C has arrived in a task.
        tracing: of the workers' connections, or None.

    Attributes:
        tree: whose places these are; set by the owner.
        starter: makes processes.
        tasks: runs what is none.
        pins: ports that supervisors hold.
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
        on_interrupt: Callable[[], None],
        tracing: Tracing | None = None,
    ) -> None:
        self.tree: Supervision
        self.starter = Starter(nursery)
        ports.on_files = self.starter.files_are
        self.tasks = Tasks(nursery, mailbox, names, on_interrupt)
        self.pins = Pins(ports)
        self.stop_by = math.inf
        self._liveness = Liveness(nursery)
        self._nursery = nursery
        self._names = names
        self._hub = hub
        self._ports = ports
        self._mailbox = mailbox
        self._cluster = os.urandom(16)
        self._successors: dict[Place, Seat] = {}
        self._node: Adapter | None = None
        self._tracing = tracing

    # ---- places ---------------------------------------------------------------------------

    def check(self, child: Child, settings: Settings) -> Launch:
        """Find out whether and how a child can be started.

        Raises:
            TypeError, ValueError, RuntimeError: it cannot; see `Primary.fork`.
        """
        own = own_settings(settings, child)
        target = check_target(child.target, child.args, own)
        plan: Plan | Job
        if child.run == "task":
            plan = Job(target, child.args, refs=self._names)
        else:
            adapter = self._adapter(child, own)
            plan = self.starter.plan(target, child.args, own, refs=self._names, adapter=adapter)
        base = settings if callable(child.settings) else None
        return Launch(child=child, settings=own, plan=plan, base=base)

    def _adapter(self, child: Child, settings: Settings) -> Adapter | None:
        """What a child needs that speaks another protocol than ours."""
        if child.protocol == "awp":
            return None
        if not isinstance(settings.exec, tuple):
            allowed = "a whole command line, such as ['node', 'app.js'], for protocol='node'"
            raise ValueError(f"exec must be {allowed}, not {settings.exec!r}")  # noqa: TRY004  (good for others)
        if settings.channel != "fd" or settings.lane is not None:
            raise ValueError(
                "channel and lane say how our own protocol travels, not protocol='node'"
            )
        if self._node is None:
            from ..adapters.node_ipc import NodeAdapter  # noqa: PLC0415  (few need it)

            self._node = NodeAdapter()
        return self._node

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
        worker_id, incarnation = self._names.claim(place.name)
        error: Exception | None = None
        if launch.base is not None:
            launch, error = self._of_life(launch, launch.base, worker_id, place.name)
        plan = launch.plan
        seat = Seat(self._hub, self._ports, self._names, self.tree, place, liveness=self._liveness)
        seat.role = role
        options = launch.shared
        if (
            options is None
            or options.name != place.name  # new slots of a pool have the launch of another
            or options.start_timeout != min(place.patience, launch.child.start_timeout)
        ):
            options = self._options(place, launch)
        if isinstance(plan, Job):
            task = seat.life = TaskLife(
                options, worker_id, incarnation, moments=seat, job=plan, host=self.tasks
            )
            self._introduce(seat, launch, incarnation)
            self.tasks.begin(place, task)
        else:
            config = {**plan.config, "incarnation": incarnation}
            options = attrs.evolve(options, worker_id=worker_id, config=config)
            start: Callable[[], Awaitable[Process]] = functools.partial(
                self.starter.start, plan, worker_id, is_fresh=is_fresh
            )
            if error is not None:
                start = functools.partial(_fail, error)
            life = seat.life = Life(options, start, seat, self._mailbox, self._names)
            self._introduce(seat, launch, incarnation)
            life.sender = seat.address()
            self._nursery.start_soon(life.run)
        limits = launch.child.limits
        if limits is not None and is_watched(limits):
            self._nursery.start_soon(self._watch, seat, limits)
        return seat

    def _of_life(
        self, launch: Launch, base: Settings, worker_id: int, name: str
    ) -> tuple[Launch, Exception | None]:
        """Add the settings of one life; or why that cannot be done."""
        try:
            return self.check(child_of_life(launch.child, worker_id, name), base), None
        except Exception as exc:  # noqa: BLE001  (whatever the function raises, the life ends by it)
            return launch, exc

    def _options(self, place: Place, launch: Launch) -> LifeOptions:
        """Say what the lives of a place have in common."""
        child = launch.child
        adapter = launch.plan.adapter if isinstance(launch.plan, Plan) else None
        launch.shared = LifeOptions(
            worker_id=0,
            name=place.name,
            config={},
            cluster=self._cluster,
            limits=limits_of(launch.settings),
            ready=child.ready,
            start_timeout=min(place.patience, child.start_timeout),
            shutdown=child.shutdown,
            heartbeat=child.heartbeat if adapter is None else math.inf,
            hung_after=child.hung_after,
            adapter=adapter,
            tracing=self._tracing,
        )
        return launch.shared

    def _introduce(self, seat: Seat, launch: Launch, incarnation: int) -> None:
        """Make the worker known, with all that it has by now."""
        life = seat.life
        worker = Worker(incarnation=incarnation, settings=launch.settings, life=life, place=seat)
        self._names.add(seat, life.worker_id)
        seat.forked(worker)

    @trio.lowlevel.enable_ki_protection
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
                    messages=0 if life.channel is None else life.connection.sent,
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

    @trio.lowlevel.enable_ki_protection
    async def _prepare(self, patience: float) -> None:
        error: Exception | None = None
        try:
            with trio.fail_after(patience):
                await self.starter.prepare()
        except trio.TooSlowError:
            error = trio.TooSlowError(f"its fork server was not ready within {patience:g} s")
        except (OSError, RuntimeError, trio.ClosedResourceError) as exc:
            error = exc
        self.tree.prepared(error)

    def commit(self) -> None:
        """All lives that begin from now on are fresh."""
        self.starter.commit()

    def revert(self) -> None:
        """There are no fresh lives any more."""
        self.starter.revert()

    def look_again(self) -> None:
        """Something has changed: who waits for somebody may go on, who is left goes."""
        if self.pins.held:
            self.pins.settle(self.tree.plan)
        if self._ports.files:
            self._ports.settle(self.tree.may_return)
        names = self._names
        if names.sought or names.watching.of_names:
            names.look_again()

    def tell(self, worker: Worker, kind: type[Event], more: dict[str, Any]) -> None:
        """Something has happened to a place; it is remembered with the worker."""
        seat = worker.place
        assert isinstance(seat, Seat)
        seat.tell(kind, more)


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


async def _fail(error: Exception) -> Process:
    """Start no process."""
    raise error
