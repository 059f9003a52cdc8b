"""The Actor: a worker's own view of itself, its mailbox, its primary and its shared ports.

Runs in: both

Theory of operation
===================

Main runs in the Actor's cancel scope. Three things end it early:

- *Stop*: new connections and mail are refused, ``draining`` is set, and as soon as the actor is
  idle, or when the time is up, main is cancelled.
- *Primary lost*: the channel ends; main is cancelled at once.
- *kill()*: main is cancelled without draining.

Idleness has no event of its own: it depends on sockets that user code closes whenever it likes.
While draining, and only then, it is looked at fifty times a second.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from time import perf_counter
from typing import Any, Final, final

import trio
from trio.lowlevel import checkpoint_if_cancelled

from .._link.channel import Channel
from .._link.staging import with_head
from ..errors import PeerClosed
from ..wire import events
from ..wire._generated import ErrorCode
from .actorhome import ActorHome
from .listeners import Listeners
from .listens import Listens
from .mailbox import Mailbox, deliver, deliver_run
from .message import Message, bounce, handle
from .ref import PRIMARY, Ref, main_actor

__all__ = ["Actor", "current_actor", "set_current_actor", "set_own_actor"]

log = logging.getLogger("actorcluster.actor")

_IDLE_POLL_SECONDS: Final = 0.02

#: In a worker process; whatever runs there belongs to its one actor.
_current: trio.lowlevel.RunVar[Actor | None] = trio.lowlevel.RunVar("actor", None)
#: In a primary, where many actors may live side by side, each with the tasks that it starts.
_own: ContextVar[Actor | None] = ContextVar("actor", default=None)


def current_actor() -> Actor:
    """Find the Actor whose main this code runs for.

    Raises:
        RuntimeError: this is not a worker, or its main is not running.
    """
    actor = _own.get()
    if actor is None:
        with contextlib.suppress(RuntimeError):
            actor = _current.get()
    if actor is None:
        raise RuntimeError("there is no actor here: this code does not run inside a worker")
    return actor


def set_current_actor(actor: Actor | None) -> None:
    """Say whose main runs in this Trio run from now on."""
    _current.set(actor)


#: Says whose main runs in this task from now on, and in those that it starts.
set_own_actor: Final = _own.set


@final
class Actor(Listens):
    """A worker's own view: its mailbox, its primary, its shared ports.

    Passed to main as the first argument; `current_actor` finds it as well.

    Attributes:
        id: as the primary counts, never reused.
        name: the place in the tree.
        incarnation: counts the lives of that name from 1.
    """

    _busy = 0
    _ready_said = False
    _is_draining = False
    # What follows is made when it is wanted: there may be ten thousand actors in one process.
    _draining: trio.Event | None = None
    _mailbox: Mailbox | None = None
    _primary: Ref | None = None
    _listening: Listeners | None = None

    def __init__(
        self,
        home: ActorHome,
        worker_id: int,
        name: str,
        incarnation: int,
        scope: trio.CancelScope | None = None,
    ) -> None:
        self.id = worker_id
        self.name = name
        self.incarnation = incarnation
        self.scope = trio.CancelScope() if scope is None else scope
        self._home = home
        home.actor = self

    def __repr__(self) -> str:
        return f"<Actor {self.id} {self.name!r}>"

    @property
    def mailbox(self) -> Mailbox:
        """What the primary and other actors send here."""
        if self._mailbox is None:
            home = self._home
            self._mailbox = Mailbox(channel=home.channel if home.may_lead else None)
            if self._is_draining:
                self._mailbox._end()
        return self._mailbox

    @property
    def primary(self) -> Ref:
        """A `Ref` to the primary."""
        if self._primary is None:
            self._primary = self._home.named(PRIMARY)
        return self._primary

    @property
    def draining(self) -> trio.Event:
        """Set at Stop."""
        if self._draining is None:
            self._draining = trio.Event()
            if self._is_draining:
                self._draining.set()
        return self._draining

    @property
    def _channel(self) -> Channel:
        return self._home.channel

    @property
    def _listeners(self) -> Listeners:
        if self._listening is None:
            self._listening = Listeners(self._home.channel)
            if self._is_draining:
                self._listening.stop()
        return self._listening

    @property
    def config(self) -> Mapping[str, Any]:
        """What the primary said by `Worker.configure` so far; read-only, of a task empty."""
        return self._home.config

    def log_handler(self, level: int | str = logging.NOTSET) -> logging.Handler:
        """Make a `logging.Handler` that sends records to the primary, where they are logged again.

        Nothing is sent unless you add it to a logger of this process::

            logging.getLogger().addHandler(actor.log_handler(logging.INFO))

        Any thread may log. Records are bounded: when the primary does not read, or this process
        logs faster than it can send, some are dropped, and how many is logged. In a task it does
        nothing: that logs in its primary's process anyway.

        Args:
            level: lower records are not sent; the primary can raise that by `Worker.configure`.
        """
        return self._home.log_handler(level)

    def is_connected(self) -> bool:
        """Whether the primary is there."""
        return self._home.is_connected()

    def ref(self, name: str) -> Ref:
        """Give the address of whoever has that name in this cluster.

        Never fails: whether there is such an actor shows when it is sent to.
        """
        return self._home.named(name)

    async def send(
        self, body: Any, handle: Any = None, *, head: bytes = b"", keep_open: bool = False
    ) -> None:
        """Send a message to the primary; see `Worker.send`.

        Cancellation:
            Nothing was sent and the handles are still yours.
        """
        channel = self._home.channel
        if head:
            handle = with_head(handle, head)
        if handle is not None:
            await channel.send(body, handle, keep_open=keep_open)
            return
        # What it does else, in one piece, for what comes most.
        await checkpoint_if_cancelled()
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
        """Like `send`, but raises ``trio.WouldBlock`` where that would wait."""
        if head:
            handle = with_head(handle, head)
        self._home.channel.send_nowait(body, handle, keep_open=keep_open)

    async def ask(
        self, body: Any, handle: Any = None, *, head: bytes = b"", keep_open: bool = False
    ) -> Any:
        """Ask the primary; see `Worker.ask`.

        Cancellation:
            The primary's handler is told to cancel; it may have run.
        """
        if head:
            handle = with_head(handle, head)
        return await self._home.channel.ask(body, handle, keep_open=keep_open)

    def ready(self) -> None:
        """Tell the primary that this worker is ready (``ready="called"``). Once is enough."""
        if not self._ready_said and self._home.is_connected():
            self._ready_said = True
            self._home.say_ready()

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
        self._leave()
        await self.draining.wait()
        if not self._home.is_connected():
            raise PeerClosed("the primary is gone", unconfirmed=self._channel.unconfirmed)

    def _leave(self) -> None:
        if not self._is_draining and self._home.is_connected():
            self._home.say_leave()

    def kill(self) -> None:
        """End this worker voluntarily and at once: main is cancelled without draining."""
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
        if concurrency == 1:
            await self._serve_some(handler)
            return
        try:
            async with trio.open_nursery() as nursery:
                for _ in range(concurrency):
                    nursery.start_soon(self._serve_some, handler)
        except BaseExceptionGroup as group:
            if len(group.exceptions) > 1:
                raise
            first = group.exceptions[0]
            raise first from first.__cause__  # as if there were no nursery

    async def _serve_some(self, handler: Callable[[Message], Awaitable[Any]]) -> None:
        async for message in self.mailbox:
            try:
                await handle(message, handler)
            except Exception:
                if not message.is_ask:
                    raise

    # ---- idle, stop, lost -----------------------------------------------------------------

    def _is_idle(self) -> bool:
        """Whether nothing is under way that Stop would wait for."""
        channel, listening = self._home.opened, self._listening
        if self._busy or (listening is not None and not listening.is_idle()):
            return False
        if channel is None:
            return True
        mailbox = self.mailbox
        unanswered = channel.asks_unanswered
        if not mailbox._was_read:  # then nobody will answer what lies in it
            unanswered -= mailbox._asks_waiting()
        return (
            not unanswered
            and not channel.messages_open
            and not (mailbox._was_read and (len(mailbox) or mailbox._has_message_in_hand()))
        )

    def _begin_drain(self) -> None:
        """Stop was heard."""
        self._is_draining = True
        if self._mailbox is not None:
            self._mailbox._end()
        if self._draining is not None:
            self._draining.set()
        if self._listening is not None:
            self._listening.stop()

    def _lose_primary(self) -> None:
        """The channel ended without Stop."""
        self._begin_drain()
        if self._listening is not None:
            self._listening.fail()
        self._home.lose()
        self.scope.cancel()

    def _close_mailbox(self) -> None:
        """Main has ended: whoever waits for an answer learns that there will be none."""
        if self._mailbox is not None and (lost := self._mailbox._discard()):
            log.warning("%s: %d messages were never read", self.name, lost)
        self._is_draining = True  # for who looks at it from now on
        if self._home.opened is not None:
            self._home.opened.refuse_all(ErrorCode.NOT_HANDLED, "its receiver has ended")

    # ---- what the primary says ------------------------------------------------------------

    def _answers_to(self, to: int | str | None) -> bool:
        """Whether a message with this address is for us."""
        return to in (None, self.name, main_actor(self.id))

    def _on_mail(self, event: events.TellReceived | events.CallReceived) -> None:
        """A message has arrived."""
        if not self._answers_to(event.to):
            bounce(event, self._channel, ErrorCode.NO_SUCH_ACTOR, f"no actor {event.to!r} here")
            return
        sender = self.primary
        if event.sender is not None:
            name = event.meta.get("name")
            sender = self._home.build(event.sender, name if isinstance(name, str) else None)
        deliver(event, self._channel, self.mailbox, sender)

    def _on_run(self, event: events.TellsReceived | events.CallsReceived) -> None:
        """Messages of the primary have arrived."""
        deliver_run(event, self._channel, self.mailbox, self.primary)

    def _on_event(self, event: events.Event) -> None:
        """The primary said something that is not about mail or the end."""
        if isinstance(event, events.Undeliverable):
            self._home.forget(event.to)
            to = PRIMARY if event.to is None else event.to
            why = f"{event.error.get('code')} ({event.error.get('message')})"
            log.warning("%s: a message to %s was not delivered: %s", self.name, to, why)
        elif isinstance(event, events.Down):
            self._home.on_down(event)
        else:
            self._listeners.on_event(event)

    async def _drain(self, seconds: float | None) -> None:
        """Cancel main when the actor is idle, or when the time is up."""
        with trio.move_on_after(math.inf if seconds is None else seconds):
            while True:
                await trio.sleep(_IDLE_POLL_SECONDS)
                if self._is_idle():
                    break
        self.scope.cancel()
