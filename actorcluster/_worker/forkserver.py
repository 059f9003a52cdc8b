"""The fork server of a primary: workers made in milliseconds, and none lost when it is killed.

Runs in: primary

The workers are children of the primary, not of the server. Whatever happens to the server, their
exit status comes here. The next start finds a new server, which has to learn only the pidfds of
those that live, to kill them when the primary dies without a word; see `template`.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import sys
import weakref
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias, final

import trio

from .clone import available
from .commands import import_path
from .forkprocess import CannotFork, ServerProcess
from .forkrequest import SLOT
from .process import Launch, Process, above_stdio, channel_pair, without_identity

__all__ = ["CannotFork", "Files", "ForkServer", "available"]

Files: TypeAlias = Sequence[tuple[str, int, int]]
"""Path, device and inode of each."""

log = logging.getLogger("actorcluster.forkserver")

_ENTRY: Final = "actorcluster._worker.runtime:run_worker"
_ATTEMPTS: Final = 3
_IN_FLIGHT: Final = 64
_BOOT_PATIENCE: Final = 60.0
_EXIT_PATIENCE: Final = 1.0
_LONG_LIFE: Final = 5.0
"""Seconds; a server that lived so long did not die of itself."""
_SHORTAGE_SECONDS: Final = 1.0
"""How long to wait for descriptors or memory, before a server that is missing is started."""
_GUARDED_AT_ONCE: Final = 16
"""So many descriptors are needed for a moment to let a new server guard any number of workers."""


@final
class ForkServer:
    """Starts workers by forking a process that has everything imported already.

    The process behind it is started by the first `start` or `guard`, or by `run`, and again
    whenever it is needed and has died. It imports nothing before the first `start`.

    Args:
        preload: modules to import beside trio and actorcluster.
        entry: ``"module:function"``, what a worker without a script calls.

    Attributes:
        files: of unix sockets that are to be removed when this process dies without a word, by
            path, device and inode; see `tell_files`.

    Raises:
        CannotFork: not on this machine.
    """

    def __init__(self, preload: Sequence[str] = (), *, entry: str = _ENTRY) -> None:
        possible, why = available()
        if not possible:
            raise CannotFork(why)
        self._preload = tuple(preload)
        self._entry = entry
        self._server: ServerProcess | None = None
        self._launching = trio.Lock()
        self._closed = False
        self._forks = False
        self._obstacle: str | None = None
        self._user: tuple[object, ...] | None = None
        self.files: Files = ()
        self._guarded: weakref.WeakSet[Process] = weakref.WeakSet()
        self._slots = list(range(_IN_FLIGHT))
        self._free_slots = trio.Semaphore(_IN_FLIGHT)
        page_fd = os.memfd_create("actorcluster-pids", os.MFD_CLOEXEC)
        try:
            self._page_fd = above_stdio(page_fd)
        finally:
            os.close(page_fd)
        os.ftruncate(self._page_fd, _IN_FLIGHT * SLOT.size)
        self._page = mmap.mmap(self._page_fd, 0)

    @property
    def pid(self) -> int | None:
        """Process id of the server that runs, None if none does."""
        server = self._server
        return None if server is None or server.process.poll() else server.process.pid

    @property
    def guards_anybody(self) -> bool:
        """Whether a worker lives that it would kill when this process dies."""
        return any(process.poll() is None for process in self._guarded)

    async def start(self, launch: Launch) -> Process:
        """Start a worker process.

        Returns:
            The process, set up as `launch` says.

        Raises:
            CannotFork: use exec instead; the reason is in the text.
            OSError: it cannot be set up: no such directory, no right to change the user ...
            RuntimeError: a module of ``preload`` cannot be imported, or the server dies each time.
            trio.ClosedResourceError: this fork server was closed.

        Cancellation:
            If a process was made, it has been killed and reaped.
        """
        if self._closed:
            raise trio.ClosedResourceError("this fork server was closed")
        self._forks = True
        async with self._free_slots:
            slot = self._slots.pop()
            try:
                return await self._start(launch, slot)
            finally:
                self._slots.append(slot)
                self._release()

    async def _start(self, launch: Launch, slot: int) -> Process:
        if self._user not in (None, _user()):  # it is a former one, maybe root
            raise CannotFork("this process has changed its user since its fork server began")
        ours, theirs = channel_pair()
        with theirs:
            try:
                request, fds = _describe(launch, theirs.fileno())
                for _ in range(_ATTEMPTS):
                    server = await self._running(to_fork=True)
                    process = await server.fork(request, fds, slot, ours)
                    if process is not None:
                        self._guarded.add(process)
                        return process
                    await server.kill()  # it is dead, or dying
                raise RuntimeError(f"the fork server died {_ATTEMPTS} times in a row")
            except BaseException:
                ours.close()
                raise

    async def prepare(self) -> None:
        """Have everything imported that the next `start` needs.

        Raises:
            CannotFork, RuntimeError, trio.ClosedResourceError: as `start`.

        Cancellation:
            It goes on, or has not begun.
        """
        self._forks = True
        await self._running(to_fork=True)

    async def guard(self, process: Process) -> None:
        """Have a process that came into being otherwise killed too when this process dies.

        Raises:
            OSError, RuntimeError, trio.ClosedResourceError: as `start`.

        Cancellation:
            It may be guarded or not; call it again.
        """
        self._guarded.add(process)
        server = self._server
        if server is None or server.process.poll() is not None:
            server = await self._running(to_fork=False)
        # One that is still importing reads this before it can learn that we are dead.
        await self._guard(server, [process])

    async def take_over(self, other: ForkServer) -> None:
        """Guard the workers of another fork server, and close that one: a reload with new code.

        It has everything imported then.

        Raises:
            CannotFork, OSError, RuntimeError, trio.ClosedResourceError: as `start`; then the
                other one goes on.

        Cancellation:
            The other one goes on.
        """
        self._forks = True
        server = await self._running(to_fork=True)
        self._guarded.update(other._guarded)
        await self._guard(server, other._guarded)
        await other.aclose()

    async def tell_files(self, files: Files) -> None:
        """Have these files removed, and no others, when this process dies.

        Cancellation:
            A server that is started later knows them.
        """
        self.files = files
        server = self._server
        if server is not None and server.process.poll() is None:
            await self._tell_files(server)

    async def _tell_files(self, server: ServerProcess) -> None:
        if self.files or server.knows_files:
            server.knows_files = True
            await server.send({"do": "files", "files": self.files}, [])

    async def _guard(self, server: ServerProcess, processes: Iterable[Process]) -> None:
        remaining = list(processes)
        while remaining:
            some, remaining = remaining[:_GUARDED_AT_ONCE], remaining[_GUARDED_AT_ONCE:]
            with contextlib.ExitStack() as stack:
                fds = []  # duplicates, for a process may be reaped and closed while we wait
                for process in some:
                    if process.poll() is None:
                        fds.append(os.dup(process.pidfd))
                        stack.callback(os.close, fds[-1])
                if fds:
                    await server.send({"do": "guard"}, fds)

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Keep a server running, without waiting for the next start.

        A first start then finds it warm, one that dies is reaped and replaced at once, and the
        workers stay guarded. Returns when that is no longer possible; `start` says why.
        """
        pause = 0.0
        while True:
            forks = self._forks
            try:
                server = await self._running(forks)
            except trio.ClosedResourceError:
                return
            except RuntimeError:
                if forks:
                    continue  # it may still guard
                return
            except OSError:  # a shortage, which passes; the workers are not guarded until then
                await trio.sleep(_SHORTAGE_SECONDS)
                continue
            since = trio.current_time()
            await server.process.wait()
            pause = 0.0 if trio.current_time() - since > _LONG_LIFE else 2 * pause + 0.1
            await trio.sleep(min(pause, _LONG_LIFE))

    async def _running(self, to_fork: bool) -> ServerProcess:
        """The server, prepared if it is to fork; a new one if there is none."""
        if to_fork and self._obstacle is not None:
            self._forks = False
            raise CannotFork(self._obstacle)
        async with self._launching:
            for _ in range(_ATTEMPTS):
                server = self._server
                if server is not None and server.process.poll() is not None:
                    server.close()
                    server = self._server = None
                if server is None:
                    server = await self._launch()
                elif to_fork and server.has_failed:
                    server = await self._replace(server)
                with trio.move_on_after(_BOOT_PATIENCE) as patience:
                    if await self._is_up(server, to_fork):
                        return server
                await server.kill()
            self._forks = False
            how = f"was silent for {_BOOT_PATIENCE} s" if patience.cancelled_caught else "died"
            raise RuntimeError(f"the fork server {how} while it started, {_ATTEMPTS} times")

    async def _replace(self, old: ServerProcess) -> ServerProcess:
        """Start another server, which guards the workers before the old one ceases to."""
        try:
            server = await self._launch()
        except BaseException:
            if self._server is not None and self._server is not old:
                self._server.close()
            self._server = old
            if self._closed:  # meanwhile, and `aclose` knew only of the new one
                await self.aclose()
            raise
        await old.kill()
        old.close()
        return server

    async def _launch(self) -> ServerProcess:
        if self._closed:
            raise trio.ClosedResourceError("this fork server was closed")
        self._user = _user()
        server = ServerProcess.spawn(self._entry, self._page, self._page_fd)
        self._server = server
        try:
            await self._guard(server, self._guarded)
            await self._tell_files(server)
        except BaseException:
            await server.kill()  # one that does not know all workers would not kill them all
            raise
        return server

    async def _is_up(self, server: ServerProcess, to_fork: bool) -> bool:
        try:
            return await server.serves() and (not to_fork or await server.prepared(self._preload))
        except RuntimeError as exc:  # it can still guard
            self._forks = False
            if isinstance(exc, CannotFork):
                self._obstacle = str(exc)
                log.warning("%s", exc)
            raise

    # ---- the end --------------------------------------------------------------------------

    async def aclose(self) -> None:
        """End the server, within about a second, and reap it. The workers live on, unguarded."""
        self._closed = True
        with trio.CancelScope(shield=True):
            server = self._server
            if server is not None:
                with trio.move_on_after(_EXIT_PATIENCE):
                    await server.send({"do": "exit"}, [])
                    await server.process.wait()
                await server.kill()
                server.close()
                self._server = None
        self._release()

    def _release(self) -> None:
        """Close the page once it is closed, and nobody reads slots any more."""
        if (
            self._closed
            and len(self._slots) == _IN_FLIGHT
            and self._page_fd >= 0
            and not self._server
        ):
            self._page.close()
            os.close(self._page_fd)
            self._page_fd = -1


def _describe(launch: Launch, channel: int) -> tuple[dict[str, Any], list[int]]:
    """The request for a worker, and the descriptors that go with it, the answer's left out."""
    stdio = {
        number: number if fd is None else fd
        for number, fd in enumerate(launch.stdio)
        if fd is not None or _is_open(number)
    }
    request = {
        "script": launch.script,
        "module": launch.module,
        "program": sys.argv[0] if sys.argv else "",
        "args": launch.args,
        "env": without_identity(launch.env),
        "cwd": launch.cwd or _working_directory(),
        "umask": _umask(),
        "uid": launch.uid,
        "gid": launch.gid,
        "worker_id": launch.worker_id,
        "path": import_path(),
        "stdio": list(stdio),
    }
    return request, [channel, *stdio.values()]


def _user() -> tuple[object, ...]:
    return os.getresuid(), os.getresgid(), os.getgroups()


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _working_directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was removed: the worker stays where the server is
        return None


def _umask() -> int | None:
    """Our umask; os.umask() could only tell it by changing it for a moment, for all threads."""
    with contextlib.suppress(OSError), open("/proc/self/status", "rb") as file:
        for line in file:
            if line.startswith(b"Umask:"):
                return int(line.split()[1], 8)
    return None
