"""The demo as a command: performs, says how it went, and turns that into an exit code.

Runs in: primary
"""

from __future__ import annotations

import time

import actorcluster

from .interrupts import INTERRUPTED
from .screen import Screen
from .show import SHUTDOWN_SECONDS, BrokenPromise, Scale, Show

__all__ = ["run_demo"]


def run_demo(scale: Scale, screen: Screen) -> int:
    """Perform; the last line says how it went.

    Returns:
        The exit code: 0, 1 when a promise was broken, 130 when interrupted.
    """
    began = time.monotonic()
    code, last = INTERRUPTED, "demo: interrupted"
    try:
        result = actorcluster.run(_perform, scale, screen)
        if result is not None:
            code, last = 0, f"demo: ok {result} seconds={time.monotonic() - began:.1f}"
    except* BrokenPromise as group:
        code, last = 1, f"demo: broken promise: {_first(group)}"
    except* KeyboardInterrupt:
        pass  # it came before there was a primary, or after
    screen.end(last)
    return code


async def _perform(scale: Scale, screen: Screen) -> str | None:
    """Perform; None when it was interrupted."""
    result = None
    async with actorcluster.open_primary(shutdown_timeout=SHUTDOWN_SECONDS) as primary:
        result = await Show(scale, primary, screen).run()
    return result  # noqa: RET504  (a stop ends the block before it is assigned)


def _first(exc: BaseException) -> BaseException:
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return exc
