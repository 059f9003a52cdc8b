"""run(): ``trio.run`` plus the signals of a well-behaved server program.

Runs in: primary

Theory of operation
===================

While `run` is active in the main thread and at least one primary is open, SIGINT and SIGTERM are
ours. The first one asks every open primary to stop, through the Trio token, which is made to be
called from a signal handler. The second one kills every worker, restores the signal's default
action and sends it again, so that the parent sees what really ended us. Outside the blocks of
primaries the caller's handlers, Trio's own included, are in force and untouched.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any, Final, TypeVar

import trio

from .._worker.bootstrap import refuse_before_run_worker
from .._worker.imports import refuse_while_loading
from .open import open_primaries, watching

__all__ = ["run"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

T = TypeVar("T")


class _Signals:
    """The handlers, installed from the first open primary of this run to the last."""

    def __init__(self) -> None:
        self._previous: dict[int, Any] = {}
        self._primaries = 0
        self._asked = False

    def entered(self) -> None:
        """Call when a primary is entered."""
        self._primaries += 1
        if self._primaries == 1:
            self._asked = False
            self._previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}

    def left(self) -> None:
        """Call when a primary is left."""
        self._primaries -= 1
        if self._primaries == 0:
            for number, handler in self._previous.items():
                self._restore(number, handler)

    def _restore(self, number: int, handler: Any) -> None:
        if signal.getsignal(number) == self._handle:  # else the program has put its own there
            # None: it was installed from C; there is nothing Python could put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._primaries and not self._asked:
            self._asked = True
            for primary in list(open_primaries):
                primary._stop_soon()
            return
        for primary in list(open_primaries):
            primary._kill_all()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        os._exit(128 + number)  # process 1 of a container: the default action spares it


def run(async_fn: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run an async function as ``trio.run`` does, and stop gracefully on signals.

    The first SIGINT or SIGTERM stops every open primary: its body is cancelled, its workers are
    told to drain, and the program goes on after the block. A second one before all blocks are
    left kills all workers and then takes the signal's default action. In a thread other than the
    main one, signals are not touched.

    Args:
        async_fn: the main function.
        args: its arguments.

    Returns:
        What it returned.

    Raises:
        RuntimeError: reached while a worker imports the started script, whose
            ``if __name__ == "__main__"`` guard is missing; or in a worker that runs a script and
            has not called `run_worker`.
    """
    refuse_while_loading("run()")
    refuse_before_run_worker("run()")
    if threading.current_thread() is not threading.main_thread():
        return trio.run(async_fn, *args)
    handlers = _Signals()
    with watching(handlers.entered, handlers.left):
        return trio.run(async_fn, *args)
