"""From a checked target and settings to a running process, by whichever start method applies.

Runs in: primary
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, final

import attrs
import trio

from ..wire.values import Values
from .bootstrap import LIMITS
from .commands import import_path, script_argv, worker_argv
from .forkserver import CannotFork, ForkServer, available
from .process import Launch, Process, start_exec
from .settings import Settings, StartMethod, Stdio, choose_start_method
from .targets import Target

__all__ = ["Plan", "Starter"]

log = logging.getLogger("actorcluster.start")

#: The config travels in WELCOME, one frame that the worker must take before it named its limits.
_MAX_CONFIG: Final = 512 * 1024


@final
@attrs.frozen(kw_only=True)
class Plan:
    """A worker that can be started: everything that may be wrong was found already.

    Attributes:
        target: what it runs.
        settings: how.
        method: the start method.
        config: for the worker's WELCOME.
    """

    target: Target
    settings: Settings
    method: StartMethod
    config: Mapping[str, Any]


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
        self._changing = trio.Lock()
        self._closed = False
        self._cannot_fork: str | None = None
        self._values = Values()
        self._logged: set[str] = set()

    def plan(self, target: Target, args: Sequence[Any], settings: Settings) -> Plan:
        """Decide how to start a worker, and check what it will be told.

        Raises:
            TypeError: an argument is not a body value.
            ValueError: the arguments are too large, or the start method cannot be kept.
        """
        possible, why = available()
        if self._cannot_fork is not None:
            possible, why = False, self._cannot_fork
        method, reason = choose_start_method(settings, target.form, available=possible, why_not=why)
        if reason is not None:
            self._log_once(reason)
        config = {
            "target": target.to_config(),
            "args": self._check_args(args),
            "argv": [sys.argv[0] if sys.argv else "", *settings.args],
            "sys_path": import_path(),
        }
        return Plan(target=target, settings=settings, method=method, config=config)

    def _check_args(self, args: Sequence[Any]) -> list[Any]:
        for index, arg in enumerate(args):
            try:
                encoded = self._values.encode(arg)
            except TypeError as exc:
                text = str(exc).replace("body", f"args[{index}]", 1)
                raise TypeError(f"argument {index} of the target: {text}") from None
            if encoded.handles:
                raise TypeError(f"argument {index} of the target holds a handle; send it instead")
            if len(encoded.payload) > _MAX_CONFIG:
                size = len(encoded.payload)
                text = f"argument {index} of the target has {size} bytes; send it instead"
                raise ValueError(f"{text} (limit {_MAX_CONFIG})")
        return list(args)

    def _log_once(self, reason: str) -> None:
        if reason not in self._logged:
            self._logged.add(reason)
            log.info("starting workers by exec: %s", reason)

    async def start(self, plan: Plan, worker_id: int) -> Process:
        """Start the process.

        Raises:
            OSError: it could not be started; errno tells why.

        Cancellation:
            Nothing was started, or it is killed and reaped.
        """
        stdio = _StdioPipes(plan.settings.stdio_plan)
        try:
            process = await self._start(plan, worker_id, stdio.theirs)
            stdio.attach(process)
        finally:
            stdio.close()
        return process

    async def _start(
        self, plan: Plan, worker_id: int, stdio: tuple[int | None, int | None, int | None]
    ) -> Process:
        settings = plan.settings
        launch = Launch(
            worker_id=worker_id,
            argv=_command(plan),
            script=plan.target.script if plan.target.form == "script" else None,
            args=settings.args,
            env=_environment(settings),
            cwd=settings.cwd,
            uid=settings.uid,
            gid=settings.gid,
            stdio=stdio,
        )
        if plan.method == "forkserver":
            try:
                return await self._fork(settings.preload, launch)
            except CannotFork as exc:
                if settings.start_method == "forkserver":
                    raise OSError(f"start_method='forkserver' cannot be kept: {exc}") from exc
                self._cannot_fork = str(exc)
                self._log_once(str(exc))
        process = await start_exec(launch)
        # The fork server also kills, when the primary dies, what cannot end by itself.
        self._nursery.start_soon(self._guard, process)
        return process

    async def _fork(self, preload: tuple[str, ...], launch: Launch) -> Process:
        while True:
            server = await self._fork_server(preload)
            try:
                return await server.start(launch)
            except trio.ClosedResourceError:
                if server is self._server:
                    raise
                # Another start wanted other modules, and replaced it meanwhile.

    async def _guard(self, process: Process) -> None:
        if self._cannot_fork is not None or not available()[0]:
            return
        try:
            server = await self._fork_server(self._preload)
            await server.guard(process)
        except CannotFork as exc:
            self._cannot_fork = str(exc)
        except (OSError, RuntimeError, trio.ClosedResourceError) as exc:
            log.warning("worker process %d is not guarded: %s", process.pid, exc)

    async def _fork_server(self, preload: tuple[str, ...]) -> ForkServer:
        """Give the fork server, a new one when other modules are to be preloaded."""
        async with self._changing:
            if self._closed:
                raise trio.ClosedResourceError("the primary has closed")
            old = self._server
            if old is None or preload != self._preload:
                server = ForkServer(preload)
                try:
                    if old is not None:
                        await server.take_over(old)
                except BaseException:
                    await server.aclose()
                    raise
                self._server, self._preload = server, preload
                self._nursery.start_soon(server.run)
            assert self._server is not None
            return self._server

    async def aclose(self) -> None:
        """End the fork server.

        Cancellation:
            It is killed.
        """
        self._closed = True
        with trio.CancelScope(shield=True):  # bounded: it is killed after a second
            async with self._changing:
                if self._server is not None:
                    await self._server.aclose()
                    self._server = None


def _command(plan: Plan) -> tuple[str, ...]:
    settings, target = plan.settings, plan.target
    if target.form != "script":
        return worker_argv(settings.exec_argv, settings.args)
    if isinstance(settings.exec, tuple):
        return (*settings.exec, *settings.args)
    assert target.script is not None
    return script_argv(target.script, settings.exec_argv, settings.args)


def _environment(settings: Settings) -> dict[str, str]:
    merged: dict[str, str | None] = {**os.environ, **settings.env}
    merged[LIMITS] = f"window={settings.mailbox_size} max_message={settings.max_message}"
    return {name: value for name, value in merged.items() if value is not None}


@final
class _StdioPipes:
    """The worker's standard streams: what is passed on, and our ends of the pipes.

    Args:
        plan: for fds 0, 1 and 2.
    """

    def __init__(self, plan: tuple[Stdio, Stdio, Stdio]) -> None:
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
        self.theirs = (theirs[0], theirs[1], theirs[2])

    def _make(self, number: int, wish: Stdio) -> tuple[int | None, int | None]:
        if wish == "inherit":
            return None, None
        if wish == "ignore":
            its = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            self._to_close.append(its)
            return None, its
        if wish == "pipe":
            reader, writer = os.pipe2(os.O_CLOEXEC)
            ours, its = (writer, reader) if number == 0 else (reader, writer)
            self._to_close.append(its)
            return ours, its
        return None, wish if isinstance(wish, int) else wish.fileno()

    def attach(self, process: Process) -> None:
        """Give our ends to the process."""
        names: tuple[str, ...] = ("stdin", "stdout", "stderr")
        for name, fd in zip(names, self._ours, strict=True):
            if fd is not None:
                setattr(process, name, trio.lowlevel.FdStream(fd))
        self._ours = []

    def close(self) -> None:
        """Close what the worker has by now, and our ends if nobody took them."""
        for fd in self._to_close:
            os.close(fd)
        self._to_close = []
        self._close_ours()

    def _close_ours(self) -> None:
        for fd in self._ours:
            if fd is not None:
                os.close(fd)
        self._ours = []
