"""A fork server that many tests share: most are not about it, and it costs 0.3 s to start.

It is a real one, and every worker of it is a process of its own. Tests about starting are marked
``own_fork_server``; each of their primaries starts its own, as all do outside the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest
import trio

from actorcluster._worker import start
from actorcluster._worker.clone import available
from actorcluster._worker.forkserver import Files, ForkServer
from actorcluster._worker.process import Launch, Process

__all__ = ["kept_server", "share_the_fork_server"]

OWN: Final = "own_fork_server"


@pytest.fixture(scope="session")
def kept_server(private_tmp: Path) -> Iterator[ForkServer | None]:
    """The shared one, up before the first test that may use it looks at what is there."""
    if not available()[0]:
        yield None
        return
    server = ForkServer()
    trio.run(server._running, True)
    yield server
    trio.run(server.aclose)


@pytest.fixture
def share_the_fork_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the primaries of a test use the shared one."""
    if not request.node.get_closest_marker(OWN):
        kept = request.getfixturevalue("kept_server")
        if kept is not None:
            monkeypatch.setattr(start, "ForkServer", _chooser(kept))


def _chooser(kept: ForkServer) -> Callable[[Sequence[str]], ForkServer | Lease]:
    return lambda preload: ForkServer(preload) if preload else Lease(kept)


class Lease:
    """What one primary has of the shared fork server."""

    def __init__(self, server: ForkServer) -> None:
        self._server = server
        self._scope = trio.CancelScope()
        self._closed = False
        self._guarded: list[Process] = []
        self.files: Files = ()

    def _check(self) -> ForkServer:
        if self._closed:
            raise trio.ClosedResourceError("this lease has ended")
        return self._server

    @property
    def guards_anybody(self) -> bool:
        return any(process.poll() is None for process in self._guarded)

    async def start(self, launch: Launch) -> Process:
        process = await self._check().start(launch)
        self._guarded.append(process)
        return process

    async def prepare(self) -> None:
        await self._check().prepare()

    async def guard(self, process: Process) -> None:
        await self._check().guard(process)
        self._guarded.append(process)

    async def tell_files(self, files: Files) -> None:
        """The server is no single primary's, so it removes none when one dies."""
        self.files = files

    async def take_over(self, other: ForkServer) -> None:
        for process in other._guarded:
            await self.guard(process)
        await other.aclose()

    async def run(self) -> None:
        with self._scope:
            await self._check().run()

    async def aclose(self) -> None:
        self._closed = True
        self._scope.cancel()
