"""Runs a call again and again, cancelling it at one moment after the other until there is none.

Theory of operation
===================

What a call notices of a cancellation depends on where its tasks stand when it comes, and others
run only between two steps of a task. So these are all the moments there are, for each step of each
task of the call:

- *waking*: before the step; what the task waited for has happened, and it does not know yet.
- *asleep*: after it; the task has just begun to wait.
- *settled*: the same, when everything else in this process has gone as far as it can.

::

    for trial in every_moment():
        result = await trial.run(worker.send, body)
        if trial.cancelled:
            ...

Each trial is for one moment; the loop ends when no moment is left that has not had its turn. What
takes another way the next time (the scheduler's order is random, and other processes have a pace
of their own) only changes which moments are met: what must hold, must hold in each.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, final

import attrs
import trio
import trio.testing

__all__ = ["Edge", "Trial", "every_moment"]

#: Nothing here takes so many steps; what never gets through would be tried for ever.
_MOST_STEPS: Final = 2000


@final
class Edge(enum.Enum):
    """Where in a step; see above."""

    WAKING = enum.auto()
    ASLEEP = enum.auto()
    SETTLED = enum.auto()


@final
@attrs.define(eq=False)
class Trial:
    """One run of the call, and the moment at which it is cancelled.

    Attributes:
        step: counted from 0 over all tasks of the call.
        edge: of that step.
        own_steps: whether only the call's own task counts, not those in its nurseries.
        reached: whether the moment came.
        cancelled: whether the call ended by it; not if it came too late for that.
    """

    step: int
    edge: Edge
    own_steps: bool = False
    reached: bool = False
    cancelled: bool = False

    async def run(self, call: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        """Make the call; returns what it returned, None when it was cancelled.

        Raises:
            Exception: what the call raised.
        """
        result, error = None, None
        scope, due = trio.CancelScope(), trio.Event()
        strike = due.set if self.edge is Edge.SETTLED else scope.cancel

        async def act() -> None:
            nonlocal result, error
            watch = _Watch(self, trio.lowlevel.current_task(), strike)
            trio.lowlevel.add_instrument(watch)
            try:
                with scope:
                    await trio.lowlevel.cancel_shielded_checkpoint()  # step 0 begins behind it
                    result = await call(*args, **options)
            except Exception as exc:  # noqa: BLE001  (raised again below)
                error = exc
            finally:
                trio.lowlevel.remove_instrument(watch)
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(act)
            await due.wait()
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
        self.cancelled = scope.cancelled_caught
        if error is not None:
            raise error
        return result

    def __str__(self) -> str:
        return f"{self.edge.name.lower()}, step {self.step}"


@final
class _Watch(trio.abc.Instrument):
    """Strikes at the moment of a trial."""

    def __init__(
        self, trial: Trial, root: trio.lowlevel.Task, strike: Callable[[], object]
    ) -> None:
        self._trial = trial
        self._root = root
        self._strike = strike
        self._step = -1

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._is_of_call(task):
            self._step += 1
            self._look(at_start=True)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._is_of_call(task):
            self._look(at_start=False)

    def _look(self, *, at_start: bool) -> None:
        trial = self._trial
        if trial.step == self._step and at_start == (trial.edge is Edge.WAKING):
            trial.reached = True
            self._strike()

    def _is_of_call(self, task: trio.lowlevel.Task) -> bool:
        if self._trial.own_steps:
            return task is self._root
        at: trio.lowlevel.Task | None = task
        while at is not None and at is not self._root:
            at = None if at.parent_nursery is None else at.parent_nursery.parent_task
        return at is not None


def every_moment(
    *, own_steps: bool = False, stride: int = 1, most: int | None = None
) -> Iterator[Trial]:
    """Give a trial for each moment of a call.

    Args:
        own_steps: see `Trial`.
        stride: look at every so manieth step only; each edge begins with another one.
        most: look at so many steps; for a call that does not end by itself.
    """
    for offset, edge in enumerate(Edge):
        for step in itertools.count(offset % stride, stride):
            if step == most:
                break
            assert step < _MOST_STEPS, "this call never gets through"
            trial = Trial(step, edge, own_steps)
            yield trial
            if not trial.reached:
                break
