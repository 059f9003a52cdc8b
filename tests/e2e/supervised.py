"""A tree of real workers, and everything that happens in it, as lines.

::

    fork NAME, online NAME, listening NAME, draining NAME, disconnect NAME
    exit NAME REASON
    restart NAME N          it failed and comes back, N failures in a row
    gaveup NAME
    error NAME
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any, Final, cast

import trio

from actorcluster import (
    Backoff,
    Child,
    ChildInfo,
    Pool,
    Primary,
    Supervisor,
    Worker,
    events,
    open_primary,
)
from tests.e2e import supervised_actors

__all__ = [
    "AT_ONCE",
    "LATER",
    "NEVER",
    "PATIENCE",
    "Scene",
    "all_of",
    "comes",
    "dies",
    "mail",
    "pool",
    "puppet",
    "run_tree",
    "stops",
]

#: Seconds for what takes a fraction of one.
PATIENCE: Final = 60

AT_ONCE: Final = Backoff(min=0, max=0)
LATER: Final = Backoff(min=0.2, max=0.2, jitter=0)
#: For what is to stay between two lives.
NEVER: Final = Backoff(min=1000, max=1000, jitter=0)

_QUIET: Final[dict[str, Any]] = {"stdio": ["ignore"] * 3}


def puppet(name: str, *failing: int, silent: Sequence[int] = (), **options: Any) -> Child:
    """A child that does as it is told; some of its lives fail, or are never ready."""
    args = (failing, silent)
    options = {"ready": "called", "backoff": AT_ONCE, "args": args, **options}
    return Child(name, supervised_actors.puppet, **options)


def pool(name: str, count: int, **options: Any) -> Pool:
    """Several of them."""
    options = {"ready": "called", "backoff": AT_ONCE, **options}
    return Pool(name, supervised_actors.puppet, count=count, **options)


def mail(*children: Child, **options: Any) -> Supervisor:
    """A supervisor of two, or of others."""
    return Supervisor("mail", children=children or (puppet("smtp"), puppet("imap")), **options)


# ---- what is expected -----------------------------------------------------------------------


def comes(*names: str) -> list[str]:
    """The lines of starts, one after the other."""
    return [line for name in names for line in (f"fork {name}", f"online {name}")]


def dies(name: str, reason: str) -> list[str]:
    """The lines of an end that nobody asked for."""
    return [f"disconnect {name}", f"exit {name} {reason}"]


def stops(*names: str) -> list[str]:
    """The lines of stops, one after the other."""
    return [line for name in names for line in (f"draining {name}", *dies(name, "shutdown"))]


# ---- what happens ---------------------------------------------------------------------------


def _line(event: events.Event) -> str:
    match event:
        case events.Exit(worker=worker, status=status):
            return f"exit {worker.name} {status.reason}"
        case events.Restart(name=name, attempt=attempt):
            return f"restart {name} {attempt}"
        case events.GaveUp(name=name):
            return f"gaveup {name}"
    return f"{type(event).__name__.lower()} {event.worker.name}"


class Scene:
    """A primary whose tree is up, and what has happened since.

    Attributes:
        primary: its.
        lines: all that has been looked at by `until`; after the block, all there was.
        events: the same, as they are.
    """

    def __init__(self, primary: Primary, subscription: events.Subscription[events.Event]) -> None:
        self.primary = primary
        self.lines: list[str] = []
        self.events: list[events.Event] = []
        self._subscription = subscription

    async def until(self, line: str) -> Any:
        """Wait for the next such line; returns its event."""
        while True:
            event = await anext(self._subscription)
            self._put(event)
            if self.lines[-1] == line:
                return event

    async def until_any(self, kind: str) -> None:
        """Wait for the next line of a kind."""
        self._put(await anext(self._subscription))
        while not self.lines[-1].startswith(f"{kind} "):
            self._put(await anext(self._subscription))

    def _put(self, event: events.Event) -> None:
        self.lines.append(_line(event))
        self.events.append(event)

    async def finish(self) -> None:
        """Read what is left, when the primary has closed."""
        async for event in self._subscription:
            self._put(event)

    def about(self, name: str) -> list[str]:
        """The lines about one worker."""
        return [line for line in self.lines if line.split()[1] == name]

    def worker(self, name: str) -> Worker:
        """Who has that name now."""
        seat = self.primary._names.seat_named(name)
        assert seat is not None, name
        return seat.worker

    async def tell(self, name: str, body: Any) -> Worker:
        """Say something to who has that name now."""
        worker = self.worker(name)
        await worker.send(body)
        return worker

    async def ends(self, name: str, how: str = "signal") -> Worker:
        """Tell who has that name to end, and wait for it; what follows has begun then."""
        worker = await self.tell(name, how)
        await worker.wait()
        return worker

    def states(self) -> dict[str, str]:
        """How everybody in the tree is, by name; without the supervisors."""
        places = all_of(self.primary.tree())
        return {place.name: place.state for place in places if place.kind == "child"}

    async def calm(self) -> None:
        """Wait until nothing starts, stops, or is about to."""
        busy = {"waiting", "starting", "stopping"}
        while any(place.state in busy for place in all_of(self.primary.tree())):
            await self.primary._tree.changes()


def all_of(info: ChildInfo) -> Iterator[ChildInfo]:
    """Give a place and all below."""
    yield info
    yield from itertools.chain.from_iterable(map(all_of, info.children))


def run_tree(
    children: Iterable[Any] = (), *, shutdown_timeout: float | None = PATIENCE, **options: Any
) -> contextlib.AbstractAsyncContextManager[Scene, bool]:
    """Run a tree as long as the block runs.

    Args:
        children: of the root.
        shutdown_timeout: of the primary.
        options: of the root.
    """
    tree = Supervisor(children=tuple(children), **options)
    # For type checkers: what follows the block is reached when a stop has cancelled the body.
    return cast("contextlib.AbstractAsyncContextManager[Scene, bool]", _run(tree, shutdown_timeout))


@contextlib.asynccontextmanager
async def _run(tree: Supervisor, shutdown_timeout: float | None) -> AsyncIterator[Scene]:
    with contextlib.ExitStack() as stack:
        scene: Scene | None = None
        try:
            async with open_primary(
                tree, settings=_QUIET, shutdown_timeout=shutdown_timeout
            ) as primary:
                scene = Scene(primary, stack.enter_context(primary.events()))
                with trio.fail_after(PATIENCE):
                    yield scene
        finally:
            if scene is not None:
                await scene.finish()
