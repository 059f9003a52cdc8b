"""Reload and scale: what somebody may want of a tree that is well.

Runs in: primary
"""

from __future__ import annotations

from collections import deque
from typing import Any

import trio

from .._worker.exit import ExitStatus
from .._worker.worker import Worker
from ..errors import ReloadAborted
from .jobs import Failure, Reload, Scale, units_of, why_no_new_code
from .operations import TreeOperations, note_traceback, start_error
from .places import Group
from .tree import Pool

__all__ = ["RollingOperations"]


class RollingOperations(TreeOperations):
    """The part of a `Primary` that replaces workers, and changes how many there are."""

    async def reload(
        self,
        name: str | None = None,
        *,
        max_surge: int = 1,
        max_unavailable: int = 0,
        ready_timeout: float = 30.0,
    ) -> None:
        """Replace workers by new ones that run the code which is on disk now.

        A new fork server comes first, so that what is preloaded is new too. Then one pool or child
        after another, in the order of the tree: with ``max_surge`` a successor starts beside each
        worker under the same name; when it is ready the name is its, and the old one is told to
        stop and finishes what it has accepted. With ``max_unavailable`` a worker is stopped first,
        then its place is started. Returns when all old ones are gone.

        One reload, recycling or change of size at a time; others wait for their turn. Temporary
        children are left out, they have one life, and so are tasks, which have the code of this
        process. One that crashes meanwhile comes back as ever.

        Args:
            name: of a child, pool or supervisor; None: the whole tree, forks included.
            max_surge: so many workers at once may be there beside those that they replace.
            max_unavailable: so many places at once may be without a worker.
            ready_timeout: seconds for a new one to become ready, beside its own start_timeout.

        Raises:
            TypeError, ValueError: an argument is wrong, or the child is temporary or a task.
            NoSuchActor: there is no such place.
            ReloadAborted: a new one failed, or was not ready in time; what had been replaced until
                then stays new, all others serve on. Nothing of that counts as a restart. A place
                that had been stopped first stays down.
            trio.ClosedResourceError: the primary has closed.

        Cancellation:
            What was begun goes on, nothing more is begun.
        """
        max_surge = _count("max_surge", max_surge)
        max_unavailable = _count("max_unavailable", max_unavailable)
        if not max_surge and not max_unavailable:
            raise ValueError("max_surge and max_unavailable are both 0: nothing could be replaced")
        _check_timeout(ready_timeout)
        root = self._tree.plan.root
        top = root if name is None else self._place(name)
        if (why_not := why_no_new_code(top)) is not None:
            raise ValueError(why_not)
        await trio.lowlevel.checkpoint_if_cancelled()
        self._raise_unless_up(root)
        job = Reload(
            units=deque(units_of(top)),
            max_surge=max_surge,
            max_unavailable=max_unavailable,
            patience=ready_timeout,
        )
        await self._tree.carry_out(job)
        self._raise_unless_up(root)
        if job.failure is not None:
            raise _aborted(job.failure) from job.failure.error
        await trio.lowlevel.checkpoint_if_cancelled()

    async def scale(self, name: str, count: int) -> None:
        """Change how many slots a pool has.

        New ones are started together; returns when they are ready. Those that are too many, the
        highest, are told to stop together and finish what they have accepted; returns when they
        are gone. Waits for its turn if a reload is under way.

        Args:
            name: of a pool.
            count: how many; 0 leaves its name without anybody.

        Raises:
            TypeError, ValueError: the count is wrong, or that is no pool.
            NoSuchActor: there is no such place.
            WorkerStartError: a new one could not be started; it is not retried, and none of the
                new ones stays.
            trio.ClosedResourceError: the pool does not run, or was stopped meanwhile.

        Cancellation:
            Once it has begun it goes on.
        """
        count = _count("count", count)
        pool = self._place(name)
        if not isinstance(pool, Group) or not isinstance(pool.spec, Pool):
            text = f"{name!r} is no pool"
            raise ValueError(text)  # noqa: TRY004  (it is a name, but not of a pool)
        await trio.lowlevel.checkpoint_if_cancelled()
        self._raise_unless_up(pool)
        launch = next((slot.launch for slot in pool.children.values()), None)
        if launch is None:
            launch = self._seating.check(pool.spec.slot(1), self._settings)
        job = Scale(pool=pool, count=count, launch=launch)
        await self._tree.carry_out(job)
        if job.failure is not None:
            worker, status = job.failure.status
            raise start_error(worker, status, worker._life.options)
        if job.outcome == "closed":
            raise trio.ClosedResourceError(f"pool {name} was stopped")
        await trio.lowlevel.checkpoint_if_cancelled()


def _aborted(failure: Failure) -> ReloadAborted:
    if failure.place is None:
        return ReloadAborted(f"the new code cannot be loaded: {failure.error}")
    worker: Worker
    status: ExitStatus
    worker, status = failure.status
    cause = start_error(worker, status, worker._life.options)
    error = ReloadAborted(f"aborted: {cause}", worker=worker, status=status)
    note_traceback(error, status)
    return error


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if value < 0:
        raise ValueError(f"{name} must not be negative, not {value!r}")
    return value


def _check_timeout(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"ready_timeout must be a number of seconds, not {value!r}")
    if not value > 0:
        raise ValueError(f"ready_timeout must be above 0, not {value!r}")
