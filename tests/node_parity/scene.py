"""A primary with everything that happens in it, and clients."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any, Final, Self

import trio

from actorcluster import ExitStatus, Primary, Worker, events, open_primary
from tests.node_parity import actors

__all__ = ["PATIENCE", "Client", "Scene", "is_there", "scene", "shape"]

#: Seconds for what takes a fraction of one.
PATIENCE: Final = 30


class Scene:
    """A primary, and what has happened in it.

    Attributes:
        primary: its.
        seen: every event about a worker that was read.
        setups: how many calls of `setup_primary` were read, those of `everything` left out.
    """

    def __init__(self, primary: Primary, subscription: events.Subscription[events.Event]) -> None:
        self.primary = primary
        self.seen: list[events.Event] = []
        self.setups = 0
        self._subscription = subscription

    async def worker(self, *told: list[Any], **options: Any) -> Worker:
        """Fork a worker that has done what it was `told`, and waits for more."""
        worker = await self.primary.fork(actors.obeys, *told, **options)
        if told:
            await worker.ask(["echo", None])
        return worker

    async def until(self, kind: type[events.Event], worker: Worker) -> Any:
        """Read events until there was one of this kind about this worker."""
        while True:
            for event in self.seen:
                if isinstance(event, kind) and event.worker is worker:
                    return event
            self._put(await anext(self._subscription))

    def _put(self, event: events.Event) -> None:
        if isinstance(event, events.Setup):
            self.setups += 1
        else:
            self.seen.append(event)

    async def until_gone(self, worker: Worker) -> events.Exit:
        """Read events until the worker is gone."""
        await self.until(events.Disconnect, worker)
        gone: events.Exit = await self.until(events.Exit, worker)
        return gone

    async def everything(self) -> None:
        """Read what has been emitted so far: a setup of our own marks the end."""
        mark = {**self.primary.settings.env, "PARITY_MARK": str(len(self.seen))}
        self.primary.setup_primary(env=mark)
        while True:
            event = await anext(self._subscription)
            if isinstance(event, events.Setup) and event.settings is self.primary.settings:
                return
            self._put(event)

    def ends(self, worker: Worker) -> tuple[int, int]:
        """Count its Disconnect and its Exit."""
        kinds = self.kinds(worker)
        return kinds.count("Disconnect"), kinds.count("Exit")

    def kinds(self, worker: Worker) -> list[str]:
        """What was read about a worker, in words."""
        return [type(event).__name__ for event in self.seen if event.worker is worker]


@contextlib.asynccontextmanager
async def scene(**options: Any) -> AsyncIterator[Scene]:
    """Open a primary, for as long as the tests have patience."""
    async with open_primary(**options) as primary:
        with primary.events() as subscription, trio.fail_after(PATIENCE):
            yield Scene(primary, subscription)


def shape(status: ExitStatus) -> tuple[int | None, str | None, str, bool]:
    """The words of a status that a test compares."""
    return status.code, status.signal, status.reason, status.voluntary


def is_there(pid: int) -> bool:
    """Whether there is such a process, an ended one included."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Client:
    """A client of `Hand.serve`."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._data = b""

    @classmethod
    async def connect(cls, port: int, host: str = "127.0.0.1") -> Client:
        """Connect to a worker."""
        return cls(await trio.open_tcp_stream(host, port))

    async def line(self) -> str:
        """Wait for a line; empty: the connection has ended."""
        while b"\n" not in self._data:
            chunk = await self.stream.receive_some()
            if not chunk:
                return ""
            self._data += chunk
        line, _, self._data = self._data.partition(b"\n")
        return line.decode()

    async def served_by(self) -> int:
        """Wait for the number of the worker that serves; 0: the connection has ended."""
        return int(await self.line() or 0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stream.aclose()
