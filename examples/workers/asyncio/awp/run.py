"""From the environment to the exit status: the life of a worker process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import re
import signal
import socket
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, NamedTuple

from . import events
from .awp_v1 import LIMIT_DEFAULTS, Code
from .handles import ALL_KINDS
from .speaking import L2, Hello, error_map
from .transport import Transport, watch
from .worker import MARGIN_SECONDS, Worker

_PREFIX = "ACTORCLUSTER_"
_OURS = ("CHANNEL", "WORKER_ID", "LIMITS", "TOKEN", "LANE")
_LOST_SECONDS = 1.5
"""Of the 2 s within which a worker ends whose primary is gone."""
_FAREWELL_SECONDS = 5.0
_CONNECT_SECONDS = 10.0

Main = Callable[[Worker], Awaitable[None]]


class NotAWorker(Exception):
    """The environment names no connection that can be used."""


class Found(NamedTuple):
    """What the environment says."""

    sock: socket.socket
    worker: int | None
    token: str | None
    limits: dict[str, int]


def find(environ: MutableMapping[str, str]) -> Found:
    """The connection, who the worker is, and limits; all of it is removed from the environment.

    Raises:
        NotAWorker: there is no connection.
    """
    said = {name: environ.pop(_PREFIX + name, "") for name in _OURS}
    pairs = (one.partition("=") for one in said["LIMITS"].split())
    limits = {
        name: int(value) for name, _, value in pairs if name in LIMIT_DEFAULTS and value.isdigit()
    }
    if said["LANE"]:
        raise NotAWorker(f"a lane of form {said['LANE']} is for other runtimes")
    try:
        sock = _connected(said["CHANNEL"])
    except OSError as error:
        raise NotAWorker(f"{said['CHANNEL']} is no connection: {error}") from error
    worker = int(said["WORKER_ID"]) if said["WORKER_ID"].isdigit() else None
    return Found(sock, worker, said["TOKEN"] or None, limits)


def _connected(channel: str) -> socket.socket:
    if channel.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(_CONNECT_SECONDS)
        sock.connect(channel.removeprefix("unix:"))
        return sock
    inherited = re.fullmatch(r"fd:(\d{1,9})", channel, re.ASCII)
    if not inherited:
        text = channel or f"no {_PREFIX}CHANNEL in the environment"
        raise NotAWorker(f"this is a worker, to be started by a primary: {text}")
    os.set_inheritable(int(inherited[1]), False)
    return socket.socket(fileno=int(inherited[1]))


def run(
    main: Main,
    *,
    limits: Mapping[str, int] | None = None,
    capabilities: tuple[str, ...] = L2,
    handles: tuple[str, ...] = ALL_KINDS,
) -> None:
    """Be a worker: run `main`, and end the process when it is over.

    `main` is to return soon once `worker.stopping` is set. It is cancelled shortly before the
    primary's patience ends, and at once if the primary is gone. The exit status is 0, 1 if `main`
    failed or the protocol was broken, and 2 if this process is no worker.

    Args:
        main: the application.
        limits: what the worker can receive, where that is not what the primary's user said.
        capabilities: what to offer.
        handles: names of the kinds of handles to take.
    """
    try:
        sock, worker, token, told = find(os.environ)
    except NotAWorker as error:
        print(error, file=sys.stderr)  # noqa: T201 - for who started it by hand
        sys.exit(2)
    # Who presses Ctrl-C means the primary, which tells its workers.
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    hello = Hello(
        worker=worker,
        token=token,
        capabilities=capabilities,
        handles=handles,
        limits={**(limits or {}), **told},
        pid=os.getpid(),
        impl={"name": "awp-asyncio", "lang": "python", "version": platform.python_version()},
    )
    over = watch(sock, lambda: os._exit(0), _LOST_SECONDS)
    try:
        status = asyncio.run(_session(main, hello, sock))
    finally:
        over.set()
    sys.exit(status)


async def _session(main: Main, hello: Hello, sock: socket.socket) -> int:
    worker = Worker(hello)
    transport = Transport(sock, worker.connection, worker.deliver)
    worker.attach(transport)
    try:
        if not await _either(worker.welcomed, transport.closed):
            return _status(worker)
        worker.connection.ready()
        transport.kick()
        task = asyncio.ensure_future(main(worker))
        await _watched(worker, transport, task)
        return await _end(worker, transport, task)
    finally:
        transport.close()


async def _either(wanted: asyncio.Event, other: asyncio.Event) -> bool:
    """Wait for one of two; give whether it is the first."""
    waits = [asyncio.ensure_future(one.wait()) for one in (wanted, other)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for one in waits:
        one.cancel()
    return wanted.is_set()


async def _watched(worker: Worker, transport: Transport, task: asyncio.Future[None]) -> None:
    """Until `main` is over: of itself, out of time, or because the primary is gone."""
    ends = [asyncio.ensure_future(one.wait()) for one in (worker.out_of_time, transport.closed)]
    everything: list[asyncio.Future[Any]] = [*ends, task]
    await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
    for one in ends:
        one.cancel()
    if not task.done():
        worker.interrupt_calls()
        task.cancel()
        await asyncio.wait({task}, timeout=MARGIN_SECONDS / 2)


async def _end(worker: Worker, transport: Transport, task: asyncio.Future[None]) -> int:
    failed = task.done() and not task.cancelled() and task.exception() is not None
    if failed:
        error = task.exception()
        assert error is not None
        traceback.print_exception(error)
        remote = {"type": type(error).__name__, "lang": "python"}
        worker.connection.exit_info({**error_map(Code.APP, str(error)), "remote": remote})
    worker.close_mailbox()
    if not failed and not worker.stopping.is_set():
        worker.leave()
        await _either(worker.said_stop, transport.closed)
    if not transport.closed.is_set():
        worker.connection.goodbye(worker.stop.reason if worker.stop is not None else 0)
        transport.kick()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await transport.closed.wait()
    return 1 if failed else _status(worker)


def _status(worker: Worker) -> int:
    if isinstance(worker.end, events.Aborted | events.Violated):
        print(f"awp: the connection was given up: {worker.end}", file=sys.stderr)  # noqa: T201 - likewise
        return 1
    return 0
