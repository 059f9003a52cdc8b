"""The primary's view of one worker process.

Runs in: primary
"""

from __future__ import annotations

import logging
import math
import signal as signals
from collections.abc import Mapping
from time import perf_counter
from typing import Any, Literal, Protocol, final

import attrs
import trio
from trio.lowlevel import checkpoint_if_cancelled

from .._link.channel import Channel
from .._link.staging import with_head
from .._link.waits import ChannelStatistics
from ..errors import PeerClosed
from .exit import ExitStatus
from .mailbox import Mailbox, MailboxStatistics
from .moments import LifeState
from .peer import Peer
from .process import STDIO
from .settings import Settings

__all__ = ["Worker", "WorkerStatistics", "patience"]


@final
@attrs.frozen(kw_only=True)
class WorkerStatistics:
    """A snapshot of one worker as the primary sees it.

    Attributes:
        state: see `Worker.state`.
        mailbox: what it sent and nobody has received yet.
        channel: the pipe to it; None before it exists.
        stdio_dropped: of its stdout and stderr that are pipes, by number: bytes that nobody read
            in time, see `Worker.stdout`.
        logs_dropped: records that it sent by `Actor.log_handler`, or in another language, faster
            than a worker may.
    """

    state: LifeState
    mailbox: MailboxStatistics
    channel: ChannelStatistics | None
    stdio_dropped: Mapping[int, int] = attrs.field(factory=dict)
    logs_dropped: int = 0


class Owner(Protocol):
    """Whoever decides what follows when a worker ends, and what it is given meanwhile."""

    is_paused: bool
    weight: float

    def leaving(self) -> None:
        """Somebody wants the worker gone, and nothing in its place."""

    def pause(self, *, is_paused: bool) -> None:
        """Somebody wants it to get no connections, or some again."""


@final
class Worker:
    """One process life; a restart makes a new object with a new ``id`` and ``pid``.

    Made by `Primary.fork`. It stays readable after its death; sending then raises `PeerClosed`.

    Attributes:
        id: 1, 2, 3 ..., never reused within a primary.
        name: the place in the tree, by default ``worker-<id>``.
        incarnation: counts the lives of that name from 1.
        settings: the `Settings` it was forked with.
    """

    def __init__(self, *, incarnation: int, settings: Settings, life: Peer, place: Owner) -> None:
        self.id = life.worker_id
        self.name = life.options.name
        self.incarnation = incarnation
        self.settings = settings
        #: what its primary knows it by.
        self.place = place
        self._life = life

    def __repr__(self) -> str:
        return f"<Worker {self.id} {self.name!r} pid={self.pid} {self.state}>"

    # ---- facts ----------------------------------------------------------------------------

    @property
    def pid(self) -> int | None:
        """Process id; None before the process exists, and kept after its death.

        Of a task it is this process's.
        """
        return self._life.pid

    @property
    def state(self) -> LifeState:
        """One of ``none online listening disconnecting disconnected dead``."""
        return self._life.state

    @property
    def start_method(self) -> Literal["forkserver", "exec", "task"] | None:
        """How it was started; None before it was."""
        return self._life.start_method

    @property
    def mailbox(self) -> Mailbox:
        """This worker's mail. While a task waits here it goes here, else to `Primary.mailbox`."""
        return self._life.mailbox

    @property
    def stdin(self) -> trio.abc.SendStream | None:
        """Its standard input when ``stdio`` asked for a pipe, else None."""
        stream: trio.abc.SendStream | None = self.stdio[0]
        return stream

    @property
    def stdout(self) -> trio.abc.ReceiveStream | None:
        """Its standard output when it is a pipe (``silent=True``), else None.

        Nobody has to read it: the last 256 KiB are kept, also after the worker's end, and what goes
        beyond is dropped and counted in `statistics`. Who reads slows the worker down to his pace,
        until he has not read for a second.
        """
        stream: trio.abc.ReceiveStream | None = self.stdio[1]
        return stream

    @property
    def stderr(self) -> trio.abc.ReceiveStream | None:
        """Its standard error when it is a pipe (``silent=True``), else None; see `stdout`."""
        stream: trio.abc.ReceiveStream | None = self.stdio[2]
        return stream

    @property
    def stdio(self) -> tuple[Any, ...]:
        """`stdin`, `stdout`, `stderr` and what `Settings.stdio` asked for besides, as in Node.

        The n-th is None unless it is a pipe. From the fourth on they are streams both ways: the
        worker has a socket as its descriptor n. Nobody reads or writes them unasked. When the
        worker has ended, what it wrote last can still be read.
        """
        process = self._life.process
        return (None,) * STDIO if process is None else process.stdio

    def is_connected(self) -> bool:
        """Whether the channel to it is open."""
        return self._life.state not in ("disconnected", "dead")

    def is_dead(self) -> bool:
        """Whether the process has ended and was reaped."""
        return self._life.state == "dead"

    @property
    def exited_after_disconnect(self) -> bool | None:
        """True from when it was told to leave, or asked to; False if it has left without.

        None until either has happened, as in Node.
        """
        if self._life.told_to_stop:
            return True
        return None if self.is_connected() else False

    def statistics(self) -> WorkerStatistics:
        """Count what waits, both ways. Never waits itself."""
        channel, process = self._life.channel, self._life.process
        printed = {} if process is None else process.printed
        return WorkerStatistics(
            state=self.state,
            mailbox=self.mailbox.statistics(),
            channel=None if channel is None else channel.statistics(),
            stdio_dropped={number: output.dropped for number, output in printed.items()},
            logs_dropped=self._life.logs_dropped,
        )

    # ---- settings -------------------------------------------------------------------------

    def configure(
        self,
        *,
        heartbeat: float | None = None,
        log_level: int | str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Change how this life is watched, and what it is told; the next life begins as ever.

        What is None stays as it is. Takes effect at once here, and in the worker when it hears it.

        Args:
            heartbeat: see `Child`: seconds of silence after which it is stuck; ``inf`` for none.
            log_level: lower log records are not worth sending, a number or a name of `logging`'s.
            config: what `Actor.config` has then, beside what was there before. Body values without
                handles; all of it has to fit into one frame, nearly 1 MiB.

        Raises:
            PeerClosed: it is gone, or leaves just now.
            TypeError, ValueError: a value is wrong, or this is a task.
            MessageTooLarge: *config* is too large.
        """
        given: dict[str, Any] = {}
        if heartbeat is not None:
            given["heartbeat"] = patience(heartbeat, "heartbeat")
            if not heartbeat:
                raise ValueError("heartbeat must be above 0; inf is for none")
        if log_level is not None:
            given["log_level"] = level_number(log_level)
        if config is not None:
            if not isinstance(config, Mapping):
                raise TypeError(f"config must be a mapping, not {config!r}")
            given["config"] = dict(config)
        self._life.configure(given)

    # ---- connections ----------------------------------------------------------------------

    def pause(self) -> None:
        """Deal it no more connections, until `resume`. Mail goes on, and what it has stays its.

        Nothing changes when it is paused already, or dead; its next life is not paused. Where
        workers accept for themselves (`SCHED_NONE`, ``exclusive``, ``reuse_port``) nobody deals.
        """
        self.place.pause(is_paused=True)

    def resume(self) -> None:
        """Deal it connections again."""
        self.place.pause(is_paused=False)

    def is_paused(self) -> bool:
        """Whether it is dealt no connections, by `pause`."""
        return self.place.is_paused

    @property
    def weight(self) -> float:
        """How large its share of connections is beside others', where the policy asks; 1.0.

        It can be set, to any number above 0, and holds for the next lives of its name, too.
        """
        return self.place.weight

    @weight.setter
    def weight(self, weight: float) -> None:
        if isinstance(weight, bool) or not isinstance(weight, (int, float)):
            raise TypeError(f"weight must be a number, not {weight!r}")
        if not 0 < weight < math.inf:
            raise ValueError(f"weight must be a finite number above 0, not {weight!r}")
        self.place.weight = float(weight)

    # ---- mail -----------------------------------------------------------------------------

    async def send(
        self, body: Any, handle: Any = None, *, head: bytes = b"", keep_open: bool = False
    ) -> None:
        """Send a message.

        Waits until the worker is online and its mailbox has room. Returned means: queued, in
        order, your handles closed and the library holding them until receipt.

        Args:
            body: None, bool, int, float, str, bytes, list, dict with str keys, aware datetime,
                `Ref`, `Handle`; nested to a depth of 64. A tuple arrives as a list.
            handle: anything `Handle.of` takes, delivered as ``message.handle``.
            head: what you have read from that stream already; it arrives as
                ``message.handle.head``, and is what its stream gives first. It counts as part of
                the body.
            keep_open: keep your own copy of every handle of the message.

        Raises:
            PeerClosed: the worker is gone, or was told to stop.
            TypeError: the body cannot be sent; the text names the place.
            MessageTooLarge: it exceeds ``max_message``, heads of handles included; of these no more
                than 255 KiB go with one message.

        Cancellation:
            Nothing was sent and the handles are still yours.
        """
        life = self._life
        if head:
            handle = with_head(handle, head)
        if handle is not None or not life.is_sendable:
            online = life.channel_or_raise() if life.is_sendable else await self._online()
            await online.send(body, handle, keep_open=keep_open)
            return
        await checkpoint_if_cancelled()
        channel = life.channel
        if channel is None or life.status is not None:
            channel = life.channel_or_raise()
        encoded = channel.tell_plain(body)
        if encoded is not None:
            await channel.send_encoded(body, None, keep_open, {}, encoded)
            return
        pace = channel.pace
        pace.left -= 1
        if pace.left < 0 or perf_counter() > pace.until:
            await pace.rest()

    def send_nowait(
        self, body: Any, handle: Any = None, *, head: bytes = b"", keep_open: bool = False
    ) -> None:
        """Like `send`, but never waits.

        Raises:
            trio.WouldBlock: `send` would wait.
        """
        if head:
            handle = with_head(handle, head)
        if not self._life.sendable.is_set():
            raise trio.WouldBlock
        self._life.channel_or_raise().send_nowait(body, handle, keep_open=keep_open)

    async def ask(
        self, body: Any, handle: Any = None, *, head: bytes = b"", keep_open: bool = False
    ) -> Any:
        """Send a message and wait for the answer.

        The time left of the deadline in force travels along.

        Args:
            body: see `send`.
            handle: see `send`.
            head: see `send`.
            keep_open: see `send`.

        Returns:
            The reply's body, or the handle that was given instead of one.

        Raises:
            PeerClosed: it is gone or stopping; the ask is never sent again.
            NotHandled: it disposed of the message unanswered.
            RemoteError: its handler failed; ``too_large``: its answer exceeds our ``max_message``.
            trio.ClosedResourceError: the primary has closed.

        Cancellation:
            The worker is told to cancel the work; it may have run, and is not waited for.
        """
        if head:
            handle = with_head(handle, head)
        life = self._life
        try:
            if life.primary_closed:
                raise life.closed("the primary has closed")
            channel = life.channel
            if channel is None or life.status is not None or not life.is_sendable:
                channel = await self._online()
            return await channel.ask(body, handle, keep_open=keep_open)
        except PeerClosed:
            if life.primary_closed:
                raise trio.ClosedResourceError("the primary has closed") from None
            raise

    @property
    def takes_mail(self) -> bool:
        """Whether it takes mail, or may once it is online."""
        return self._life.takes_mail

    async def until_sendable(self) -> None:
        """Wait until it takes mail, or never will."""
        if not self._life.sendable.is_set():
            await self._life.sendable.wait()

    async def _online(self) -> Channel:
        await self.until_sendable()
        return self._life.channel_or_raise()

    # ---- the end --------------------------------------------------------------------------

    async def disconnect(self, timeout: float | None = None) -> ExitStatus:
        """Tell the worker to drain and leave, and wait until it is gone.

        Args:
            timeout: seconds until its main is cancelled; two more until SIGTERM, two more until
                SIGKILL. None: no limit, as in Node. A second call joins the first; it can only
                shorten the time.

        Returns:
            How it ended.

        Raises:
            TypeError, ValueError: the timeout is no number of seconds.

        Cancellation:
            The worker stays told.
        """
        seconds = patience(timeout)
        self.place.leaving()
        self._life.stop(seconds)
        return await self.wait()

    def kill(self, signal: str | int = "SIGTERM") -> None:
        """Send a signal to the process now, without draining. Nothing when it is dead.

        A task is cancelled, whatever the signal.

        Args:
            signal: name or number.

        Raises:
            ValueError: there is no such signal.
        """
        self._life.kill(signal_number(signal))

    async def wait(self) -> ExitStatus:
        """Wait until the process is gone.

        Returns:
            How it ended; the same object every time.
        """
        await self._life.dead.wait()
        assert self._life.status is not None
        return self._life.status


def patience(timeout: object, name: str = "timeout") -> float:
    """Read a timeout: seconds, or None for no limit.

    Raises:
        TypeError, ValueError: it is neither.
    """
    if timeout is None:
        return math.inf
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"{name} must be a number of seconds or None, not {timeout!r}")
    if not timeout >= 0:
        raise ValueError(f"{name} must not be negative, not {timeout!r}")
    return float(timeout)


def level_number(level: str | int) -> int:
    """Read a level of `logging`.

    Raises:
        TypeError, ValueError: it is none.
    """
    if isinstance(level, str):
        numbers = logging.getLevelNamesMapping()
        if level not in numbers:
            raise ValueError(f"no such log_level: {level!r}")
        return numbers[level]
    if isinstance(level, bool) or not isinstance(level, int):
        raise TypeError(f"log_level must be a number or a name of logging's, not {level!r}")
    if not 0 <= level <= 255:
        raise ValueError(f"log_level must be from 0 to 255, not {level!r}")
    return level


def signal_number(signal: str | int) -> int:
    """Read a signal name or number.

    Raises:
        ValueError: there is no such signal.
    """
    try:
        if isinstance(signal, str):
            return int(signals.Signals[signal])
        if signal in signals.valid_signals():
            return int(signal)
    except KeyError:
        pass
    raise ValueError(f"no such signal: {signal!r}; give a name like 'SIGTERM' or a number")
