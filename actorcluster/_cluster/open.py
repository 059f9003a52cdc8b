"""open_primary(): the block that owns workers, and what ends it.

Runs in: primary

Theory of operation
===================

The block is a nursery with one task beside the body, the *keeper*. It holds a second nursery, in
which each worker's life is one task, and is shielded: what cancels us from outside ends the body,
not the workers. The body runs in a cancel scope of its own, so that a stop can end it alone. Then,
however the body ended, every worker is told to stop, and the ladder of each life ends what does not
follow. Nothing leaves the block before every process is reaped.

Errors never pass through the nurseries: the body's exception is kept, they end normally, and the
exception leaves unwrapped.

Under plain ``trio.run`` Ctrl-C arrives as KeyboardInterrupt in the main task, or wherever code runs
that is not protected from it. In the body that is a stop. The second one kills the workers and goes
on up. One that comes when the body is over already is the first: the stop goes on gracefully, and
then the interrupt leaves, for nobody else would hear of it. Under `run` signals never become
exceptions here; see ``run.py``.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final, cast

import trio

from .._worker.adopted import is_process_1, reap_adopted
from .._worker.bootstrap import refuse_before_run_worker
from .._worker.imports import refuse_while_loading
from .._worker.listening import SCHED_NONE, SCHED_RR
from .._worker.settings import Settings
from .._worker.worker import patience
from .choosing import check_policies
from .peeking import Policies
from .primary import Primary
from .tracing import Wish, traced, wish
from .tree import Supervisor

__all__ = ["open_primaries", "open_primary", "watching"]

POLICY_VARIABLE: Final = "ACTORCLUSTER_SCHED_POLICY"

#: Those whose block is entered, in this process; a second signal kills all of their workers.
open_primaries: Final[set[Primary]] = set()

#: What `run`, in the main thread, wants called when a primary is entered there, and left.
_watchers: Final[list[tuple[Callable[[], None], Callable[[], None]]]] = []


@contextlib.contextmanager
def watching(entered: Callable[[], None], left: Callable[[], None]) -> Iterator[None]:
    """Have every primary of the main thread announced, as long as the block lasts."""
    _watchers.append((entered, left))
    try:
        yield
    finally:
        _watchers.pop()


@contextlib.contextmanager
def _announced(primary: Primary) -> Iterator[None]:
    in_main_thread = threading.current_thread() is threading.main_thread()
    watcher = _watchers[-1] if _watchers and in_main_thread else None
    open_primaries.add(primary)
    if watcher is not None:
        watcher[0]()
    try:
        yield
    finally:
        open_primaries.discard(primary)
        if watcher is not None:
            watcher[1]()


def open_primary(
    tree: Supervisor | None = None,
    *,
    settings: Settings | Mapping[str, Any] | None = None,
    scheduling_policy: str = SCHED_RR,
    policies: Policies | None = None,
    shutdown_timeout: float | None = None,
    trace: str | os.PathLike[str] | None = None,
    trace_bodies: bool = False,
    trace_size: int = 64 * 1024 * 1024,
) -> contextlib.AbstractAsyncContextManager[Primary, bool]:
    """Open a primary; the block owns its workers.

    Args:
        tree: what to start when the block is entered, in order, and what to do when it ends; all
            children are ready when the body begins, at one moment: as long as some fail in turn,
            within their budget, it waits. Forks are a last child of it.
        settings: of the forks, a `Settings` or a mapping of its fields.
        scheduling_policy: `SCHED_RR` the primary accepts and deals, `SCHED_NONE` the workers
            share the listening socket. The environment variable ``ACTORCLUSTER_SCHED_POLICY``
            (``rr`` or ``none``) replaces the default.
        policies: ways of dealing connections of your own, by the name that `Actor.listen_tcp`
            is given. Each is a plain function of a `NewConnection` and a list of `Candidate`,
            the workers that may be chosen, the next in turn first; it returns one of them, or
            None for the next in turn. It must be quick: whatever raises, chooses somebody else
            or takes more than 10 ms is logged and counted, and the next in turn is chosen. Or a
            `Peek`, whose function goes by what the client says first.
        shutdown_timeout: seconds for stopping all workers, then SIGKILL. None: what the workers
            need, each its own ``shutdown`` and ladder.
        trace: a file to write what goes over the workers' connections, see
            ``docs/reference/trace.md``; of mode 0600. It is made anew: one that is a trace already
            becomes ``PATH.1``, anything else that is there is an error. None: what the environment
            variable ``ACTORCLUSTER_TRACE`` names, if it can be written there. An error later on
            ends the trace, is logged, and concerns nobody else.
        trace_bodies: whether the messages' bodies are in it.
        trace_size: bytes on disk, at most. When half of that is full, ``PATH`` becomes ``PATH.1``,
            in place of the one before it, and a new ``PATH`` begins.

    Returns:
        An async context manager that gives the `Primary`.

    Raises:
        RuntimeError: reached while a worker imports the started script, whose
            ``if __name__ == "__main__"`` guard is missing; or in a worker that runs a script and
            has not called `run_worker`.
        TypeError, ValueError: an argument is wrong.
        WorkerStartError: a child of the tree could not be started; those before it were stopped.
        OSError: a port of a supervisor's ``listeners`` cannot be bound, or *trace* cannot be
            written; nothing was started.
        RestartLimitReached: the tree gave up; the body was cancelled.
        BaseException: what the body raised, unwrapped; but KeyboardInterrupt in the body is a
            request to stop, as the first signal is under `run`: the workers are stopped and the
            program goes on behind the block.

    Cancellation:
        All workers are stopped first, shielded.
    """
    refuse_while_loading("open_primary()")
    refuse_before_run_worker("open_primary()")
    policy = _policy(scheduling_policy)
    patience(shutdown_timeout, "shutdown_timeout")
    options: dict[str, Any] = {"policy": policy, "policies": check_policies(policies)}
    options["shutdown_timeout"] = shutdown_timeout
    wanted = wish(trace, trace_bodies, trace_size)
    block = _block(_tree(tree), _settings(settings), options, wanted)
    # For type checkers: what follows the block is reached when a stop has cancelled the body.
    return cast("contextlib.AbstractAsyncContextManager[Primary, bool]", block)


@contextlib.asynccontextmanager
@trio.lowlevel.enable_ki_protection  # an interrupt arrives in the body, or where we wait
async def _block(
    tree: Supervisor, settings: Settings, options: dict[str, Any], wanted: Wish | None
) -> AsyncIterator[Primary]:
    error: BaseException | None = None
    interrupt: BaseException | None = None
    is_entered = False
    try:
        with traced(wanted) as tracing:
            async with trio.open_nursery() as outer:
                tasks: trio.Nursery = await outer.start(_keep)
                tasks.cancel_scope.shield = True
                if is_process_1():
                    tasks.start_soon(reap_adopted)
                primary = Primary(tasks, tree, settings=settings, tracing=tracing, **options)
                with _announced(primary):
                    try:
                        with primary.scope:
                            await _start(primary)
                            is_entered = True
                            yield primary
                    except BaseException as exc:  # noqa: BLE001  (kept, and raised again below)
                        error = exc
                    interrupt = await _shut_down(primary, _is_interrupt(error))
                tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if not _is_interrupt(group):
            raise  # one of our own tasks crashed
        interrupt = KeyboardInterrupt()
    try:
        if interrupt is not None:
            raise interrupt
        if is_entered and _is_interrupt(error):
            error = None
        error = _both(error, primary.failure)
        if error is not None:
            raise error
    finally:
        del error, interrupt  # else they and this frame would keep each other alive


async def _start(primary: Primary) -> None:
    """Start the tree; one that is stopped meanwhile has a body that is cancelled."""
    try:
        await primary._start_tree()
    except trio.Cancelled:
        if not primary.scope.cancel_called:
            raise


@trio.lowlevel.enable_ki_protection
async def _keep(*, task_status: trio.TaskStatus[trio.Nursery]) -> None:
    """Hold the nursery of all that must outlive a cancelled body, until that is cancelled."""
    async with trio.open_nursery() as nursery:
        task_status.started(nursery)
        await trio.sleep_forever()


async def _shut_down(primary: Primary, interrupted: bool) -> KeyboardInterrupt | None:
    """Stop all workers, whatever happens; returns the interrupt that came meanwhile."""
    interrupt: KeyboardInterrupt | None = None
    while True:
        try:
            with trio.CancelScope(shield=True):
                await primary._shut_down()
        except KeyboardInterrupt as exc:
            if interrupted:
                primary._abandon()
            interrupted, interrupt = True, exc
        else:
            return interrupt


def _is_interrupt(exc: BaseException | None) -> bool:
    """Whether it is KeyboardInterrupt and nothing else, however wrapped."""
    if isinstance(exc, BaseExceptionGroup):
        return exc.split(KeyboardInterrupt)[1] is None
    return isinstance(exc, KeyboardInterrupt)


def _both(error: BaseException | None, failure: Exception | None) -> BaseException | None:
    """What leaves the block: what the body raised, that the tree gave up, or both."""
    if error is None or failure is None or error is failure:
        return error or failure
    return BaseExceptionGroup("the body failed and the tree gave up", [error, failure])


# ---- arguments ----------------------------------------------------------------------------


def _tree(given: object) -> Supervisor:
    if given is not None and not isinstance(given, Supervisor):
        raise TypeError(f"tree must be a Supervisor, not {given!r}")
    return given or Supervisor()


def _settings(given: object) -> Settings:
    if isinstance(given, Settings):
        return given
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"settings must be a Settings or a mapping of its fields, not {given!r}")
    return Settings().merged(**(given or {}))


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
