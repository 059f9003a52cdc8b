"""Sees to it that a main ends which is a task of the primary.

Runs in: primary

Theory of operation
===================

Nothing but cancelling ends a task, and a task may refuse: it shields itself, or swallows
``Cancelled`` and goes on. Who sees to that is the *overseer*, one small task that exists only while
it has something to wait for: the start limit, the actor's becoming idle, the time to cancel. After
cancelling it waits `GRACE_SECONDS`; then the life is given up.

A task that never comes to a checkpoint holds the whole loop, and with it whoever could give it up.
"""

from __future__ import annotations

import math
from typing import Final, Protocol, final

import trio

from .actor import Actor
from .ladder import RUNG_SECONDS

__all__ = ["GRACE_SECONDS", "Overseer", "Ward"]

#: From cancelling a main to giving it up, as long as a process gets for the same.
GRACE_SECONDS: Final = 2 * RUNG_SECONDS

#: How often it is looked whether an actor that drains is idle by now, as in a worker process.
_IDLE_POLL_SECONDS: Final = 0.02


class Ward(Protocol):
    """A life, as its overseer knows it.

    Attributes:
        deadline: when main is to be cancelled at the latest.
        drains: whether main is to be cancelled once the actor is idle.
    """

    deadline: float
    drains: bool

    def is_due(self) -> bool:
        """Whether it is time to cancel main."""

    def give_up(self) -> None:
        """It was cancelled long ago, and goes on."""


@final
class Overseer:
    """Cancels a main when that is due, and gives it up when that does not help.

    Args:
        ward: whose main.
        actor: of that.
        nursery: for the task that waits.
    """

    def __init__(self, ward: Ward, actor: Actor, nursery: trio.Nursery) -> None:
        self._ward = ward
        self._scope = trio.CancelScope()
        self._patience: trio.CancelScope | None = None
        nursery.start_soon(self._see_it_end, actor.scope)

    def look_again(self) -> None:
        """Something has changed."""
        if self._patience is not None:
            self._patience.cancel()

    def dismiss(self) -> None:
        """It has ended."""
        self._scope.cancel()

    @trio.lowlevel.enable_ki_protection
    async def _see_it_end(self, main: trio.CancelScope) -> None:
        ward = self._ward
        with self._scope:
            while not main.cancel_called:
                self._patience = trio.CancelScope(deadline=ward.deadline)
                with self._patience:
                    await trio.sleep(_IDLE_POLL_SECONDS if ward.drains else math.inf)
                if ward.is_due():
                    main.cancel()
            await trio.sleep(GRACE_SECONDS)
            ward.give_up()
