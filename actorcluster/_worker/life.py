"""One worker life, from start to exit status: one call of `Life.run`.

Runs in: primary

Theory of operation
===================

`Life.run` starts the process, serves its channel and returns when the process is reaped; it
never raises for anything the worker does. Beside the channel three small tasks run:

- *watch*: the process ended. What it left in the channel is still read, then the channel ends. A
  grandchild that inherited the channel therefore cannot keep a dead worker alive.
- *start limit*: not ready within ``start_timeout``: kill.
- *patience*: a cancel scope whose deadline `stop` sets. When it runs out, SIGTERM; two seconds
  later SIGKILL. Calling `stop` again can only shorten it.

When the channel ends first, the process gets a moment to finish its interpreter's exit, then the
same ladder. Whatever cancels `run` itself, the process is killed and reaped first, shielded:
there is no way out of this file that leaves a child behind.
"""

from __future__ import annotations

import logging
import math
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal, Protocol, final

import attrs
import trio

from .._link.channel import Channel
from .._link.failure import remote_details, traceback_text, type_name
from .._link.fdsocket import FdSocket
from .._link.handles import HANDLES
from .._link.pipe import LINK_LIMITS
from ..errors import PeerClosed, RemoteProtocolError
from ..wire import events
from ..wire._generated import AbortCode, Reason, State
from ..wire.connection import Connection
from .exit import ExitStatus, RemoteFailure, Verdict, exit_status
from .mailbox import Mailbox, MergedMailbox, deliver, withdraw
from .process import Process

__all__ = ["Life", "LifeOptions", "Moments"]

log = logging.getLogger("actorcluster.worker")

#: Between the rungs of the ladder: cancel main, SIGTERM, SIGKILL.
_RUNG_SECONDS: Final = 2.0

#: How long a process may live on after its channel ended without a word.
_LOST_SECONDS: Final = 2.0

LifeState = Literal["none", "online", "listening", "disconnecting", "disconnected", "dead"]


class Moments(Protocol):
    """What a life tells its owner; every method is synchronous and must not raise."""

    def forked(self) -> None: ...
    def online(self) -> None: ...
    def draining(self) -> None: ...
    def disconnected(self) -> None: ...
    def exited(self, status: ExitStatus) -> None: ...
    def failed(self, error: Exception) -> None: ...
    def port(self, event: events.Event) -> None: ...


@final
@attrs.frozen(kw_only=True)
class LifeOptions:
    """What one life needs to know.

    Attributes:
        worker_id: never reused within a primary.
        name: the place in the tree.
        config: for the worker's WELCOME; body values.
        ready: ``"online"``, ``"listening"`` or ``"called"``.
        start_timeout: seconds until it must be ready, ``inf`` for no limit.
        shutdown: seconds from Stop to cancelling main, ``inf``, or ``"brutal_kill"``.
        cluster: 16 bytes that tell one primary's life from another's.
        limits: what this side receives, see the registry.
    """

    worker_id: int
    name: str
    config: Mapping[str, Any]
    ready: Literal["online", "listening", "called"] = "online"
    start_timeout: float = 30.0
    shutdown: float | Literal["brutal_kill"] = 5.0
    cluster: bytes = b""
    limits: Mapping[str, int] = attrs.Factory(dict)


@final
class Life:
    """One process life.

    Args:
        options: see `LifeOptions`.
        start: makes the process.
        moments: told what happens.
        merged: the primary's mailbox.

    Attributes:
        sender: the `Ref` that received messages carry; set by the owner before `run`.
    """

    def __init__(
        self,
        options: LifeOptions,
        start: Callable[[], Awaitable[Process]],
        moments: Moments,
        merged: MergedMailbox | None,
    ) -> None:
        self.options = options
        self.sender: Any = None
        self.state: LifeState = "none"
        self.process: Process | None = None
        self.status: ExitStatus | None = None
        self.mailbox = Mailbox(merged)
        self.told_to_stop = False
        #: set once it is ready or dead, whichever comes first.
        self.settled = trio.Event()
        self.was_ready = False
        self.dead = trio.Event()
        #: set when mail can be sent, or never can be again.
        self.sendable = trio.Event()
        self.connection = Connection(
            "primary", limits={**LINK_LIMITS, **options.limits}, handles=HANDLES
        )
        self.channel: Channel | None = None
        self._start = start
        self._moments = moments
        self._patience = trio.CancelScope()
        self._patience_verdict: Verdict = "killed"
        self._verdict: Verdict | None = None
        self._error: RemoteFailure | None = None
        self._stop_reason: int = Reason.SHUTDOWN
        self._stop_deadline: float | None = None
        self._signal: int | None = None
        self._said_goodbye = False

    # ---- the whole life -------------------------------------------------------------------

    async def run(self) -> None:
        """Live it.

        Cancellation:
            The process is killed and reaped before this returns.
        """
        self._moments.forked()
        try:
            self.process = process = await self._start()
        except (OSError, RuntimeError, ValueError, trio.ClosedResourceError) as exc:
            self._finish(_never_started(exc))
            return
        except trio.Cancelled:
            self._verdict = "killed"
            self._finish(_never_started(RuntimeError("cancelled while it was starting")))
            raise
        try:
            await self._serve(process)
        finally:
            with trio.CancelScope(shield=True):
                if process.poll() is None:
                    self._verdict = self._verdict or "killed"
                    process.send_signal(signal.SIGKILL)
                waitstatus, rusage = await process.wait()
            process.close()
            self._finish(
                exit_status(
                    waitstatus,
                    told_to_stop=self.told_to_stop,
                    verdict=self._verdict,
                    error=self._error,
                    rusage=rusage,
                )
            )

    async def _serve(self, process: Process) -> None:
        channel = Channel(FdSocket(process.channel), self.connection, self._on_event)
        self.channel = channel
        if self._signal is not None:
            process.send_signal(self._signal)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, process, channel)
            nursery.start_soon(self._limit_start, process)
            nursery.start_soon(self._enforce, process)
            try:
                await channel.run()
            except RemoteProtocolError as exc:
                self._condemn("protocol")
                self._moments.failed(exc)
                log.error("worker %s broke the protocol: %s", self.options.name, exc)
            self._disconnect()
            if not self._said_goodbye:
                self._set_patience(_LOST_SECONDS, "lost")
            elif not self.told_to_stop:
                self._set_patience(self._shutdown_seconds() + _RUNG_SECONDS, "killed")
            await process.wait()
            nursery.cancel_scope.cancel()

    async def _watch(self, process: Process, channel: Channel) -> None:
        await process.wait()
        channel.finish()

    async def _limit_start(self, process: Process) -> None:
        with trio.move_on_after(self.options.start_timeout):
            await self.settled.wait()
            return
        self._condemn("start_timeout")
        process.send_signal(signal.SIGKILL)

    async def _enforce(self, process: Process) -> None:
        with self._patience:
            await trio.sleep_forever()
        self._verdict = self._verdict or self._patience_verdict
        if self._verdict not in ("protocol", "start_timeout"):
            process.send_signal(signal.SIGTERM)
            await trio.sleep(_RUNG_SECONDS)
        process.send_signal(signal.SIGKILL)

    def _set_patience(self, seconds: float, verdict: Verdict) -> None:
        """Let the ladder begin in ``seconds``, or earlier if that was said before."""
        at = trio.current_time() + seconds
        if at < self._patience.deadline:
            self._patience.deadline = at
            self._patience_verdict = verdict

    def _condemn(self, verdict: Verdict) -> None:
        self._verdict = self._verdict or verdict
        self._patience.cancel()

    def _disconnect(self) -> None:
        """The channel is over: nobody can be heard or told anything any more."""
        self.state = "disconnected"
        self.sendable.set()
        self.mailbox.end()
        self._moments.disconnected()

    def _finish(self, status: ExitStatus) -> None:
        never_connected = self.state in ("none", "online", "listening", "disconnecting")
        self.status = status
        if never_connected:
            self._disconnect()
        self.state = "dead"
        if self.channel is not None:
            self.channel.fail_all(self.closed)
        self.settled.set()
        self.dead.set()
        self._moments.exited(status)

    def closed(self, text: str) -> PeerClosed:
        """Make the `PeerClosed` of this life."""
        return PeerClosed(
            f"worker {self.options.name}: {text}",
            status=self.status,
            unconfirmed=0 if self.channel is None else self.channel.unconfirmed,
        )

    # ---- stopping -------------------------------------------------------------------------

    def _shutdown_seconds(self) -> float:
        shutdown = self.options.shutdown
        return 0.0 if shutdown == "brutal_kill" else float(shutdown)

    def stop(self, seconds: float | None, reason: int = Reason.SHUTDOWN) -> None:
        """Tell the worker to drain and leave; may be called again to shorten the time.

        Args:
            seconds: until its main is cancelled; None for no limit.
            reason: for the worker's information, see the registry.
        """
        first = not self.told_to_stop
        self.told_to_stop = True
        if self.status is not None:
            return
        if self.state in ("none", "online", "listening"):
            self.state = "disconnecting"
        if self.channel is not None:
            self.channel.refuse_sends(self.closed)
        if first:
            self._moments.draining()
        self._stop_reason, self._stop_deadline = reason, seconds
        if first or seconds is not None:
            self._send_stop()
        if seconds is not None and seconds != math.inf:
            self._set_patience(seconds + _RUNG_SECONDS, "killed")

    def _send_stop(self) -> None:
        """Say it now if the handshake is over; else the handshake will say it."""
        may = self.connection.state in (State.STARTING, State.ACTIVE, State.STOPPING)
        if may and self.channel is not None:
            self.connection.send_stop(self._stop_deadline, self._stop_reason)
            self.channel.flush()

    def kill(self, signum: int) -> None:
        """Send a signal now; remembered when the process does not exist yet."""
        if self.process is None:
            self._signal = signum
        elif self.status is None:
            self.process.send_signal(signum)

    def brutal_kill(self) -> None:
        """Tell it to stop by SIGKILL."""
        self.told_to_stop = True
        self._verdict = self._verdict or "killed"
        self.kill(signal.SIGKILL)

    # ---- what the worker says -------------------------------------------------------------

    def _on_event(self, event: events.Event) -> None:
        act = _ACTS.get(type(event))
        if act is not None:
            act(self, event)

    def _on_mail(self, event: events.TellReceived | events.CallReceived) -> None:
        assert self.channel is not None
        deliver(event, self.channel, self.mailbox, self.sender)

    def _on_cancelled(self, event: events.Cancelled) -> None:
        assert self.channel is not None
        withdraw(self.channel, event.channel)

    def _on_hello(self, event: events.Hello) -> None:
        options = self.options
        self.connection.send_welcome(
            worker=options.worker_id,
            cluster=options.cluster,
            name=options.name,
            config=options.config,
        )
        if self.told_to_stop:
            self._send_stop()

    def _on_ready(self, event: events.Ready) -> None:
        if self.state == "none":
            self.state = "online"
        self.sendable.set()
        self._moments.online()
        if self.options.ready == "online":
            self.set_ready()

    def _on_serving(self, event: events.Serving) -> None:
        if self.options.ready == "called":
            self.set_ready()

    def set_listening(self) -> None:
        """The worker has its first shared port."""
        if self.state == "online":
            self.state = "listening"
        if self.options.ready == "listening":
            self.set_ready()

    def set_ready(self) -> None:
        """The worker is what its ``ready`` option waits for."""
        if not self.settled.is_set():
            self.was_ready = True
            self.settled.set()

    def _on_leave(self, event: events.Leave) -> None:
        self.stop(None if self.told_to_stop else self._leave_seconds(), event.reason)

    def _leave_seconds(self) -> float | None:
        seconds = self._shutdown_seconds()
        return None if seconds == math.inf else seconds

    def _on_goodbye(self, event: events.Goodbye) -> None:
        assert self.channel is not None
        self._said_goodbye = True
        self.channel.refuse_sends(self.closed)
        self.connection.send_goodbye(Reason.NORMAL)
        self.channel.flush()

    def _on_aborted(self, event: events.Aborted) -> None:
        text = f"worker {self.options.name} aborted: code {event.code} {event.detail or ''}"
        log.error("%s", text)
        if event.code == AbortCode.PROTOCOL_ERROR:
            self._verdict = self._verdict or "protocol"

    def _on_exit_info(self, event: events.ExitInfo) -> None:
        self._error = failure_from(event.info)

    def _on_log(self, event: events.Log) -> None:
        name = f"actorcluster.worker.{self.options.name}"
        # The text is the worker's, so it is an argument and never a format.
        logging.getLogger(name).log(event.level, "%s: %s", event.logger, event.message)

    def _on_undeliverable(self, event: events.Undeliverable) -> None:
        code, text = event.error.get("code"), event.error.get("message")
        log.warning(
            "worker %s could not deliver message %s: %s (%s)",
            self.options.name,
            event.number,
            code,
            text,
        )
        self._moments.failed(self.closed(f"message {event.number} was not delivered: {code}"))

    def _on_port(self, event: events.Event) -> None:
        self._moments.port(event)


def failure_from(info: Mapping[str, Any]) -> RemoteFailure | None:
    """Read the last words of a worker: an error map, or a mere code."""
    remote = info.get("remote")
    if "message" not in info and not isinstance(remote, dict):
        return None
    remote = remote if isinstance(remote, dict) else {}
    return RemoteFailure(
        type=str(remote.get("type") or info.get("code") or "error"),
        text=str(info.get("message", "")),
        traceback=traceback_text(remote),
    )


def _never_started(exc: BaseException) -> ExitStatus:
    stack = traceback_text(remote_details(exc))
    error = RemoteFailure(type=type_name(exc), text=str(exc), traceback=stack)
    return ExitStatus(code=None, signal=None, reason="lost", error=error)


_ACTS: Final[dict[type, Callable[[Life, Any], None]]] = {
    events.Aborted: Life._on_aborted,  # noqa: SLF001
    events.CallReceived: Life._on_mail,  # noqa: SLF001
    events.Cancelled: Life._on_cancelled,  # noqa: SLF001
    events.ConnCredit: Life._on_port,  # noqa: SLF001
    events.ConnReply: Life._on_port,  # noqa: SLF001
    events.ExitInfo: Life._on_exit_info,  # noqa: SLF001
    events.Goodbye: Life._on_goodbye,  # noqa: SLF001
    events.Hello: Life._on_hello,  # noqa: SLF001
    events.Leave: Life._on_leave,  # noqa: SLF001
    events.Listen: Life._on_port,  # noqa: SLF001
    events.ListenClosed: Life._on_port,  # noqa: SLF001
    events.Log: Life._on_log,  # noqa: SLF001
    events.Ready: Life._on_ready,  # noqa: SLF001
    events.Serving: Life._on_serving,  # noqa: SLF001
    events.TellReceived: Life._on_mail,  # noqa: SLF001
    events.Undeliverable: Life._on_undeliverable,  # noqa: SLF001
}
