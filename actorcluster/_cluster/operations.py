"""What somebody may do by hand to a tree that runs, and what he may see of it.

Runs in: primary
"""

from __future__ import annotations

from typing import Any, Final, Literal, final

import attrs
import trio

from .._worker.exit import ExitStatus
from .._worker.moments import LifeOptions
from .._worker.settings import Settings
from .._worker.words import printable
from .._worker.worker import Worker
from ..errors import NoSuchActor, WorkerStartError
from ..wire._generated import ErrorCode
from .names import Names
from .places import Absence, Group, Phase, Place
from .seating import Seating
from .supervision import Supervision
from .ties import check_down
from .tree import Child, Pool, Spec, Supervisor

__all__ = ["ChildCount", "ChildInfo", "TreeOperations", "note_traceback", "start_error"]

ChildState = Literal["down", "finished", "parked", "waiting", "starting", "up", "stopping"]

_STATES: Final[dict[Phase, ChildState]] = {
    Phase.DOWN: "down",
    Phase.WAITING: "waiting",
    Phase.STARTING: "starting",
    Phase.UP: "up",
    Phase.STOPPING: "stopping",
}


@final
@attrs.frozen(kw_only=True)
class ChildInfo:
    """One place of a tree as it is now.

    Attributes:
        name: full.
        kind: ``"child"``, ``"pool"`` or ``"supervisor"``.
        state: ``"down"`` until somebody starts it, ``"finished"`` it ended for good, ``"parked"``
            it failed too often, ``"waiting"`` for its turn or its delay, ``"starting"``,
            ``"up"``, ``"stopping"``.
        worker: of a child, its present life; else None.
        failures: in a row, since it was last well for long enough.
        children: of a pool or supervisor, in order of start.
    """

    name: str
    kind: Literal["child", "pool", "supervisor"]
    state: ChildState
    worker: Worker | None = None
    failures: int = 0
    children: tuple[ChildInfo, ...] = ()

    def __str__(self) -> str:
        """Draw it, a line for each place."""
        return "\n".join(self._lines(""))

    def _lines(self, indent: str) -> list[str]:
        lines = [f"{indent}{self.name} {self.state}{self._where()}"]
        for child in self.children:
            lines += child._lines(indent + "  ")
        return lines

    def _where(self) -> str:
        if self.worker is None:
            return ""
        return " task" if self.worker.start_method == "task" else f" pid {self.worker.pid}"


@final
@attrs.frozen(kw_only=True)
class ChildCount:
    """How many children there are, in a whole tree.

    Attributes:
        specs: places, running or not.
        active: of these, how many start, run or stop.
        supervisors: of the specs, how many are supervisors or pools.
        workers: of the specs, how many are children.
    """

    specs: int
    active: int
    supervisors: int
    workers: int


class TreeOperations:
    """The part of a `Primary` that is about its tree."""

    _tree: Supervision
    _seating: Seating
    _names: Names
    _settings: Settings

    # ---- by hand --------------------------------------------------------------------------

    async def start_child(self, spec: Spec, under: str | None = None) -> Worker | None:
        """Add a child behind its siblings, start it and wait until it is up.

        Args:
            spec: a `Child`, `Pool` or `Supervisor`.
            under: full name of a supervisor of the tree; None: the root.

        Returns:
            The worker, for a `Child`; else None.

        Raises:
            TypeError, ValueError: the spec is wrong or the name is taken; nothing was started.
            NoSuchActor: there is no supervisor of that name.
            WorkerStartError: it failed; it is not retried, and the child is not kept.
            OSError: a port of its ``listeners`` cannot be bound; nothing was started.
            trio.ClosedResourceError: the supervisor does not run, or somebody stopped the child
                before it was up; it is not kept.

        Cancellation:
            It was stopped, and is not kept.
        """
        if not isinstance(spec, (Child, Pool, Supervisor)):
            raise TypeError(f"a child is a Child, a Pool or a Supervisor, not {spec!r}")
        await trio.lowlevel.checkpoint_if_cancelled()
        group = self._group(under)
        self._raise_unless_up(group)
        place = self._tree.plan.add(spec, group)
        try:
            self._seating.check_all(place, self._settings)
            return await self._start_and_wait(place)
        except BaseException:
            with trio.CancelScope(shield=True):
                await self._end_and_wait(place)
            self._tree.delete(place)
            raise

    async def terminate_child(self, name: str) -> None:
        """Stop a child; its place stays unless it is temporary. Returns when it is down.

        Args:
            name: full.

        Raises:
            NoSuchActor: there is no such place.

        Cancellation:
            It stops all the same.
        """
        place = self._place(name)
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._end_and_wait(place)

    async def restart_child(self, name: str) -> Worker | None:
        """Start a child that is down, and wait until it is up.

        Args:
            name: full.

        Returns:
            As `start_child`.

        Raises:
            NoSuchActor: there is no such place.
            ValueError: it is not down.
            WorkerStartError: it failed; its place stays, and it is down.
            OSError: a port of its ``listeners`` cannot be bound; nothing was started.
            trio.ClosedResourceError: its supervisor does not run, or somebody stopped the child
                before it was up.

        Cancellation:
            It was stopped.
        """
        place = self._place(name)
        await trio.lowlevel.checkpoint_if_cancelled()
        if place.parent is not None:
            self._raise_unless_up(place.parent)
        check_down(place)
        try:
            return await self._start_and_wait(place)
        except BaseException:
            with trio.CancelScope(shield=True):
                await self._end_and_wait(place)
            raise

    async def delete_child(self, name: str) -> None:
        """Forget a place that is down.

        Args:
            name: full.

        Raises:
            NoSuchActor: there is no such place.
            ValueError: it is not down.

        Cancellation:
            It is still there.
        """
        place = self._place(name)
        await trio.lowlevel.checkpoint_if_cancelled()
        self._tree.delete(place)

    async def _start_and_wait(self, place: Place) -> Worker | None:
        self._seating.pins.hold(place, self._settings.listen_fds)
        self._tree.begin(place)
        worker = self._worker_of(place)
        while place.is_fresh and place.phase is not Phase.DOWN:
            await self._tree.changes()
            worker = self._worker_of(place) or worker
        if place.is_fresh and place.absence is Absence.FAILED:
            failed, status = place.status
            raise start_error(failed, status, failed._life.options)
        if place.is_fresh:
            raise trio.ClosedResourceError(f"{place.name} was stopped before it was up")
        await trio.lowlevel.checkpoint_if_cancelled()
        return worker

    async def _end_and_wait(self, place: Place) -> None:
        self._tree.end(place)
        # Somebody may start it again at once.
        while place.phase is not Phase.DOWN and place.absence is Absence.BY_HAND:
            await self._tree.changes()

    # ---- what there is --------------------------------------------------------------------

    def tree(self) -> ChildInfo:
        """Look at the whole tree as it is now; print it to see it."""
        return self._info(self._tree.plan.root)

    def which_children(self, *, under: str | None = None) -> tuple[ChildInfo, ...]:
        """Look at the children of a supervisor.

        Args:
            under: its full name; None: the root.

        Raises:
            NoSuchActor: there is no supervisor of that name.
        """
        return self._info(self._group(under)).children

    def count_children(self) -> ChildCount:
        """Count the places of the whole tree."""
        places = [one for one in self._tree.plan.places.values() if not one.is_forgotten]
        groups = sum(place.is_group for place in places)
        active = sum(place.phase not in (Phase.DOWN, Phase.WAITING) for place in places)
        return ChildCount(
            specs=len(places), active=active, supervisors=groups, workers=len(places) - groups
        )

    def _info(self, place: Place) -> ChildInfo:
        state = _STATES[place.phase]
        if place.phase is Phase.DOWN and place.absence is Absence.FINISHED:
            state = "finished"
        elif place.phase is Phase.DOWN and place.absence is Absence.PARKED:
            state = "parked"
        children: tuple[ChildInfo, ...] = ()
        if isinstance(place, Group):
            children = tuple(map(self._info, place.listed()))
        kind: Any = type(place.spec).__name__.lower()
        return ChildInfo(
            name=place.name,
            kind=kind,
            state=state,
            worker=self._worker_of(place),
            failures=place.streak,
            children=children,
        )

    # ---- finding --------------------------------------------------------------------------

    def _worker_of(self, place: Place) -> Worker | None:
        seat = None if place.is_group else self._names.seat_named(place.name)
        return None if seat is None else seat.worker

    def _place(self, name: str) -> Place:
        place = self._tree.plan.places.get(name)
        if place is None or place.is_forgotten:
            raise NoSuchActor(f"there is no child {name!r}", code=ErrorCode.NO_SUCH_ACTOR)
        return place

    def _group(self, name: str | None) -> Group:
        place = self._tree.plan.root if name is None else self._place(name)
        if not isinstance(place, Group) or not isinstance(place.spec, Supervisor):
            raise NoSuchActor(f"{name!r} is no supervisor", code=ErrorCode.NO_SUCH_ACTOR)
        return place

    def _raise_unless_up(self, group: Group) -> None:
        if group.phase is not Phase.UP:
            state = group.phase.name.lower()
            raise trio.ClosedResourceError(f"supervisor {group.name} is {state}")


#: What a worker has not done yet that is not ready, by its option ``ready``.
_NOT_YET: Final = {
    "online": "it has never connected to its primary, which every worker does",
    "listening": "it has never listened on a port",
    "called": "it has never called Actor.ready()",
}


def start_error(
    worker: Worker, status: ExitStatus | None, options: LifeOptions
) -> WorkerStartError:
    """Make the error of a start that failed."""
    if status is not None and status.reason == "start_timeout":
        text = f"worker {worker.name} was not ready within {options.start_timeout} seconds"
        return WorkerStartError(text, status=status, timeout=options.start_timeout)
    text = f"worker {worker.name} ended before it was ready: {status}"
    if status is not None and status.reason == "normal":
        text += (
            " (its function returned, or its program exited with code 0;"
            f" with ready={options.ready!r}, {_NOT_YET[options.ready]})"
        )
    error = WorkerStartError(text, status=status)
    note_traceback(error, status)
    return error


def note_traceback(error: BaseException, status: ExitStatus | None) -> None:
    """Have what a worker raised shown below an error that nobody catches."""
    if status is not None and status.error is not None and status.error.traceback:
        error.add_note("\n".join(map(printable, status.error.traceback.splitlines())))
