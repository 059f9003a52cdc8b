"""Forking by hand, and the settings for it.

Runs in: primary
"""

from __future__ import annotations

from typing import Any, Unpack

import trio

from .._worker.settings import Settings
from .._worker.worker import Worker
from . import events
from .operations import start_error
from .options import ChildOptions, child_of
from .rolling import RollingOperations
from .seat import Seat
from .tree import Restart

__all__ = ["ForkOperations"]


class ForkOperations(RollingOperations):
    """The part of a `Primary` that forks workers which its tree does not name."""

    _hub: events.EventHub
    _closing: bool

    # ---- settings -------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The settings of the next fork."""
        return self._settings

    def setup_primary(self, **settings: Any) -> None:
        """Change the settings of later forks, as Node's ``setupPrimary``.

        Cumulative: what is not named stays. Emits one `events.Setup`.

        Args:
            settings: fields of `Settings`.

        Raises:
            TypeError: there is no such setting, or it has a wrong type.
            ValueError: a value is not allowed.
        """
        self._settings = self._settings.merged(**settings)
        self._hub.emit(events.Setup(settings=self._settings))

    # ---- forking --------------------------------------------------------------------------

    async def fork(
        self,
        target: Any = None,
        *args: Any,
        name: str | None = None,
        restart: Restart = "temporary",
        **child_options: Unpack[ChildOptions],
    ) -> Worker:
        """Start a worker and wait until it is ready.

        While the root restarts all its children, as its strategy may want it, that waits.

        Args:
            target: an async function ``main(actor, *args)`` that can be imported by name,
                ``"package.module:function"``, or None for the script `Settings.exec` names.
            args: body values without handles, passed to main; a `Ref` among them is good.
            name: the place in the tree, unique among the living; default ``worker-<id>``.
            restart: ``"temporary"`` never, ``"transient"`` unless it ended well, ``"permanent"``
                always; the first start is not retried.
            child_options: ``run="process"`` (default) or ``"task"``, see `Child`;
                ``ready="online"`` (default) the runtime is up and the target found,
                ``"listening"`` it listens on its first port, ``"called"`` it called
                `Actor.ready`; ``start_timeout=30.0`` seconds for that; ``shutdown=5.0`` seconds
                from being told to stop to being cancelled, or ``"brutal_kill"``; ``backoff`` and
                ``limits``, see `Child`;
                ``heartbeat=5.0`` and ``hung_after=None`` seconds of silence until it is
                reported, and killed, and ``warm_up=0`` seconds until it has its full share of
                connections, see `Child`; ``exec`` and ``env``, its own or additional;
                ``protocol="awp"`` (default) or ``"node"``, what *exec* speaks; ``stderr``, see
                `Settings`; ``settings``, for it alone, see `Child`.

        Returns:
            The worker, ready. From now on it belongs to the primary, not to the caller's scope.

        Raises:
            TypeError, ValueError: a bad target, argument or setting; no process was started.
            RuntimeError: the script lacks the ``if __name__ == "__main__"`` guard.
            WorkerStartError: it ended, or was silent for too long, before it was ready. Its pipes
                are closed; to read what it wrote to them, use `fork_soon`.
            trio.ClosedResourceError: the primary has closed.

        Cancellation:
            The process is killed and reaped, its pipes are closed.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._tree.forkable()
        worker = self.fork_soon(target, *args, name=name, restart=restart, **child_options)
        life = self._seat_of(worker).life
        try:
            await life.settled.wait()
            if not life.was_ready:
                self._raise_if_closing()
                raise start_error(worker, life.status, life.options)
        except BaseException:
            worker.place.leaving()
            life.brutal_kill()
            with trio.CancelScope(shield=True):
                await life.dead.wait()
                for stream in worker.stdio:
                    if stream is not None:
                        await stream.aclose()
            raise
        return worker

    def fork_soon(
        self,
        target: Any = None,
        *args: Any,
        name: str | None = None,
        restart: Restart = "temporary",
        **child_options: Unpack[ChildOptions],
    ) -> Worker:
        """Start a worker without waiting; see `fork` for the arguments.

        A start that fails is an `events.Exit` and the result of `Worker.wait`.

        Returns:
            The worker, in state ``none``.

        Raises:
            TypeError, ValueError: a bad target, argument or setting; no process was started.
            RuntimeError: the script lacks the ``if __name__ == "__main__"`` guard.
            trio.ClosedResourceError: the primary has closed; or the root restarts all its children
                just now, by its strategy, which `fork` waits for.
        """
        self._raise_if_closing()
        name = self._names.default() if name is None else name
        child = child_of(name, target, args, restart, child_options)
        launch = self._seating.check(child, self._settings)
        place = self._tree.fork(child, launch)
        seat = self._names.seat_named(place.name)
        assert seat is not None
        return seat.worker

    def _seat_of(self, worker: Worker) -> Seat:
        if not isinstance(worker, Worker):
            raise TypeError(f"a worker is a Worker, as fork returns it, not {worker!r}")
        seat = worker.place
        if not isinstance(seat, Seat) or not seat.is_in(self._hub):
            raise ValueError(f"{worker!r} is not a worker of this primary")
        return seat

    def _raise_if_closing(self) -> None:
        if self._closing or self._tree.outcome is not None:
            raise trio.ClosedResourceError("the primary has closed")
