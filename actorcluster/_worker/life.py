"""One worker life, from start to exit status: one call of `Life.run`.

Runs in: primary

Theory of operation
===================

`Life.run` starts the process, serves its channel and returns when the process is reaped; it
never raises for anything the worker does. Beside the channel small tasks run:

- *watch*: the process ended. What it left in the channel is still read, then the channel ends. A
  grandchild that inherited the channel therefore cannot keep a dead worker alive.
- *start limit*: not ready within ``start_timeout``: kill. (Whether its loop runs after that is
  looked after for all workers at once, see ``_cluster/liveness.py``.)
- *ladder*: out of patience: SIGTERM, two seconds later SIGKILL. `stop` sets how long patience
  lasts; calling it again can only shorten that.
- *tee*, if its stderr is captured: passes on what comes there. What is left of it when the process
  has ended is read before the life is reported.
- *rings*, one for each of stdout and stderr that is a pipe: keep what comes there, see `streams`.

A Stop is said when the handshake is over. A worker that hears it before it was ready never runs its
main function, so nobody waits for it to become ready any more.

When the channel ends first, the process gets a moment to finish its interpreter's exit, then the
same ladder; who still waits for an answer learns after that moment at the latest that none will
come. Whatever cancels `run` itself, the process is killed and reaped first, shielded: there is no
way out of this file that leaves a child behind.
"""

from __future__ import annotations

import logging
import math
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, final

import trio

from .._link.adapter import Adapted
from .._link.bulk import read_bulk
from .._link.carrier import Carrier
from .._link.channel import Channel
from .._link.fdsocket import FdSocket
from .._link.handles import HANDLES
from .._link.pipe import LINK_LIMITS
from .._link.tracing import Tracing
from ..errors import MessageTooLarge, RemoteProtocolError, VersionMismatch
from ..wire import events
from ..wire._generated import MAJOR, MINOR, AbortCode, Reason, State
from ..wire.connection import Connection
from ..wire.values import RefAdapter
from .exit import (
    ExitStatus,
    RemoteFailure,
    Verdict,
    exit_status,
    failure_from,
    never_started,
    split,
)
from .ladder import LOST_SECONDS, RUNG_SECONDS, Ladder
from .mailbox import MergedMailbox
from .moments import LifeOptions, Moments
from .peer import HEARD, Peer
from .process import SEND_BUFFER, Process
from .pulse import BEATS
from .rendezvous import Rendezvous
from .words import printable

__all__ = ["Life"]

log = logging.getLogger("actorcluster.worker")

#: (major, highest minor) of what we speak.
VERSIONS: Final = ((MAJOR, MINOR),)


@final
class Life(Peer):
    """One process life.

    Args:
        options: see `LifeOptions`.
        start: makes the process.
        moments: told what happens.
        merged: the primary's mailbox.
        refs: how refs in messages are described and built.
    """

    def __init__(
        self,
        options: LifeOptions,
        start: Callable[[], Awaitable[Process]],
        moments: Moments,
        merged: MergedMailbox | None,
        refs: RefAdapter | None = None,
    ) -> None:
        super().__init__(options, options.worker_id, moments, merged)
        self.acts = _ACTS
        self.connection = Connection(
            "primary",
            limits={**LINK_LIMITS, **options.limits},
            handles=HANDLES,
            refs=refs,
            gather=True,
        )
        self.connection.offer_bulk(read_bulk)
        if merged is not None:
            self.connection.bound_descriptors(merged.share())
        self._start = start
        self._starting = trio.CancelScope()
        self._meeting = trio.CancelScope()
        self._adapted: Adapted | None = None
        self._start_deadline = math.inf
        self._ladder = Ladder()
        self._error: RemoteFailure | None = None
        self._stop_reason: int = Reason.SHUTDOWN
        self._stop_deadline = math.inf
        self._stop_said = trio.Event()
        self._signals: list[int] = []
        self._was_killed = False
        self._settings: dict[str, Any] = {}
        self.heartbeat = options.heartbeat

    # ---- the whole life -------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection  # Ctrl-C is the body's to hear, see `open_primary`
    async def run(self) -> None:
        """Live it.

        Cancellation:
            The process is killed and reaped before this returns.
        """
        self._start_deadline = trio.current_time() + self.options.start_timeout
        self.process = process = await self._make_process()
        if process is None:
            return
        if self.options.tracing is not None:
            self._note_spawn(self.options.tracing, process)
        try:
            await self._serve(process)
        finally:
            with trio.CancelScope(shield=True):
                if process.poll() is None:
                    self._ladder.verdict = self._ladder.verdict or "killed"
                    process.send_signal(signal.SIGKILL)
                waitstatus, rusage = await process.wait()
                is_oom = self._is_oom(process, waitstatus)
                if process.tee is not None:
                    await process.tee.finish()
            process.close()
            self._finish(
                exit_status(
                    waitstatus,
                    told_to_stop=self.told_to_stop,
                    verdict=self._ladder.verdict,
                    is_oom=is_oom,
                    error=self._error,
                    rusage=rusage,
                )
            )

    def _is_oom(self, process: Process, waitstatus: int | None) -> bool:
        """Whether the kernel killed it for want of memory: then it was none of us."""
        if self._ladder.verdict is not None or self._was_killed or process.kills is None:
            return False
        return split(waitstatus)[1] == signal.SIGKILL and process.kills.is_proven(process)

    def _finish(self, status: ExitStatus) -> None:
        super()._finish(status)
        if self.options.tracing is not None:
            code, signum = status.code, status.signal
            self.options.tracing.exited(
                self.worker_id, self.pid, code=code, signal=signum, reason=status.reason
            )
        self.connection.shrink()  # whoever has the worker has that, too

    async def _make_process(self) -> Process | None:
        """Start the process; None, and all is finished, when there is none."""
        self._starting.deadline = self._start_deadline
        try:
            with self._starting:
                return await self._start()
        except Exception as exc:  # noqa: BLE001  (whatever it was, it is told as the status)
            self._finish(never_started(exc, "lost"))
            return None
        except BaseException:
            self._finish(never_started(RuntimeError("killed at its start"), "killed"))
            raise
        timed_out = trio.current_time() >= self._start_deadline
        text = "no process came into being in time" if timed_out else "killed at its start"
        self._finish(never_started(RuntimeError(text), "start_timeout" if timed_out else "killed"))
        return None

    async def _serve(self, process: Process) -> None:
        if process.rendezvous is None:
            self._open_channel(self._carrier_of(process))
        for signum in self._signals:
            process.send_signal(signum)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, process)
            nursery.start_soon(self._limit_start)
            nursery.start_soon(self._ladder.run, process.send_signal)
            if process.tee is not None:
                nursery.start_soon(process.tee.run)
            for output in process.printed.values():
                nursery.start_soon(output.run)
            if process.rendezvous is not None:
                await self._meet(process.rendezvous)
            if self._adapted is not None:
                nursery.start_soon(self._converse, self._adapted)
            if self.channel is not None:
                await self._converse(self.channel)
            self._disconnect()
            if not self._said_goodbye:
                self._ladder.begin_within(LOST_SECONDS, "lost")
            with trio.move_on_after(LOST_SECONDS):
                await process.wait()  # then those who wait learn how it ended, too
            if process.poll() is None:
                self._set_sendable()
                if self.channel is not None:
                    self.channel.fail_all(self.closed)
            await process.wait()
            nursery.cancel_scope.cancel()

    def _two(self, sock: socket.socket, lane: socket.socket) -> Carrier:
        from .._link.lane import LaneSocket  # noqa: PLC0415  (few need it)
        from .._link.nodelines import KINDS  # noqa: PLC0415  (likewise)

        self.connection.send_only(KINDS)
        return LaneSocket(sock, lane)

    def _leaves(self) -> None:
        if not self.told_to_stop:  # it has as long as it would have had after that
            self._ladder.begin_within(self._shutdown_seconds() + RUNG_SECONDS, "killed")

    def _note_spawn(self, tracing: Tracing, process: Process) -> None:
        adapter = self.options.adapter
        way = "fd" if process.rendezvous is None else "unix"
        tracing.spawned(
            self.worker_id,
            process.pid,
            name=self.options.name,
            method=process.start_method,
            protocol="awp" if adapter is None else "node",
            channel=way if adapter is None else "memory",
            lane=process.lane is not None,
        )

    def _open_channel(self, carrier: Carrier, unread: bytes = b"") -> Channel:
        if self.options.tracing is not None:
            carrier = self.options.tracing.carry(carrier, self.worker_id, unread)
        self.channel = channel = Channel(carrier, self.connection, self._on_event)
        channel.unread = unread
        channel.pass_mail_to(self._on_mail, self._on_run)
        if self.told_to_stop:
            channel.refuse_sends(self.closed)
        return channel

    def _carrier_of(self, process: Process) -> Carrier:
        """Its channel, with what it needs to be understood put before that."""
        options = self.options
        if options.adapter is None:
            lane, sock = process.lane, process.channel
            return FdSocket(sock) if lane is None else self._two(sock, lane)
        self._adapted = options.adapter.adapt(
            process.channel,
            pid=process.pid,
            name=options.name,
            worker_id=options.worker_id,
            limits=options.limits,
        )
        return self._adapted.carrier

    async def _meet(self, rendezvous: Rendezvous) -> None:
        """Wait until it connects, or its process ends, which the start limit sees to."""
        with self._meeting:
            sock, hello = await rendezvous.meet()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            self._open_channel(FdSocket(sock), hello)

    async def _converse(self, channel: Channel | Adapted) -> None:
        """Serve the channel to its end, whatever the worker makes of it."""
        try:
            await channel.run()
        except RemoteProtocolError as exc:
            self._ladder.condemn("protocol")
            # Its frames are all ours, and they, this life and who remembers the fault would hold
            # each other, with every buffer, until the collector comes.
            exc.__traceback__ = None
            mismatch = exc.code == AbortCode.VERSION
            theirs = self.connection.peer_versions
            self._moments.failed(VersionMismatch(VERSIONS, theirs) if mismatch else exc)
            log.error("worker %s broke the protocol: %s", self.options.name, printable(str(exc)))
        except Exception as exc:
            self._moments.failed(exc)
            log.error("the channel to worker %s failed", self.options.name, exc_info=exc)

    @trio.lowlevel.enable_ki_protection
    async def _watch(self, process: Process) -> None:
        await process.wait()
        self._meeting.cancel()
        ending = self._adapted or self.channel
        if ending is not None:
            ending.finish()

    @trio.lowlevel.enable_ki_protection
    async def _limit_start(self) -> None:
        with trio.CancelScope(deadline=self._start_deadline):
            await self.settled.wait()
            return
        if not self._stop_said.is_set():  # else the ladder, and nothing but it, has the time
            self._ladder.condemn("start_timeout")

    # ---- settings -------------------------------------------------------------------------

    def configure(self, settings: Mapping[str, Any]) -> None:
        """See `Peer.configure`. What is said before the introductions waits for them."""
        if not self.takes_settings:
            raise self.closed("it takes no more settings")
        hung_after = self.options.hung_after
        if hung_after is not None and settings.get("heartbeat", 0) > hung_after:
            raise ValueError(f"heartbeat must be at most hung_after ({hung_after:g})")
        waiting = {**self._settings, **settings}
        if "config" in settings:
            waiting["config"] = {**self._settings.get("config", {}), **settings["config"]}
        if self._is_introduced():
            self._say_settings(settings)
        else:
            self.connection.check_settings(_in_their_units(waiting))
            self._settings = waiting
        if "heartbeat" in settings:
            self.heartbeat = settings["heartbeat"]
            self._moments.heartbeat_changed()

    @property
    def takes_settings(self) -> bool:
        """Whether it can be told what has changed, now or later."""
        if self.status is not None or self._said_goodbye or self.state == "disconnected":
            return False
        return self.connection.state not in (State.CLOSING, State.CLOSED)

    def _is_introduced(self) -> bool:
        may = self.connection.state in (State.STARTING, State.ACTIVE, State.STOPPING)
        return may and self.channel is not None

    def _say_settings(self, settings: Mapping[str, Any]) -> None:
        assert self.channel is not None
        if settings:
            self.connection.send_settings(_in_their_units(settings))
            self.channel.flush()

    # ---- stopping -------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection
    def stop(self, seconds: float = math.inf, reason: int = Reason.SHUTDOWN) -> None:
        """See `Peer.stop`."""
        if self.status is not None:
            return
        self._ladder.begin_within(seconds + RUNG_SECONDS, "killed")
        if self.state == "disconnected":
            return  # it is leaving by itself, and cannot be told anything
        deadline = trio.current_time() + seconds
        news = not self.told_to_stop or deadline < self._stop_deadline
        self._stop_deadline = min(self._stop_deadline, deadline)
        if not self.told_to_stop:
            self._stop_reason = reason
            self._leave()
        if news:
            self._say_stop()

    def _say_stop(self) -> None:
        """Say it now if the introductions are made; else `_on_hello` says it."""
        if self._is_introduced():
            assert self.channel is not None
            seconds = max(self._stop_deadline - trio.current_time(), 0.0)
            self.connection.send_stop(None if seconds == math.inf else seconds, self._stop_reason)
            self._stop_said.set()
            self.channel.flush()

    def kill(self, signum: int) -> None:
        """Send a signal now; remembered while the process does not exist yet."""
        if self.status is not None:
            return
        self._was_killed = self._was_killed or signum == signal.SIGKILL
        if self.process is not None:
            self.process.send_signal(signum)
        else:
            self._signals.append(signum)

    def kill_now(self) -> None:
        """Tell it to stop by SIGKILL. Safe in a signal handler."""
        if self.status is None:
            self.told_to_stop = True
            self._ladder.verdict = self._ladder.verdict or "killed"
            self.kill(signal.SIGKILL)

    def brutal_kill(self) -> None:
        """Tell it to stop by SIGKILL; do not even finish making the process."""
        self.kill_now()
        self._starting.cancel()

    def condemn(self, verdict: Verdict) -> None:
        """Kill it at once, for a reason of ours."""
        if self.status is None:
            self._ladder.condemn(verdict)

    # ---- what the worker says -------------------------------------------------------------

    def _on_hello(self, event: events.Hello) -> None:
        if self.connection.state is State.CLOSED:
            return  # the rest of what came with it has ended the connection
        options = self.options
        try:
            self.connection.send_welcome(
                worker=options.worker_id,
                cluster=options.cluster,
                name=options.name,
                config=options.config,
                heartbeat=_beat(self.heartbeat),
            )
            self._settings.pop("heartbeat", None)
            self._say_settings(self._settings)
            self._settings = {}
        except MessageTooLarge as exc:  # for the small frames that this worker wants
            self._ladder.condemn("protocol")
            self._moments.failed(exc)
            log.error("worker %s cannot take its settings: %s", options.name, exc)
            self.connection.abort(AbortCode.FRAME_TOO_LARGE, str(exc))
            return
        if self.told_to_stop:
            self._say_stop()

    def _on_ready(self, event: events.Ready) -> None:
        self.state = "online"
        self._set_sendable()
        self._moments.online()
        if self.options.ready == "online":
            self.set_ready()

    def _on_aborted(self, event: events.Aborted) -> None:
        assert self.channel is not None
        text = printable(f"it gave up the connection, code {event.code}: {event.detail}")
        log.error("worker %s: %s", self.options.name, text)
        self._moments.failed(self.closed(text))
        self._ladder.verdict = self._ladder.verdict or "protocol"
        self._ladder.begin_within(LOST_SECONDS, "protocol")
        self.channel.finish()

    def _on_exit_info(self, event: events.ExitInfo) -> None:
        self._error = failure_from(event.info)


def _beat(heartbeat: float) -> float:
    """Seconds between two PINGs; 0: there are none."""
    return 0.0 if heartbeat == math.inf else heartbeat / BEATS


def _in_their_units(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As SETTINGS has them."""
    theirs = dict(settings)
    if "heartbeat" in theirs:
        theirs["heartbeat"] = _beat(theirs["heartbeat"]) * 1000
    return theirs


_ACTS: Final[Mapping[type, Callable[[Any, Any], None]]] = {
    **HEARD,
    events.Aborted: Life._on_aborted,
    events.ExitInfo: Life._on_exit_info,
    events.Hello: Life._on_hello,
    events.Ready: Life._on_ready,
}
