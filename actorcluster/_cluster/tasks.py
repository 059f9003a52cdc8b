"""Runs the actors that are tasks of the primary, and counts those that will not end.

Runs in: primary

Theory of operation
===================

A place that restarts at once goes on in the same Trio task: its *runner* tells how a life ended,
and takes the next one if the supervisor has begun it in the same breath. Between two lives others
have a turn whenever one is due, see `Pace`.

Runners are system tasks of Trio. A nursery could not be left while a child of it refuses to end,
and the primary promises to come to its end: it waits for those it has not given up, and for nobody
else. A task that was given up is left to Trio, which cannot end its run before it either.

What a main leaves behind in its Trio task, context variables or an open nursery, is not for the
next life: that gets a task of its own then. A Trio task with an open nursery can only end with an
error; so each runner has a nursery to itself, and nobody else hears of that.
"""

from __future__ import annotations

import contextvars
import logging
import os
from collections.abc import Callable
from time import perf_counter
from typing import Final, final

import trio

from .._link.pace import EVERY_MESSAGES, Pace
from .._worker.berth import Berth
from .._worker.mailbox import MergedMailbox
from .._worker.overseer import GRACE_SECONDS
from .._worker.ref import Home
from .._worker.tasklife import TaskLife
from .places import Place

__all__ = ["Tasks"]

log = logging.getLogger("actorcluster.task")

#: So many lives may follow each other before others have a turn: what is told of them is then as
#: much as who listens takes in one turn.
_LIVES: Final = EVERY_MESSAGES // 5

#: How often it is looked whether all have ended, when the primary breaks down.
_POLL_SECONDS: Final = 0.01


@final
class Tasks:
    """The tasks of one primary.

    Args:
        nursery: of the primary's own tasks; when it is cancelled, so are these.
        mailbox: the primary's.
        refs: the primary's home of refs.
        on_interrupt: called when Ctrl-C has arrived in one of them.

    Attributes:
        given_up: who was given up and still runs.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        mailbox: MergedMailbox,
        refs: Home,
        on_interrupt: Callable[[], None],
    ) -> None:
        self.nursery = nursery
        self.pid = os.getpid()
        self.mailbox = mailbox
        self.refs = refs
        self.given_up: set[TaskLife] = set()
        self._on_interrupt = on_interrupt
        self._context = contextvars.copy_context()
        self._living: set[TaskLife] = set()
        #: places whose runner asks for the next life, and that, once it is there.
        self._between: dict[Place, TaskLife | None] = {}
        self._is_kept = False

    def begin(self, place: Place, life: TaskLife) -> None:
        """Begin a life."""
        self._living.add(life)
        if place in self._between:
            self._between[place] = life
        else:
            self._spawn(place, life)

    def _spawn(self, place: Place, life: TaskLife) -> None:
        if not self._is_kept:
            self._is_kept = True
            self.nursery.start_soon(self._keep)
        context = self._context.copy()
        trio.lowlevel.spawn_system_task(
            self._contain, place, life, name=f"around {place.name}", context=context
        )

    async def _contain(self, place: Place, first: TaskLife) -> None:
        """Run a runner, whatever its mains do to Trio's books."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run, place, first, name=place.name)
        except BaseException as exc:
            log.exception("%s has left a nursery open", place.name, exc_info=exc)

    @trio.lowlevel.enable_ki_protection
    async def _run(self, place: Place, first: TaskLife) -> None:
        """Live one life after the other, until there is none at once."""
        berth = Berth()
        try:
            await self._run_in(berth, place, first)
        finally:
            berth.leave()

    async def _run_in(self, berth: Berth, place: Place, first: TaskLife) -> None:
        pace, task = Pace(), trio.lowlevel.current_task()
        life: TaskLife | None = first
        lives = 0
        while life is not None:
            is_used = False
            if life.is_over or not await life.live(berth):
                if berth.is_empty and task.child_nurseries:
                    # Trio wants to see this task go, and before it does anything
                    self._spawn(place, life)
                    return
                if life.link is not None:
                    await life.link.hang_up()
                is_used = life.left_traces
            life = self._conclude(place, life)
            if life is not None and is_used:
                self._spawn(place, life)
                return
            lives += 1
            if lives % _LIVES == 0 or perf_counter() > pace.until:
                await pace.rest()

    def _conclude(self, place: Place, life: TaskLife) -> TaskLife | None:
        """Tell how a life ended; give the next one, if that is there by then."""
        self._between[place] = None
        try:
            life.conclude()
        finally:
            self._living.discard(life)
            following = self._between.pop(place)
        return following

    @trio.lowlevel.enable_ki_protection
    async def _keep(self) -> None:
        """When the primary breaks down, so do the tasks."""
        try:
            await trio.sleep_forever()
        finally:
            for life in list(self._living):
                life.brutal_kill()
            with trio.move_on_after(GRACE_SECONDS, shield=True):
                for life in list(self._living):
                    await life.dead.wait()

    # ---- what lives tell, see `TaskHost` --------------------------------------------------

    def interrupted(self) -> None:
        """Ctrl-C arrived in a task."""
        self._on_interrupt()

    def gave_up(self, life: TaskLife) -> None:
        """A task does not heed its cancellation."""
        self._living.discard(life)
        self.given_up.add(life)

    def came_back(self, life: TaskLife) -> None:
        """One that was given up has ended after all."""
        self.given_up.discard(life)
