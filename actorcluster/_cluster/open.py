"""open_primary(): the block that owns workers, and what ends it.

Runs in: primary

Theory of operation
===================

The block is one nursery in which each worker's life is one task. The body runs in a cancel scope
of its own, so that a stop can end it without touching the workers; then, however the body ended,
every worker is told to stop, shielded from whatever cancelled us, and the ladder of each life
ends what does not follow. Nothing leaves the block before every process is reaped.

Errors never pass through the nursery: the body's exception is kept, the nursery ends normally,
and the exception leaves unwrapped.

Under plain ``trio.run`` Ctrl-C arrives as KeyboardInterrupt somewhere in the body: that is a
stop. A second one arrives while the workers are being stopped: they are killed, and it goes on
up. Under `run` signals never become exceptions here; see ``run.py``.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final

import trio

from .._worker.listening import SCHED_NONE, SCHED_RR
from .._worker.settings import Settings
from .._worker.targets import refuse_while_loading
from .primary import Primary

__all__ = ["open_primaries", "open_primary", "signals_wanted"]

POLICY_VARIABLE: Final = "ACTORCLUSTER_SCHED_POLICY"

#: Those whose block is entered, in this process; a second signal kills all of their workers.
open_primaries: Final[set[Primary]] = set()


#: What `run` wants done when the first primary is entered and after the last one is left.
_hooks: list[tuple[Callable[[], None], Callable[[], None]]] = []


@contextlib.contextmanager
def signals_wanted(install: Callable[[], None], restore: Callable[[], None]) -> Iterator[None]:
    """Call ``install`` when a first primary is entered, ``restore`` after the last is left."""
    _hooks.append((install, restore))
    try:
        yield
    finally:
        _hooks.pop()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _entered(primary: Primary) -> None:
    if _hooks and not open_primaries and _in_main_thread():
        _hooks[-1][0]()
    open_primaries.add(primary)


def _left(primary: Primary) -> None:
    open_primaries.discard(primary)
    if _hooks and not open_primaries and _in_main_thread():
        _hooks[-1][1]()


@contextlib.asynccontextmanager
async def open_primary(
    *,
    settings: Settings | Mapping[str, Any] | None = None,
    scheduling_policy: str = SCHED_RR,
    shutdown_timeout: float | None = None,
) -> AsyncIterator[Primary]:
    """Open a primary; the block owns its workers.

    Args:
        settings: of the forks, a `Settings` or a mapping of its fields.
        scheduling_policy: `SCHED_RR` the primary accepts and deals, `SCHED_NONE` the workers
            share the listening socket. The environment variable ``ACTORCLUSTER_SCHED_POLICY``
            (``rr`` or ``none``) replaces the default.
        shutdown_timeout: seconds for stopping all workers, then SIGKILL. None: what the workers
            need, each its own ``shutdown`` and ladder.

    Raises:
        RuntimeError: reached while a worker imports the started script, whose
            ``if __name__ == "__main__"`` guard is missing.
        BaseException: what the body raised, unwrapped.

    Cancellation:
        All workers are stopped first, shielded.
    """
    refuse_while_loading("open_primary()")
    if not isinstance(settings, Settings):
        settings = Settings(**(settings or {}))
    policy = _policy(scheduling_policy)
    body_error: BaseException | None = None
    async with trio.open_nursery() as nursery:
        primary = Primary(
            nursery, settings=settings, policy=policy, shutdown_timeout=shutdown_timeout
        )
        _entered(primary)
        try:
            with primary.scope:
                yield primary
        except BaseException as exc:  # noqa: BLE001  (kept, and raised again below)
            body_error = exc
        try:
            second = await _shut_down(primary)
        finally:
            _left(primary)
        nursery.cancel_scope.cancel()
    if second is not None:
        raise second
    if body_error is not None and not _is_interrupt(body_error):
        raise body_error


async def _shut_down(primary: Primary) -> KeyboardInterrupt | None:
    """Stop all workers, whatever happens; returns the interrupt that came meanwhile."""
    interrupt: KeyboardInterrupt | None = None
    while True:
        try:
            with trio.CancelScope(shield=True):
                await primary.shut_down()
        except KeyboardInterrupt as exc:
            interrupt = exc
            primary.kill_all()
        else:
            return interrupt


def _is_interrupt(exc: BaseException) -> bool:
    """Whether it is KeyboardInterrupt and nothing else, however wrapped."""
    if isinstance(exc, BaseExceptionGroup):
        return exc.split(KeyboardInterrupt)[1] is None
    return isinstance(exc, KeyboardInterrupt)


def _policy(given: str) -> str:
    """Apply the environment variable, which replaces the default."""
    text = os.environ.get(POLICY_VARIABLE)
    names = {"rr": SCHED_RR, "none": SCHED_NONE}
    if given not in names.values():
        raise ValueError(f"scheduling_policy must be SCHED_RR or SCHED_NONE, not {given!r}")
    if not text or given != SCHED_RR:
        return given
    if text not in names:
        raise ValueError(f"{POLICY_VARIABLE} must be 'rr' or 'none', not {text!r}")
    return names[text]
