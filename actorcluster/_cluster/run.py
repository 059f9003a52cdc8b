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

from .._worker.targets import refuse_while_loading
from .open import open_primaries, signals_wanted

__all__ = ["run"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

T = TypeVar("T")


class _Signals:
    """The handlers, installed from the first open primary to the last."""

    def __init__(self) -> None:
        self._previous: dict[int, Any] = {}
        self._asked = False

    def install(self) -> None:
        self._asked = False
        self._previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}

    def restore(self) -> None:
        for number, handler in self._previous.items():
            # None: it was installed from C; there is nothing Python could put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous = {}

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if not self._asked:
            self._asked = True
            for primary in list(open_primaries):
                primary.stop_soon()
            return
        for primary in list(open_primaries):
            primary.kill_all()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def run(async_fn: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run an async function as ``trio.run`` does, and stop gracefully on signals.

    The first SIGINT or SIGTERM stops every open primary: its body is cancelled, its workers are
    told to drain, and the program goes on after the block. A second one kills all workers and
    then takes the signal's default action. In a thread other than the main one, signals are not
    touched.

    Args:
        async_fn: the main function.
        args: its arguments.

    Returns:
        What it returned.

    Raises:
        RuntimeError: reached while a worker imports the started script, whose
            ``if __name__ == "__main__"`` guard is missing.
    """
    refuse_while_loading("run()")
    if threading.current_thread() is not threading.main_thread():
        return trio.run(async_fn, *args)
    handlers = _Signals()
    with signals_wanted(handlers.install, handlers.restore):
        return trio.run(async_fn, *args)
