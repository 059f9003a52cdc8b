"""One actor as its primary keeps it, whatever it runs in: how far it has come, and its mail.

Runs in: primary
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from .._link.channel import Channel
from ..errors import PeerClosed
from ..wire import events
from ..wire._generated import Reason, State
from ..wire.connection import Connection
from .exit import ExitStatus
from .journal import Journal
from .latch import Latch
from .mailbox import Mailbox, MergedMailbox, deliver, deliver_run
from .message import withdraw
from .moments import LifeOptions, LifeState, Moments
from .process import Process
from .stack import Stack
from .words import printable

__all__ = ["HEARD", "Peer"]

log = logging.getLogger("actorcluster.worker")


class Peer:
    """The life of one actor; subclasses know what it runs in.

    Args:
        options: see `LifeOptions`.
        worker_id: of this life.
        moments: told what happens.
        merged: the primary's mailbox.

    Attributes:
        sender: the `Ref` that received messages carry; set by the owner before it begins.
        process: what it runs in; None before that exists, or if that is ours.
        channel: to it, as soon as there is one.
        connection: the core of that; there from the beginning where it has a process.
        status: how it ended, once it has.
        told_to_stop: it was, or asked to be.
        was_ready: whether it has been.
        ready_at: when it was, or None.
        stack: where it stands still, if it does and somebody could look.
        settled: set once it is ready or dead, whichever comes first.
        dead: set once it is.
        sendable: set when mail can be sent, or never can be again.
        is_sendable: whether it is set; asked for each message.
    """

    connection: Connection
    acts: Mapping[type, Callable[[Any, Any], None]]
    """What to do when it says something that is no mail."""

    # Nearly all of these change in the life of a process, and few in that of a task, of which
    # there may be a great many.
    sender: Any = None
    state: LifeState = "none"
    process: Process | None = None
    channel: Channel | None = None
    status: ExitStatus | None = None
    told_to_stop = False
    primary_closed = False
    was_ready = False
    ready_at: float | None = None
    stack: Stack | None = None
    is_sendable = False
    _is_settled = False
    _settled: Latch | None = None
    _dead: Latch | None = None
    _sendable: Latch | None = None
    _mailbox: Mailbox | None = None
    _held: deque[Callable[[], None]] | None = None
    _said_goodbye = False
    _journal: Journal | None = None

    def __init__(
        self,
        options: LifeOptions,
        worker_id: int,
        moments: Moments,
        merged: MergedMailbox | None,
    ) -> None:
        self.options = options
        self.worker_id = worker_id
        self._moments = moments
        self._merged = merged

    @property
    def settled(self) -> Latch:
        if self._settled is None:
            self._settled = Latch(is_set=self._is_settled)
        return self._settled

    @property
    def dead(self) -> Latch:
        if self._dead is None:
            self._dead = Latch(is_set=self.status is not None)
        return self._dead

    @property
    def sendable(self) -> Latch:
        if self._sendable is None:
            self._sendable = Latch(is_set=self.is_sendable)
        return self._sendable

    @property
    def mailbox(self) -> Mailbox:
        """What it sent, until it is read; also after its end."""
        if self._mailbox is None:
            self._mailbox = Mailbox(self._merged)
            if self.state in ("disconnected", "dead"):
                self._mailbox._end()
        return self._mailbox

    @property
    def pid(self) -> int | None:
        """Of the process that it runs in; None before that exists."""
        return None if self.process is None else self.process.pid

    @property
    def start_method(self) -> Literal["forkserver", "exec", "task"] | None:
        """How it was started; None before it was."""
        return None if self.process is None else self.process.start_method

    # ---- the end --------------------------------------------------------------------------

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Change what it was told in the handshake, by the names in SETTINGS, in our units.

        Raises:
            ValueError: it is nothing that can be told anything.
            TypeError: something in it is no body value.
            MessageTooLarge: it is too large.
        """
        raise ValueError("a task is part of this process: send it a message")

    def stop(self, seconds: float = math.inf, reason: int = Reason.SHUTDOWN) -> None:
        """Tell it to drain and leave; may be called again to shorten the time.

        Args:
            seconds: until its main is cancelled; ``inf`` for no limit.
            reason: for its information, see the registry.
        """
        raise AssertionError("abstract")

    def kill(self, signum: int) -> None:
        """Have it end by a signal, or as if by one."""
        raise AssertionError("abstract")

    def kill_now(self) -> None:
        """Tell it to stop, by force. Safe in a signal handler."""
        raise AssertionError("abstract")

    def brutal_kill(self) -> None:
        """Tell it to stop, by force; do not even finish its start."""
        raise AssertionError("abstract")

    def _leave(self) -> None:
        """It was told to stop: it takes no mail any more."""
        self.told_to_stop = True
        self.state = "disconnecting"
        if self.channel is not None:
            self.channel.refuse_sends(self.closed)
        self._set_sendable()
        self._moments.draining()

    def _disconnect(self) -> None:
        """The channel is over: nobody can be heard or told anything any more."""
        self.state = "disconnected"
        if self._mailbox is not None:
            self._mailbox._end()
        self._moments.disconnected()

    def _finish(self, status: ExitStatus) -> None:
        status = self._moments.reported(status)
        never_connected = self.state in ("none", "online", "listening", "disconnecting")
        self.status = status
        if never_connected:
            self._disconnect()
        self.state = "dead"
        if not self.is_sendable:
            self._set_sendable()
        if self.channel is not None:
            self.channel.fail_all(self.closed)
        if not self._is_settled:
            self._is_settled = True
            if self._settled is not None:
                self._settled.set()
        if self._dead is not None:
            self._dead.set()
        if self._journal is not None:
            self._journal.close()
        self._moments.exited(status)

    def _shutdown_seconds(self) -> float:
        shutdown = self.options.shutdown
        return 0.0 if shutdown == "brutal_kill" else float(shutdown)

    def closed(self, text: str) -> PeerClosed:
        """Make the `PeerClosed` of this life."""
        return PeerClosed(
            f"worker {self.options.name}: {text}",
            status=self.status,
            unconfirmed=0 if self.channel is None else self.channel.unconfirmed,
        )

    # ---- mail for it ----------------------------------------------------------------------

    def when_sendable(self, act: Callable[[], None]) -> None:
        """Call ``act`` as soon as mail can be sent, or never can be again; in order of asking."""
        if self.is_sendable:
            act()
        elif self._held is None:
            self._held = deque([act])
        else:
            self._held.append(act)

    def _set_sendable(self) -> None:
        self.is_sendable = True
        if self._sendable is not None:
            self._sendable.set()
        while self._held:
            self._held.popleft()()

    @property
    def takes_mail(self) -> bool:
        """Whether it takes mail, or may once it is online."""
        if self.told_to_stop or self._said_goodbye or self.state == "disconnected":
            return False
        if self.channel is not None and self.channel.ended:
            return False
        return self.status is None and self.connection.state not in (State.CLOSING, State.CLOSED)

    def channel_or_raise(self) -> Channel:
        """Give the channel, which takes mail since `sendable`.

        Raises:
            PeerClosed: it takes no mail any more.
        """
        if self.status is not None:
            raise self.closed("it is gone")
        if self.channel is None:
            raise self.closed("it takes no more messages")
        return self.channel

    def close_primary(self) -> None:
        """The primary closes: asks of ours, those in progress too, end now."""
        self.primary_closed = True
        if self.channel is not None:
            self.channel.give_up_asks(self.closed)

    # ---- what it says ---------------------------------------------------------------------

    def _on_event(self, event: events.Event) -> None:
        act = self.acts.get(type(event))
        if act is not None:
            act(self, event)

    def _on_mail(self, event: events.TellReceived | events.CallReceived) -> None:
        assert self.channel is not None
        if event.to is None:
            deliver(event, self.channel, self.mailbox, self.sender)
        else:
            self._moments.mail(event)

    def _on_run(self, event: events.TellsReceived | events.CallsReceived) -> None:
        assert self.channel is not None
        deliver_run(event, self.channel, self.mailbox, self.sender)

    def _on_cancelled(self, event: events.Cancelled) -> None:
        assert self.channel is not None
        withdraw(self.channel, event.channel)

    def _on_serving(self, event: events.Serving) -> None:
        if isinstance(event.address, list):
            self._moments.listening((event.address[0], event.address[1]))
        elif event.address is not None:
            self._moments.listening(event.address)
        elif self.options.ready == "called":
            self.set_ready()

    def note_listening(self) -> None:
        """The worker listens; tell so, and then say `set_listening`."""
        if self.state == "online":
            self.state = "listening"

    def set_listening(self) -> None:
        """The worker listens, on a shared port or on one of its own."""
        self.note_listening()
        if self.options.ready == "listening":
            self.set_ready()

    def set_ready(self) -> None:
        """The worker is what its ``ready`` option waits for."""
        if not self._is_settled:
            self.was_ready = True
            self.ready_at = self._moments.now()
            self._is_settled = True
            if self._settled is not None:
                self._settled.set()
            self._moments.ready()

    def _on_leave(self, event: events.Leave) -> None:
        self.stop(self._shutdown_seconds(), event.reason)

    def _on_goodbye(self, event: events.Goodbye) -> None:
        assert self.channel is not None
        if self._said_goodbye:
            return  # it says so twice
        self._said_goodbye = True
        self.channel.refuse_sends(self.closed)
        if self.connection.state is not State.CLOSED:
            self.connection.send_goodbye(Reason.NORMAL)
            self.channel.end_writing()
        self._leaves()

    def _leaves(self) -> None:
        """It has said that nothing more comes. Whatever comes all the same has an end, too."""

    def _on_log(self, event: events.Log) -> None:
        if self._journal is None:
            self._journal = Journal(self.options.name, self.worker_id)
        self._journal.note(event, self.pid)

    @property
    def logs_dropped(self) -> int:
        """Records of its log that came too fast."""
        return 0 if self._journal is None else self._journal.dropped

    def _on_undeliverable(self, event: events.Undeliverable) -> None:
        if self._moments.bounced(event):
            return
        code, text = event.error.get("code"), event.error.get("message")
        text = printable(f"message {event.number} was not delivered: {code} ({text})")
        log.warning("worker %s: %s", self.options.name, text)
        self._moments.failed(self.closed(text))

    def _on_monitor(self, event: events.Monitored | events.Demonitored) -> None:
        self._moments.monitor(event)

    def _on_port(self, event: events.Event) -> None:
        self._moments.port(event)


#: What every actor may say beside mail.
HEARD: Final[Mapping[type, Callable[[Any, Any], None]]] = {
    events.Cancelled: Peer._on_cancelled,
    events.ConnCredit: Peer._on_port,
    events.ConnReply: Peer._on_port,
    events.Demonitored: Peer._on_monitor,
    events.Goodbye: Peer._on_goodbye,
    events.Leave: Peer._on_leave,
    events.Listen: Peer._on_port,
    events.ListenClosed: Peer._on_port,
    events.Log: Peer._on_log,
    events.Monitored: Peer._on_monitor,
    events.Serving: Peer._on_serving,
    events.Undeliverable: Peer._on_undeliverable,
}
