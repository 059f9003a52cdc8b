"""What lives inside a worker: the Actor, and the runtime that carries its main function.

Runs in: worker

Theory of operation
===================

`run_worker` is one ``trio.run``: take the channel, say HELLO, learn from WELCOME what to run, say
READY, run main in a cancel scope, say GOODBYE, leave. Three things end main early:

- *Stop*: new connections and mail are refused, ``draining`` is set, and as soon as the actor is
  idle, or when the time is up, main is cancelled.
- *Primary lost*: the channel ends without Stop; main is cancelled at once. A thread (`Lifeline`)
  ends the process when main does not follow within the grace time.
- *kill()*: main is cancelled without draining.

Idleness has no event of its own: it depends on sockets that user code closes whenever it likes.
While draining, and only then, it is looked at fifty times a second.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, final

import trio

from .._link.channel import Channel
from .._link.failure import failure_map
from .._link.fdsocket import FdSocket
from .._link.handles import HANDLES
from .._link.pipe import LINK_LIMITS
from ..errors import PeerClosed, RemoteProtocolError
from ..wire import events
from ..wire._generated import Reason
from ..wire.connection import Connection
from . import bootstrap, listening
from .listeners import ClusterListener, Listeners
from .mailbox import Mailbox, Message, deliver, handle, withdraw
from .ref import Ref
from .targets import Target, load_target

__all__ = ["Actor", "current_actor", "run_worker"]

log = logging.getLogger("actorcluster.actor")

_IDLE_POLL_SECONDS: Final = 0.02
_FLUSH_SECONDS: Final = 2.0
_HELLO_SECONDS: Final = 30.0

Main = Callable[..., Awaitable[object]]

_current: trio.lowlevel.RunVar[Actor | None] = trio.lowlevel.RunVar("actor", None)


def current_actor() -> Actor:
    """Find the Actor of this worker.

    Raises:
        RuntimeError: this is not a worker, or its main is not running.
    """
    try:
        actor = _current.get()
    except RuntimeError:
        actor = None
    if actor is None:
        raise RuntimeError("there is no actor here: this code does not run inside a worker")
    return actor


@final
class Actor:
    """A worker's own view: its mailbox, its primary, its shared ports.

    Passed to main as the first argument; `current_actor` finds it as well.

    Attributes:
        id: as the primary counts, never reused.
        name: the place in the tree.
        incarnation: counts the lives of that name from 1.
        mailbox: what the primary and other actors send here.
        primary: a `Ref` to the primary.
        draining: set at Stop.
    """

    def __init__(self, channel: Channel, welcome: events.Welcome) -> None:
        self.id = welcome.worker
        self.name = welcome.name
        self.incarnation = int(welcome.config.get("incarnation", 1))
        self.draining = trio.Event()
        self._channel = channel
        self.primary = Ref("primary", channel)
        self.mailbox = Mailbox()
        self._busy = 0
        self.scope = trio.CancelScope()
        self._listeners = Listeners(channel)

    def __repr__(self) -> str:
        return f"<Actor {self.id} {self.name!r}>"

    def is_connected(self) -> bool:
        """Whether the channel to the primary is open."""
        return not self._channel.ended

    async def send(self, body: Any, handle: Any = None, *, keep_open: bool = False) -> None:
        """Send a message to the primary; see `Worker.send`.

        Cancellation:
            Nothing was sent and the handles are still yours.
        """
        await self._channel.send(body, handle, keep_open=keep_open)

    def send_nowait(self, body: Any, handle: Any = None, *, keep_open: bool = False) -> None:
        """Like `send`, but raises ``trio.WouldBlock`` where that would wait."""
        self._channel.send_nowait(body, handle, keep_open=keep_open)

    async def ask(self, body: Any, handle: Any = None, *, keep_open: bool = False) -> Any:
        """Ask the primary; see `Worker.ask`.

        Cancellation:
            The primary's handler is told to cancel; it may have run.
        """
        return await self._channel.ask(body, handle, keep_open=keep_open)

    def ready(self) -> None:
        """Tell the primary that this worker is ready (``ready="called"``). Once is enough."""
        if not self._channel.ended:
            self._channel.connection.send_serving()
            self._channel.flush()

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Count as not idle inside the block, so that Stop lets it finish."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1

    async def disconnect(self) -> None:
        """Leave voluntarily: drain and end. Returns once the primary has recorded the wish.

        Raises:
            PeerClosed: the primary is gone.

        Cancellation:
            The wish may have been recorded.
        """
        if not self.draining.is_set():
            self._leave()
        await self.draining.wait()

    def _leave(self) -> None:
        if self._channel.ended:
            raise PeerClosed("the primary is gone")
        self._channel.connection.send_leave(Reason.NORMAL)
        self._channel.flush()

    def kill(self) -> None:
        """End this worker voluntarily and at once: main is cancelled without draining."""
        with contextlib.suppress(PeerClosed):
            if not self.draining.is_set():
                self._leave()
        self.scope.cancel()

    async def serve_messages(
        self, handler: Callable[[Message], Awaitable[Any]], *, concurrency: int = 1
    ) -> None:
        """Handle mail until the mailbox ends.

        Args:
            handler: called with each `Message`, inside its block. Its return value answers an
                ask; an exception fails the ask and the loop goes on, but on a plain send it
                leaves this method.
            concurrency: messages handled at the same time, 1 or more.

        Cancellation:
            Handlers are cancelled; their asks are answered with that.
        """
        if concurrency < 1:
            raise ValueError(f"concurrency must be 1 or more, not {concurrency}")
        async with trio.open_nursery() as nursery:
            for _ in range(concurrency - 1):
                nursery.start_soon(self._serve_some, handler)
            await self._serve_some(handler)

    async def _serve_some(self, handler: Callable[[Message], Awaitable[Any]]) -> None:
        async for message in self.mailbox:
            try:
                await handle(message, handler)
            except Exception:
                if not message.is_ask:
                    raise

    # ---- shared ports ---------------------------------------------------------------------

    async def listen_tcp(
        self,
        port: int,
        *,
        host: str | None = None,
        backlog: int | None = None,
        policy: str | None = None,
        exclusive: bool = False,
        reuse_port: bool = False,
        ipv6_only: bool = False,
        max_connections: int | None = None,
    ) -> list[ClusterListener]:
        """Listen on a TCP port that all workers share.

        The first worker's choice of policy, backlog and flags wins. Port 0 is one port for all
        workers, chosen by the kernel; a worker's second port 0 is another one.

        Args:
            port: 0 to 65535.
            host: name or numeric address; None: all, IPv6 and IPv4.
            backlog: clients that the kernel lets wait; default 511.
            policy: `SCHED_RR` or `SCHED_NONE`; None: the primary's.
            exclusive: bind here, and share with nobody.
            reuse_port: bind here with SO_REUSEPORT; the kernel spreads the clients.
            ipv6_only: leave IPv4 out of an IPv6 socket.
            max_connections: open at the same time in this worker; more are not accepted here.

        Returns:
            A listener for each address of the host, for ``trio.serve_listeners``.

        Raises:
            OSError: it could not be bound; EADDRINUSE also when this worker listens there.
            trio.ClosedResourceError: the worker was told to stop.

        Cancellation:
            Nothing is listened on.
        """
        return await listening.listen_tcp(
            self._listeners,
            port,
            host=host,
            backlog=backlog,
            policy=policy,
            exclusive=exclusive,
            reuse_port=reuse_port,
            ipv6_only=ipv6_only,
            max_connections=max_connections,
        )

    async def listen_unix(
        self, path: str | os.PathLike[str], *, mode: int | None = None
    ) -> ClusterListener:
        """Listen on a unix stream socket that all workers share.

        Args:
            path: of the socket file; removed when the primary closes.
            mode: permission bits, set before the first client can connect; None: by the umask.

        Raises:
            OSError: see `listen_tcp`.
            trio.ClosedResourceError: the worker was told to stop.

        Cancellation:
            Nothing is listened on.
        """
        return await listening.listen_unix(self._listeners, path, mode=mode)

    async def listen_fd(self, fd_or_name: int | str) -> ClusterListener:
        """Listen on a descriptor of the primary.

        Args:
            fd_or_name: one that `Settings.listen_fds` names.

        Raises:
            OSError: EPERM when the settings do not name it.
            trio.ClosedResourceError: the worker was told to stop.

        Cancellation:
            Nothing is listened on.
        """
        return await listening.listen_fd(self._listeners, fd_or_name)

    async def bind_udp(self, port: int, *, host: str | None = None) -> trio.socket.SocketType:
        """Bind a datagram socket that all workers share; the kernel decides who receives.

        Args:
            port: 0 to 65535; see `listen_tcp`.
            host: name or numeric address; None: all.

        Raises:
            OSError: it could not be bound.
            trio.ClosedResourceError: the worker was told to stop.

        Cancellation:
            Nothing is bound.
        """
        return await listening.bind_udp(self._listeners, port, host=host)

    # ---- idle, stop, lost -----------------------------------------------------------------

    def is_idle(self) -> bool:
        """Whether nothing is under way that Stop would wait for."""
        mailbox = self.mailbox
        return (
            not self._busy
            and not self._channel.asks_unanswered
            and not self._channel.messages_open
            and not (mailbox.was_read and (len(mailbox) or mailbox.has_message_in_hand()))
            and self._listeners.is_idle()
        )

    def begin_drain(self) -> None:
        """Stop was heard."""
        self.mailbox.end()
        self.draining.set()
        self._listeners.stop()

    def lose_primary(self) -> None:
        """The channel ended without Stop."""
        self.begin_drain()
        self._listeners.fail()
        self.scope.cancel()

    def on_port(self, event: events.Event) -> None:
        """The primary said something about shared ports."""
        self._listeners.on_event(event)

    async def drain(self, seconds: float | None) -> None:
        """Cancel main when the actor is idle, or when the time is up."""
        with trio.move_on_after(math.inf if seconds is None else seconds):
            while True:
                await trio.sleep(_IDLE_POLL_SECONDS)
                if self.is_idle():
                    break
        self.scope.cancel()


@final
class _Runtime:
    """Carries one main function from HELLO to GOODBYE."""

    def __init__(self, identity: bootstrap.Identity, main: Main | None) -> None:
        self._main = main
        self._identity = identity
        self._welcome: events.Welcome | None = None
        self._welcomed = trio.Event()
        self._actor: Actor | None = None
        self._stop: events.Stop | None = None
        self._nursery: trio.Nursery | None = None
        limits = {**LINK_LIMITS, **bootstrap.take_limits()}
        self._connection = Connection("worker", limits=limits, handles=HANDLES)
        end = socket.socket(fileno=identity.channel_fd)
        end.setblocking(False)
        self._lifeline = bootstrap.Lifeline(end.fileno())
        self._channel = Channel(FdSocket(end), self._connection, self._on_event)

    async def run(self) -> BaseException | None:
        """Live; returns what main raised, if it did."""
        self._connection.send_hello(
            worker=self._identity.worker_id,
            pid=os.getpid(),
            implementation={
                "name": "actorcluster",
                "lang": "python",
                "runtime": sys.version.split()[0],
                "os": sys.platform,
            },
        )
        error: BaseException | None = None
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._serve)
            with trio.move_on_after(_HELLO_SECONDS):
                await self._welcomed.wait()
            if self._welcome is not None:
                error = await self._run_main(self._welcome)
            await self._say_goodbye(error)
            self._lifeline.disarm()
            nursery.cancel_scope.cancel()
        return error

    async def _run_main(self, welcome: events.Welcome) -> BaseException | None:
        self._actor = actor = Actor(self._channel, welcome)
        _current.set(actor)
        try:
            main, args = self._load(welcome)
            self._connection.send_ready()
            self._channel.flush()
            if self._stop is not None:
                self._begin_stop(self._stop)
            with actor.scope:
                await main(actor, *args)
        except BaseException as exc:  # noqa: BLE001  (whatever it is, it is reported and re-raised)
            return exc
        finally:
            actor.mailbox.discard()
        return None

    def _load(self, welcome: events.Welcome) -> tuple[Main, list[Any]]:
        config = welcome.config
        if self._main is not None:
            return self._main, []
        return load_target(Target.from_config(config["target"])), config.get("args", [])

    async def _serve(self) -> None:
        """Serve the channel; when it ends without Stop, the primary is lost."""
        try:
            await self._channel.run()
        except RemoteProtocolError as exc:
            log.error("the primary broke the protocol: %s", exc)
        self._channel.fail_all(PeerClosed)
        self._welcomed.set()
        if self._actor is not None:
            self._actor.lose_primary()

    async def _say_goodbye(self, error: BaseException | None) -> None:
        """Last words, all flushed: why main failed, and that nothing more will come."""
        if self._channel.ended:
            return
        if error is not None and not isinstance(error, SystemExit):
            self._connection.send_exit_info(failure_map(error))
        self._connection.send_goodbye(Reason.NORMAL)
        self._channel.flush()
        with trio.CancelScope(deadline=trio.current_time() + _FLUSH_SECONDS, shield=True):
            await self._channel.wait_flushed()
        self._channel.shutdown_write()

    # ---- what the primary says ------------------------------------------------------------

    def _on_event(self, event: events.Event) -> None:
        actor = self._actor
        if isinstance(event, (events.TellReceived, events.CallReceived)):
            assert actor is not None
            deliver(event, self._channel, actor.mailbox, actor.primary)
        elif isinstance(event, events.Cancelled):
            withdraw(self._channel, event.channel)
        elif isinstance(event, events.Welcome):
            self._welcome = event
            self._welcomed.set()
        elif isinstance(event, events.Stop):
            self._on_stop(event)
        elif actor is not None:
            actor.on_port(event)

    def _on_stop(self, event: events.Stop) -> None:
        self._stop = event
        if self._actor is not None:
            self._begin_stop(event)

    def _begin_stop(self, event: events.Stop) -> None:
        actor, nursery = self._actor, self._nursery
        assert actor is not None
        assert nursery is not None
        actor.begin_drain()
        nursery.start_soon(actor.drain, event.deadline)


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
    bootstrap.prepare_signals()
    error = trio.run(_live, identity, main)
    if error is not None:
        raise error
    return 0


async def _live(identity: bootstrap.Identity, main: Main | None) -> BaseException | None:
    return await _Runtime(identity, main).run()
