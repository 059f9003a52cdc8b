"""The runtime that carries a worker's main function from HELLO to GOODBYE.

Runs in: worker

Theory of operation
===================

`run_worker` is one ``trio.run``: take the channel, say HELLO, learn from WELCOME what to run, say
READY, run main in the cancel scope of its `Actor`, flush everything, say GOODBYE, leave. A worker
that is told to stop before it was ready leaves without running main.

When the channel ends, the primary is gone: main is cancelled, and the exit code is 0 whatever main
makes of that, for nobody is left to care. A thread (`Lifeline`) ends the process when it does not
end by itself within the grace time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, final

import trio

from .._link import filetable
from .._link.bulk import read_bulk
from .._link.channel import Channel
from .._link.failure import failure_map, raise_at_end
from .._link.fdsocket import FdSocket
from .._link.handles import HANDLES
from .._link.pipe import LINK_LIMITS
from ..errors import LocalProtocolError, PeerClosed, RemoteProtocolError
from ..wire import events
from ..wire._generated import Reason, State
from ..wire.connection import Connection
from . import bootstrap
from .actor import Actor, set_current_actor
from .actorhome import ActorHome
from .arguments import decode_arguments
from .message import withdraw
from .stackfile import offer_stack
from .stopped import is_stop
from .targets import Target, load_target

__all__ = ["Runtime", "prepare", "run_worker"]

log = logging.getLogger("actorcluster.actor")

_HELLO_SECONDS: Final = 30.0
_UINT32: Final = struct.Struct("!BI")
_TAG: Final = 0xCE  # msgpack's for such a number
_ANY_ID: Final = 0x7FFF_FFFD
_ANY_PID: Final = 0x7FFF_FFFE
"""Numbers that are nobody's, and as long as the longest."""

Main = Callable[..., Awaitable[object]]


@final
class Runtime:
    """Carries one main function.

    To make one says and starts nothing; `begin` does.

    Args:
        end: of the channel, which is this object's from now on.
        limits: to be announced.
    """

    def __init__(self, end: socket.socket, limits: Mapping[str, int]) -> None:
        self._end = end
        self._main: Main | None = None
        self._welcome: events.Welcome | None = None
        self._welcomed = trio.Event()
        self._actor: Actor | None = None
        self._stop: events.Stop | None = None
        self._nursery: trio.Nursery | None = None
        self._home = ActorHome()
        self._lifeline: bootstrap.Lifeline | None = None
        self._hello: bytes | None = None
        self._connection = Connection(
            "worker",
            limits={**LINK_LIMITS, **limits},
            handles=HANDLES,
            refs=self._home,
            gather=True,
        )
        self._connection.offer_bulk(read_bulk)
        self._channel = Channel(FdSocket(end), self._connection, self._on_event)
        self._home.channel = self._channel

    def begin(
        self,
        worker_id: int,
        main: Main | None,
        *,
        token: str | None = None,
        is_watched: bool = True,
    ) -> None:
        """Introduce this process to the primary.

        Args:
            worker_id: who it is.
            main: see `run_worker`.
            token: what it was told to say, if it has connected by itself.
            is_watched: it is to end when the primary does, see `bootstrap.Lifeline`.
        """
        self._main = main
        self._connection.bound_descriptors(filetable.of_worker().share())
        self._end.setblocking(False)  # it may be another socket than before, see `draft`
        self._say_hello(worker_id, token)
        if is_watched:
            self._lifeline = bootstrap.Lifeline(self._end.fileno())

    def draft_hello(self) -> None:
        """Work out what `begin` will say, for any number of copies of this process."""
        self._introduce(_ANY_ID, _ANY_PID, None)
        batches = self._connection.data_to_send()
        self._hello = b"".join(piece for batch in batches for piece in batch.buffers)

    def _say_hello(self, worker_id: int, token: str | None) -> None:
        """Say it before anything else that takes time: the primary answers meanwhile."""
        hello = self._hello
        if hello is None:
            self._introduce(worker_id, os.getpid(), token)
            self._channel.write_now()
            return
        hello = hello.replace(_number(b"worker", _ANY_ID), _number(b"worker", worker_id))
        hello = hello.replace(_number(b"pid", _ANY_PID), _number(b"pid", os.getpid()))
        with contextlib.suppress(ConnectionError):  # the primary has gone, as we shall read
            self._end.sendall(hello)  # it is the first, so there is room

    def _introduce(self, worker_id: int, pid: int, token: str | None) -> None:
        self._connection.send_hello(
            worker=worker_id,
            token=token,
            pid=pid,
            implementation={
                "name": "actorcluster",
                "lang": "python",
                "runtime": sys.version.split()[0],
                "os": sys.platform,
            },
        )

    async def run(
        self, begins: Callable[[], Awaitable[bool]] | None = None
    ) -> BaseException | None:
        """Live; returns what main raised, if it did.

        Args:
            begins: for a life that has not begun yet: says, once it has or will not, which it is.
        """
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._serve)
            if begins is not None and not await begins():
                nursery.cancel_scope.cancel()
                return None
            with trio.move_on_after(_HELLO_SECONDS):
                await self._welcomed.wait()
            error = await self._run_main()
            if self._channel.ended:
                _forget(error)
                error = None
                # The lifeline stays: it ends what hangs at the exit.
            else:
                await self._say_goodbye(error)
                if self._lifeline is not None:
                    self._lifeline.disarm()
            nursery.cancel_scope.cancel()
        return error

    async def _run_main(self) -> BaseException | None:
        """Run main if there is a reason to; returns what it raised."""
        if self._welcome is None:
            seconds = f"{_HELLO_SECONDS:g} seconds"
            return RuntimeError(f"the primary did not answer within {seconds}")
        welcome = self._welcome
        incarnation = welcome.config.get("incarnation", 1)
        self._actor = actor = Actor(self._home, welcome.worker, welcome.name, incarnation)
        self._channel.pass_mail_to(actor._on_mail, actor._on_run)
        try:
            main, args = self._load(self._welcome)
            if self._stop is not None or self._connection.state is State.CLOSED:
                return None
            self._connection.send_ready()
            self._channel.flush()
            await self._channel.wait_flushed()  # main may never let this loop run again
            set_current_actor(actor)
            with actor.scope:
                await main(actor, *args)
        except BaseException as exc:  # noqa: BLE001  (whatever it is, it is reported and re-raised)
            return None if is_stop(exc) else exc
        finally:
            set_current_actor(None)
            actor._close_mailbox()
        return None

    def _load(self, welcome: events.Welcome) -> tuple[Main, list[Any]]:
        config = welcome.config
        if self._main is not None:
            return self._main, []
        args = decode_arguments(config.get("args") or (), self._home)
        return load_target(Target.from_config(config["target"])), args

    async def _serve(self) -> None:
        """Serve the channel; when it ends, the primary is lost."""
        try:
            await self._channel.run()
        except RemoteProtocolError as exc:
            log.error("the primary broke the protocol: %s", exc)
        self._channel.fail_all(self._closed)
        self._welcomed.set()
        if self._actor is not None:
            self._actor._lose_primary()

    def _closed(self, text: str) -> PeerClosed:
        return PeerClosed(f"the primary: {text}", unconfirmed=self._channel.unconfirmed)

    async def _say_goodbye(self, error: BaseException | None) -> None:
        """Last words, all flushed: why main failed, and that nothing more will come.

        Takes as long as the primary takes to read them; when it dies, the channel ends.
        """
        self._home.flush_logs()
        with contextlib.suppress(LocalProtocolError):  # the connection never came to be, or broke
            if error is not None and not isinstance(error, SystemExit):
                self._connection.send_exit_info(failure_map(error))
            self._connection.send_goodbye(Reason.NORMAL)
        self._channel.flush()
        with trio.CancelScope(shield=True):
            await self._channel.wait_flushed()
        with contextlib.suppress(trio.ClosedResourceError):
            self._channel.shutdown_write()

    # ---- what the primary says ------------------------------------------------------------

    def _on_event(self, event: events.Event) -> None:
        actor = self._actor
        if isinstance(event, events.Cancelled):
            withdraw(self._channel, event.channel)
        elif isinstance(event, events.Welcome):
            self._welcome = event
            self._welcomed.set()
        elif isinstance(event, events.Stop):
            self._on_stop(event)
        elif isinstance(event, events.Goodbye):
            self._on_stop(events.Stop(None, event.reason))
        elif isinstance(event, events.SettingsChanged):
            self._home.settings_changed(event.settings)
        elif isinstance(event, events.Aborted):
            log.error("the primary gave up, code %d: %s", event.code, event.detail)
            self._channel.finish()
        elif actor is not None:
            actor._on_event(event)

    def _on_stop(self, event: events.Stop) -> None:
        self._stop = event
        if self._actor is not None:
            assert self._nursery is not None
            self._actor._begin_drain()
            self._nursery.start_soon(self._actor._drain, event.deadline)


def _number(key: bytes, value: int) -> bytes:
    """An entry of a map as msgpack writes it when the number takes four bytes."""
    return key + _UINT32.pack(_TAG, value)


_prepared: Final[list[Runtime]] = []
"""What the fork server has made for this worker, see `draft`."""


def prepare(runtime: Runtime) -> None:
    """Have `run_worker` use this one. The process's signals are prepared too."""
    _prepared.append(runtime)


def _forget(error: BaseException | None) -> None:
    """Nobody will hear what main made of losing its primary, except in a log."""
    if error is not None and not isinstance(error, (SystemExit, PeerClosed)):
        log.error("main failed when its primary was gone", exc_info=error)


def run_worker(main: Main | None = None) -> int:
    """Run ``main(actor)`` as a worker of the primary that started this process.

    For scripts that `Settings.exec` names; a function target needs no such call.

    Args:
        main: an async function of one argument, the `Actor`. None: what the primary named.

    Returns:
        0, the exit code of a main that returned or was told to stop.

    Raises:
        RuntimeError: this process is not a worker.
        BaseException: what main raised.
    """
    identity = bootstrap.take_identity()
    if _prepared:
        runtime = _prepared.pop()
    else:
        bootstrap.prepare_signals()
        end = socket.socket(fileno=identity.channel_fd)
        runtime = Runtime(end, bootstrap.take_limits())
    offer_stack()
    runtime.begin(identity.worker_id, main, token=bootstrap.take_token())
    error = trio.run(runtime.run)
    if error is not None:
        if main is None:
            raise_at_end(error)
        raise error
    return 0
