"""A worker's runtime, made by the fork server before there is a worker to have it.

Runs in: worker

Each worker gets its copy by being forked. That saves it time, and memory: what has made the copy
it need not run itself, so those pages stay shared. Only `Runtime.begin` is left for it to do.
"""

from __future__ import annotations

import gc
import os
import socket
from typing import final

from . import bootstrap
from .runtime import Runtime, prepare
from .stackfile import offer_stack, renew_stack

__all__ = ["Draft"]


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

    def copied(self) -> None:
        """In the server: a worker has been forked."""
        renew_stack()

    def hand_over(self, channel_fd: int, *, to_script: bool) -> int:
        """In the worker: take its channel, and be its runtime unless it has one of its own.

        Args:
            channel_fd: is closed.
            to_script: it is a program that may never be a worker.

        Returns:
            the new number of the channel.
        """
        number = self._end.fileno()
        os.dup2(channel_fd, number, inheritable=False)
        os.close(channel_fd)
        if to_script:
            self._end.detach()
        elif self._runtime is not None:
            prepare(self._runtime)
            self._runtime = None  # it is to end when the worker's main has ended
        return number

    def close(self) -> None:
        """In the server, which ends: without a warning of what is still open."""
        self._end.close()
