"""From a checked target and settings to a running process, by whichever start method applies.

Runs in: primary
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar, final

import attrs
import trio

from .._link.adapter import Adapter
from ..wire.values import RefAdapter
from .arguments import encode_arguments
from .bootstrap import LIMITS
from .commands import module_argv, script_argv, worker_argv
from .forkserver import CannotFork, Files, ForkServer, available
from .memorykills import MemoryKills
from .placing import start_placed
from .process import STDIO, Launch, Process, start_exec
from .rendezvous import Rendezvous
from .settings import Captured, Settings, StartMethod, Stdio, choose_start_method
from .streams import Duplex, Input, Output, Stream
from .targets import Target
from .tee import Outlet, Tee

__all__ = ["Plan", "Starter"]

log = logging.getLogger("actorcluster.start")

T = TypeVar("T")

_OURS_ALONE: Final = frozenset({"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "ACTORCLUSTER_TRACE"})
"""What says that sockets were passed to this process: no worker has them under those numbers. And
where we write our trace: a primary in a worker would be in our way there."""


@final
@attrs.frozen(kw_only=True)
class Plan:
    """A worker that can be started: everything that may be wrong was found already.

    Attributes:
        target: what it runs.
        settings: how.
        method: the start method.
        config: for the worker's WELCOME.
        adapter: for a program that speaks another protocol than ours.
    """

    target: Target
    settings: Settings
    method: StartMethod
    config: Mapping[str, Any]
    adapter: Adapter | None = None


@final
class Starter:
    """Starts the worker processes of one primary; owns its fork server.

    Args:
        nursery: keeps the fork server running.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._server: ForkServer | None = None
        self._preload: tuple[str, ...] = ()
        self._candidate: ForkServer | None = None
        self._candidate_preload: tuple[str, ...] = ()
        self._changing = trio.Lock()
        self._closed = False
        self._cannot_fork: dict[tuple[str, ...], str] = {}  # by preload: why not
        self._logged: set[str] = set()
        self._files: Files = ()
        self._ports_files: Files = ()
        self._rendezvous_open: list[Rendezvous] = []
        self._outlet = Outlet()
        self._kills = MemoryKills()

    def plan(
        self,
        target: Target,
        args: Sequence[Any],
        settings: Settings,
        *,
        refs: RefAdapter,
        adapter: Adapter | None = None,
    ) -> Plan:
        """Decide how to start a worker, and check what it will be told.

        Raises:
            TypeError: an argument is not a body value.
            ValueError: the arguments are too large, or the start method cannot be kept.
        """
        method = self._choose_method(settings, target.form)
        config = {"target": target.to_config(), "args": encode_arguments(target, args, refs)}
        return Plan(target=target, settings=settings, method=method, config=config, adapter=adapter)

    def _choose_method(
        self, settings: Settings, form: Literal["function", "name", "script"]
    ) -> StartMethod:
        possible, why = available()
        if settings.preload in self._cannot_fork:
            possible, why = False, self._cannot_fork[settings.preload]
        method, reason = choose_start_method(settings, form, available=possible, why_not=why)
        if reason is not None and reason not in self._logged:
            self._logged.add(reason)
            log.info("starting workers by exec: %s", reason)
        return method

    async def start(self, plan: Plan, worker_id: int, *, is_fresh: bool = False) -> Process:
        """Start the process.

        Args:
            plan: how.
            worker_id: its.
            is_fresh: with the code that `prepare` found, if that is not in force yet.

        Raises:
            OSError: it could not be started; errno tells why.

        Cancellation:
            Nothing was started, or it is killed and reaped.
        """
        stdio = _StdioPipes(plan.settings.stdio_plan, self._outlet)
        try:
            process = await self._start(plan, worker_id, stdio.theirs, is_fresh)
            try:
                stdio.attach(process)
            except BaseException:
                await process.destroy()
                raise
            process.kills = self._kills
            self._kills.started(process)
        finally:
            stdio.close()
        return process

    async def _start(
        self,
        plan: Plan,
        worker_id: int,
        stdio: tuple[int | None, ...],
        is_fresh: bool,
    ) -> Process:
        settings = plan.settings
        launch = Launch(
            worker_id=worker_id,
            script=plan.target.script if plan.target.form == "script" else None,
            module=_module(plan.target),
            args=settings.args,
            env=_environment(settings),
            cwd=settings.cwd,
            uid=settings.uid,
            gid=settings.gid,
            stdio=stdio,
            adapter=plan.adapter,
        )
        if plan.method == "forkserver":
            try:
                return await self._ask_server(
                    settings.preload, lambda it: it.start(launch), is_fresh=is_fresh
                )
            except CannotFork as exc:
                if settings.start_method == "forkserver":
                    raise OSError(f"start_method='forkserver' cannot be kept: {exc}") from exc
                self._cannot_fork[settings.preload] = str(exc)
                self._choose_method(settings, plan.target.form)  # exec, now; says why
        launch = attrs.evolve(launch, argv=_command(plan))
        if settings.channel == "unix":
            launch = attrs.evolve(launch, rendezvous=self._rendezvous(worker_id, settings.uid))
        elif settings.lane is not None:
            launch = attrs.evolve(launch, lane=settings.lane)
        try:
            is_plain = len(stdio) == STDIO and not launch.changes_user
            process = await (start_exec if is_plain else start_placed)(launch)
        except BaseException:
            if launch.rendezvous is not None:
                launch.rendezvous.close()
            raise
        # The fork server also kills, when the primary dies, what cannot end by itself.
        self._nursery.start_soon(self._guard, process)
        return process

    async def _ask_server(
        self,
        preload: tuple[str, ...] | None,
        question: Callable[[ForkServer], Awaitable[T]],
        *,
        is_fresh: bool = False,
    ) -> T:
        while True:
            candidate = self._candidate if self._candidate_preload == preload else None
            if is_fresh and candidate is not None:
                server = candidate
            else:
                server = await self._fork_server(preload)
            try:
                return await question(server)
            except trio.ClosedResourceError:
                if self._closed:
                    raise
                # Another start wanted other modules, and replaces it.

    @trio.lowlevel.enable_ki_protection
    async def _guard(self, process: Process) -> None:
        if not available()[0]:
            return
        try:
            await self._ask_server(None, lambda server: server.guard(process))
        except trio.ClosedResourceError:
            return  # the primary closes, after its last worker has ended
        except (OSError, RuntimeError) as exc:
            log.warning("worker process %d is not guarded: %s", process.pid, exc)

    def _rendezvous(self, worker_id: int, uid: int | None) -> Rendezvous:
        made = Rendezvous(worker_id, uid)
        self._rendezvous_open.append(made)

        def closed() -> None:
            self._rendezvous_open.remove(made)
            self._files_changed()

        made.on_closed = closed
        self._files_changed()
        return made

    def files_are(self, files: Files) -> None:
        """The primary has these unix sockets: their files go when it dies without a word."""
        self._ports_files = files
        self._files_changed()

    def _files_changed(self) -> None:
        meetings = [(one.path, *one.file) for one in self._rendezvous_open]
        self._files = [*self._ports_files, *meetings]
        for server in (self._server, self._candidate):
            if server is not None:
                self._nursery.start_soon(self._tell_files, server)

    @trio.lowlevel.enable_ki_protection
    async def _tell_files(self, server: ForkServer) -> None:
        await server.tell_files(self._files)

    async def _fork_server(self, preload: tuple[str, ...] | None) -> ForkServer:
        """Give the fork server, a new one when other modules are to be preloaded.

        Args:
            preload: None for any server: all can guard.
        """
        async with self._changing:
            if self._closed:
                raise trio.ClosedResourceError("the primary has closed")
            old = self._server
            if old is None or preload not in (None, self._preload):
                preload = preload or ()
                server = ForkServer(preload)
                server.files = self._files
                try:
                    while old is not None:
                        await server.take_over(old)
                        # Meanwhile another one may have been put in force.
                        old = self._server if self._server is not old else None
                except BaseException:
                    await server.aclose()
                    raise
                self._server, self._preload = server, preload
                if server.files is not self._files:  # others, meanwhile
                    self._nursery.start_soon(self._tell_files, server)
                self._nursery.start_soon(server.run)
            assert self._server is not None
            return self._server

    # ---- new code -------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Start another fork server, which imports what is on disk now, for fresh starts.

        The one in force goes on until `commit`. Without one nothing happens: each start by exec
        reads the disk anyway.

        Raises:
            OSError, RuntimeError, trio.ClosedResourceError: as `ForkServer.start`.

        Cancellation:
            There is none.
        """
        self.revert()
        if self._closed:
            raise trio.ClosedResourceError("the primary has closed")
        if self._server is None:
            return
        candidate = self._candidate = ForkServer(self._preload)
        candidate.files = self._files
        self._candidate_preload = self._preload
        try:
            await candidate.prepare()
        except BaseException:
            if self._candidate is candidate:
                self._candidate = None
            await candidate.aclose()
            raise

    def commit(self) -> None:
        """From now on all starts are fresh."""
        candidate, self._candidate = self._candidate, None
        if candidate is not None:
            old, self._server, self._preload = self._server, candidate, self._candidate_preload
            self._nursery.start_soon(candidate.run)
            if old is not None:
                self._nursery.start_soon(self._retire, old, candidate)

    def revert(self) -> None:
        """There are no fresh starts any more."""
        candidate, self._candidate = self._candidate, None
        if candidate is not None:
            self._nursery.start_soon(self._discard, candidate)

    @trio.lowlevel.enable_ki_protection
    async def _discard(self, candidate: ForkServer) -> None:
        """End it; what it has started may live on, as a place that had been stopped first does."""
        if self._server is not None and candidate.guards_anybody:
            await self._retire(candidate, self._server)
        else:
            await candidate.aclose()

    @trio.lowlevel.enable_ki_protection
    async def _retire(self, old: ForkServer, new: ForkServer) -> None:
        try:
            await new.take_over(old)
        except (OSError, RuntimeError, trio.ClosedResourceError) as exc:
            log.debug("a fork server could not take over from another: %s", exc)
        finally:
            await old.aclose()

    # ---- the end --------------------------------------------------------------------------

    async def aclose(self) -> None:
        """End the fork server.

        Cancellation:
            It is killed.
        """
        self._closed = True
        candidate, self._candidate = self._candidate, None
        with trio.CancelScope(shield=True):  # bounded: it is killed after a second
            if candidate is not None:
                await candidate.aclose()
            async with self._changing:
                if self._server is not None:
                    await self._server.aclose()
                    self._server = None
        self._outlet.close()


def _command(plan: Plan) -> tuple[str, ...]:
    settings, target = plan.settings, plan.target
    if target.form != "script":
        return worker_argv(settings.exec_argv, settings.args)
    if isinstance(settings.exec, tuple):
        return (*settings.exec, *settings.args)
    if (module := _module(target)) is not None:
        return module_argv(module, settings.exec_argv, settings.args)
    assert target.script is not None
    return script_argv(target.script, settings.exec_argv, settings.args)


def _module(target: Target) -> str | None:
    """The started program's name, when it was started by ``python -m`` and is to run once more."""
    return (target.main or {}).get("name") if target.form == "script" else None


def _environment(settings: Settings) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if name not in _OURS_ALONE}
    merged: dict[str, str | None] = {**ours, **settings.env}
    merged[LIMITS] = f"window={settings.mailbox_size} max_message={settings.max_message}"
    return {name: value for name, value in merged.items() if value is not None}


def _opened(number: int) -> int:
    """What is to be inherited under its own number, and must be there."""
    try:
        os.fstat(number)
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror, f"stdio[{number}]") from None
    return number


def _stream(number: int, fd: int) -> Stream:
    if number >= STDIO:
        return Duplex(fd)
    return Output(fd, has_ring=True) if number else Input(fd)


@final
class _StdioPipes:
    """The worker's standard streams: what is passed on, and our ends of the pipes.

    Args:
        plan: for fds 0, 1, 2 ...
        outlet: where a stderr goes that is captured.
    """

    def __init__(self, plan: tuple[Stdio | Captured, ...], outlet: Outlet) -> None:
        self._outlet = outlet
        self._captured: int | None = None
        self._to_close: list[int] = []
        self._ours: list[int | None] = []
        theirs: list[int | None] = []
        try:
            for number, wish in enumerate(plan):
                ours, its = self._make(number, wish)
                self._ours.append(ours)
                theirs.append(its)
        except BaseException:
            self.close()
            self._close_ours()
            raise
        self.theirs = tuple(theirs)

    def _make(self, number: int, wish: Stdio | Captured) -> tuple[int | None, int | None]:
        if wish == "inherit":
            return None, None if number < STDIO else _opened(number)
        if wish == "capture":
            self._outlet.open()
            self._captured, its = os.pipe2(os.O_CLOEXEC)
            self._to_close.append(its)
            return None, its
        if wish == "ignore":
            its = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            self._to_close.append(its)
            return None, its
        if wish == "pipe" and number >= STDIO:
            here, there = (sock.detach() for sock in socket.socketpair())
            self._to_close.append(there)
            return here, there
        if wish == "pipe":
            reader, writer = os.pipe2(os.O_CLOEXEC)
            ours, its = (writer, reader) if number == 0 else (reader, writer)
            self._to_close.append(its)
            return ours, its
        return None, wish if isinstance(wish, int) else wish.fileno()

    def attach(self, process: Process) -> None:
        """Give our ends to the process."""
        streams: list[Stream | None] = []
        while self._ours:
            number, fd = len(streams), self._ours.pop(0)
            streams.append(None if fd is None else _stream(number, fd))
            process.stdio = tuple(streams)
        if self._captured is not None:
            process.tee = Tee(self._captured, self._outlet)
            self._captured = None

    def close(self) -> None:
        """Close what the worker has by now, and our ends if nobody took them."""
        for fd in self._to_close:
            os.close(fd)
        self._to_close = []
        self._close_ours()

    def _close_ours(self) -> None:
        for fd in (*self._ours, self._captured):
            if fd is not None:
                os.close(fd)
        self._ours = []
        self._captured = None
