"""A worker's runtime, made by the fork server before there is a worker to have it.

Runs in: worker

Each worker gets its copy by being forked. That saves it time, and memory: what has made the copy
it need not run itself, so those pages stay shared. Where all goes well the copy is that of a
runtime whose event loop runs already and waits for the channel, see `Draft.live`; else of one that
is still to be run. Only `Runtime.begin` is left for the worker to do.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
from collections.abc import Callable
from typing import Final, final

import trio

from .._link.failure import raise_at_end
from . import bootstrap
from .eventloop import EventLoop, descriptors
from .forked import Job
from .runtime import Runtime, prepare
from .stackfile import offer_stack, renew_stack

__all__ = ["Draft"]

_STEPS: Final = 10
"""Until all of a runtime's tasks wait; half as many do."""


@final
class Draft:
    """A runtime whose channel is still to come: it takes the place of a socket without a peer.

    Raises:
        OSError: there are no descriptors.
    """

    def __init__(self) -> None:
        nobody, self._end = socket.socketpair()
        nobody.close()
        offer_stack()
        self._limits: str | None = None
        self._runtime: Runtime | None = None
        self._loop: EventLoop | None = None
        self._nobody: list[socket.socket] = []

    def suit(self, limits: str | None) -> None:
        """Be for a worker with such limits, see `bootstrap.LIMITS`.

        Raises:
            RuntimeError: they cannot be read.
        """
        if self._runtime is None or limits != self._limits:
            self._runtime = None
            gc.collect()  # by itself it does not run there; the server's modules are frozen
            self._end = socket.socket(fileno=self._end.detach())
            self._runtime = Runtime(self._end, bootstrap.read_limits(limits))
            self._limits = limits

    def fits(self, limits: str | None) -> bool:
        """Whether it is for a worker with such limits."""
        return self._runtime is not None and limits == self._limits

    def live(self, serve: Callable[[], Job | None]) -> Job | None:
        """Have the runtime's event loop run, and inside of it the server serve.

        Args:
            serve: returns a job in a worker that was forked meanwhile; its life begins then.

        Returns:
            None in the server; in a worker what is left to do at the end of its life.

        Raises:
            LookupError: this is no event loop that we know.
            OSError: there are no descriptors.
        """
        runtime = self._runtime
        assert runtime is not None
        job: Job | None = None

        async def begins() -> bool:
            nonlocal job
            for _ in range(_STEPS):
                await trio.lowlevel.checkpoint()
            self._loop = EventLoop(before, self._end.fileno())
            runtime.draft_hello()
            job = serve()
            if job is None:
                self._leave()
                return False
            identity = bootstrap.take_identity()
            offer_stack()
            runtime.begin(identity.worker_id, None)
            return True

        self._nobody = list(socket.socketpair())
        self._nobody[0].setblocking(False)
        self._take_back()
        before = descriptors()
        try:
            error = trio.run(runtime.run, begins)
        finally:
            if self._runtime is not None:
                self._retire()
        return job if job is None else Job(None, None, lambda: _end(error))

    def _retire(self) -> None:
        """In the server: the runtime has ended, and with it the end that it had."""
        self._end.close()
        self._end, peer = self._nobody
        peer.close()
        self._nobody = []
        self._loop = self._runtime = None

    def _leave(self) -> None:
        """Before the loop ends, in the server: the worker that came last goes on with it."""
        assert self._loop is not None
        try:
            self._loop.renew()
        except OSError:  # ours would be closed for it, too
            os._exit(1)  # the next start finds a new server

    def approach(self, channel_fd: int) -> None:
        """In the server, before it forks: let all be as it will be in the worker.

        Raises:
            OSError: there are no descriptors.
        """
        if self._loop is not None:
            os.dup2(channel_fd, self._end.fileno(), inheritable=False)
            self._loop.renew()

    def copied(self) -> None:
        """In the server: a worker has been forked, or could not be."""
        renew_stack()
        self._take_back()
        if self._loop is not None:
            with contextlib.suppress(OSError):  # the next one tries again
                self._loop.part()

    def _take_back(self) -> None:
        """Nobody is at the other end of our end any more, and it is not closed."""
        if self._nobody:
            os.dup2(self._nobody[0].fileno(), self._end.fileno(), inheritable=False)

    def hand_over(self, channel_fd: int, *, to_script: bool) -> int:
        """In the worker: take its channel, and be its runtime unless it has one of its own.

        Args:
            channel_fd: is closed.
            to_script: it is a program that may never be a worker.

        Returns:
            the new number of the channel.
        """
        number = self._end.fileno()
        if self._loop is None:
            os.dup2(channel_fd, number, inheritable=False)
        os.close(channel_fd)
        for sock in self._nobody:
            sock.close()
        if to_script:
            self._end.detach()
        elif self._runtime is not None and self._loop is None:
            prepare(self._runtime)
        self._runtime = None  # it is to end when the worker's main has ended
        return number

    def close(self) -> None:
        """In the server, which ends: without a warning of what is still open."""
        self._end.close()


def _end(error: BaseException | None) -> int:
    """End as `run_worker` does."""
    if error is not None:
        raise_at_end(error)
    return 0
