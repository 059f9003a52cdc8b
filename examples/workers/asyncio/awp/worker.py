"""The worker as its application sees it: mail, calls, ports, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

from . import events
from .awp_v1 import Code, Kind
from .connection import Connection
from .handles import close_all
from .listener import Listener
from .listening import ListenerChannel
from .message import Message
from .outbox import Address
from .outbox import Message as Outgoing
from .speaking import Hello, error_map
from .transport import Transport

MARGIN_SECONDS = 0.5
"""What is left of the primary's patience when the application's is over."""


class RemoteError(Exception):
    """A call, or a request for a port, failed.

    Attributes:
        code: why, see SPEC.md, section 21.
        error: the whole error map.
    """

    def __init__(self, error: Mapping[str, object]) -> None:
        super().__init__(f"{error.get('code')}: {error.get('message', '')}")
        self.code = str(error.get("code"))
        self.error = error


class ConnectionLost(RemoteError):
    """The connection ended first; nobody knows what became of the call."""

    def __init__(self) -> None:
        super().__init__({"code": Code.CONNECTION_LOST, "message": "the connection has ended"})


class Worker:
    """This process, for the function that `run` was given.

    Attributes:
        stopping: set when the primary wants the worker to end, or is gone.
        stop: what STOP said; None until then.
        config: application settings; a new mapping takes the place of this one when they change.
        on_undeliverable: called with what became of a message that reached nobody.
        on_settings: called when the primary has changed settings.
    """

    def __init__(self, hello: Hello) -> None:
        self.connection = Connection(hello)
        self.stopping = asyncio.Event()
        self.stop: events.Stop | None = None
        self.config: Mapping[str, object] = {}
        self.on_undeliverable: Callable[[events.Undeliverable], None] | None = None
        self.on_settings: Callable[[Mapping[str, object]], None] | None = None
        self.end: events.Ended | events.Aborted | events.Violated | None = None
        self.welcomed = asyncio.Event()
        self.said_stop = asyncio.Event()
        self.out_of_time = asyncio.Event()
        self._transport: Transport | None = None
        self._mailbox: deque[Message] = deque()
        self._mail = asyncio.Event()
        # Weak: a call that nobody has any more is answered, see `Message`.
        self._open: weakref.WeakValueDictionary[int, Message] = weakref.WeakValueDictionary()
        self._tells: set[asyncio.Future[int]] = set()
        self._calls: dict[int, asyncio.Future[events.ReplyReceived]] = {}
        self._listens: dict[int, tuple[asyncio.Future[Listener], int]] = {}
        self._listeners: dict[int, Listener] = {}

    def attach(self, transport: Transport) -> None:
        """Begin to speak through a transport, which delivers to `deliver`."""
        self._transport = transport

    # ------------------------------------------------------------------------------- who it is

    @property
    def welcome(self) -> events.Welcome:
        """What the primary said first."""
        assert self.connection.welcome is not None
        return self.connection.welcome

    @property
    def id(self) -> int:
        """The worker's id."""
        return self.welcome.worker

    @property
    def name(self) -> str | None:
        """The worker's name."""
        return self.welcome.name

    # ------------------------------------------------------------------------------------ mail

    async def receive(self) -> Message | None:
        """The next message; None: there is none, and the worker is to stop."""
        while True:
            while self._mailbox:
                message = self._mailbox.popleft()
                if not message.expired:
                    self.connection.give_back(message.event.charge)
                    self._kick()
                    return message
                self._too_late(message)
            if self.stopping.is_set():
                return None
            self._mail.clear()
            await self._mail.wait()

    async def __aiter__(self) -> AsyncIterator[Message]:
        """Messages, until the worker is to stop."""
        while (message := await self.receive()) is not None:
            yield message
            del message

    def _too_late(self, message: Message) -> None:
        code = Code.DEADLINE_EXCEEDED if message.is_call else Code.EXPIRED
        self._give_up(message, code, "it waited for too long")

    def _give_up(self, message: Message, code: str, text: str) -> None:
        if message.is_call:
            self.connection.give_back(message.event.charge)
            message.fail(code, text)
            close_all(message.handles)
        else:
            self.connection.bounce(message.event, code, text)
        self._kick()

    async def tell(self, to: Address, body: object, *, ttl: float | None = None) -> int:
        """Send a message; wait until it is on its way, and give its number.

        Handles in the body are the primary's from then on.

        Args:
            to: id or name of an actor; None for the primary.
            body: what to send.
            ttl: after so many seconds nobody wants it any more.

        Raises:
            NotSendable: the primary does not take it.
            ConnectionLost: it was not sent.
        """
        sent: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        message = self._compose(Kind.TELL, to, body, ttl, _resolver(sent))
        self._tells.add(sent)
        self.connection.outbox.send(message)
        self._kick()
        try:
            number = await sent
            self._tells.discard(sent)
            return number
        except BaseException:
            self._tells.discard(sent)
            if not message.number:
                self.connection.outbox.abandon(message)
                close_all(message.handles)
                self._kick()
            raise

    async def call(self, to: Address, body: object, *, timeout: float | None = None) -> object:
        """Send a message and wait for the answer; give its body.

        Args:
            to: id or name of an actor; None for the primary.
            body: what to ask.
            timeout: seconds; the other side is told.

        Raises:
            RemoteError: the call failed there.
            ConnectionLost: the connection ended first.
            NotSendable: the primary does not take it.
            TimeoutError: no answer came in time.
        """
        message = self._compose(Kind.CALL, to, body, timeout, lambda _number: None)
        channel = self.connection.call(message)
        answer: asyncio.Future[events.ReplyReceived] = asyncio.get_running_loop().create_future()
        self._calls[channel] = answer
        self._kick()
        try:
            async with asyncio.timeout(timeout):
                return (await answer).body
        finally:
            if self._calls.pop(channel, None) is not None:
                self.connection.cancel(channel)
                self._kick()

    def _compose(
        self,
        kind: Kind,
        to: Address,
        body: object,
        ttl: float | None,
        on_sent: Callable[[int], None],
    ) -> Outgoing:
        if self._transport is None or self._transport.closed.is_set() or self._is_leaving:
            raise ConnectionLost
        meta = {"ttl": ttl * 1000} if ttl is not None else None
        return self.connection.compose(kind, to, body, meta, on_sent=on_sent)

    @property
    def _is_leaving(self) -> bool:
        return self.connection.owes_goodbye or not self.connection.accepts_messages

    # ----------------------------------------------------------------------------------- ports

    async def listen(
        self,
        port: int = 0,
        host: str | None = "127.0.0.1",
        *,
        credit: int = 16,
        modes: Sequence[str] = ("handoff", "shared"),
        **options: object,
    ) -> Listener:
        """Serve a TCP port, together with the other workers that ask for it.

        Args:
            port: 0 for any free one.
            host: a numeric address; None: every one.
            credit: connections that are served at once, at most.
            modes: best first.
            options: other keys of LISTEN.

        Raises:
            RemoteError: the primary cannot.
        """
        place = {"transport": "tcp", "port": port} | ({"host": host} if host else {})
        return await self.ask_to_listen(
            {**place, "credit": credit, "modes": list(modes), **options}
        )

    async def ask_to_listen(self, request: Mapping[str, object]) -> Listener:
        """Send LISTEN with that map as it is.

        Raises:
            RemoteError: the primary cannot.
        """
        channel = self.connection.listen(request)
        asked: asyncio.Future[Listener] = asyncio.get_running_loop().create_future()
        opened = self.connection.channels[channel]
        self._listens[channel] = (
            asked,
            opened.credit if isinstance(opened, ListenerChannel) else 1,
        )
        self._kick()
        try:
            return await asked
        except asyncio.CancelledError:
            self.connection.listen_close(channel)
            self._kick()
            raise
        finally:
            self._listens.pop(channel, None)

    # ------------------------------------------------------------------------------ life cycle

    def serving(self, **info: object) -> None:
        """Call the application ready for work."""
        self.connection.serving(info)
        self._kick()

    def leave(self, reason: int = 0) -> None:
        """Ask the primary to be stopped."""
        self.connection.leave(reason)
        self._kick()

    def log(self, level: int, text: str, logger: str = "awp") -> None:
        """Send a log record to the primary: level 10 debug, 20 info, 30 warning, 40 error."""
        self.connection.log(level, time.time(), logger, text)
        self._kick()

    def interrupt_calls(self, code: str = Code.NOT_HANDLED) -> None:
        """End the tasks that work on calls: those get that error.

        `stopping` is for those of which nothing was done: their callers may ask somebody else.
        """
        for message in list(self._open.values()):
            message.interrupt(code)

    # -------------------------------------------------------------------- for its other parts

    def _kick(self) -> None:
        if self._transport is not None:
            self._transport.kick()

    async def until(self, happened: asyncio.Event) -> None:
        """Wait for that, or for the end of the connection."""
        assert self._transport is not None
        waits = [asyncio.ensure_future(one.wait()) for one in (happened, self._transport.closed)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
        if not happened.is_set():
            raise ConnectionLost

    def send_reply(self, channel: int, body: object) -> None:
        """Answer a call."""
        self.connection.reply(channel, body, lambda _number: None)
        self._kick()

    def send_error(self, channel: int, error: Mapping[str, object]) -> None:
        """Answer a call with an error."""
        self.connection.error(channel, error)
        self._kick()

    def forget(self, channel: int) -> None:
        """A call has its answer."""
        self._open.pop(channel, None)

    def drop(self, channel: int) -> None:
        """A call was disposed of without an answer."""
        self.send_error(channel, error_map(Code.NOT_HANDLED, "nobody answered"))

    def decide(
        self,
        channel: int,
        numbers: Iterable[int],
        *,
        taken: bool,
        on_written: Callable[[], None] | None = None,
    ) -> bool:
        """Take or give back connections; False if the listener has ended."""
        done = self.connection.decide(channel, numbers, taken=taken, on_written=on_written)
        self._kick()
        return done

    def connection_closed(self, channel: int, closed: int) -> None:
        """One more connection of a listener is closed, so many in all: another may come."""
        self.connection.connection_credit(channel, 1, closed)
        self._kick()

    def listen_close(self, channel: int) -> None:
        """Be done with a port."""
        self._listeners.pop(channel, None)
        self.connection.listen_close(channel)
        self._kick()

    # ------------------------------------------------------------------- what the primary says

    def deliver(self, event: events.Event) -> None:
        """Take what the connection tells."""
        match event:
            case events.Welcome():
                self.config = event.config
                self.welcomed.set()
            case events.TellReceived():
                self._take(event)
            case events.ReplyReceived():
                self._answer(event.channel, event)
            case events.ErrorReceived():
                self._answer(event.channel, RemoteError(event.error))
            case events.Cancelled():
                self._cancelled(event.channel)
            case events.Listening():
                self._listening(event)
            case events.Connections():
                self._arrive(event)
            case events.ListenClosed():
                if event.channel in self._listeners:
                    self._listeners.pop(event.channel).end()
            case events.Undeliverable():
                if self.on_undeliverable is not None:
                    self.on_undeliverable(event)
            case events.SettingsChanged():
                self._settings(event.settings)
            case events.Stop() | events.Goodbye():
                self._stop(event)
            case events.Ended() | events.Aborted() | events.Violated():
                self._over(event)

    def _take(self, event: events.TellReceived) -> None:
        message = Message(self, event)
        if isinstance(event, events.CallReceived):
            self._open[event.channel] = message
        self._mailbox.append(message)
        self._mail.set()

    def _answer(self, channel: int, answer: events.ReplyReceived | RemoteError) -> None:
        waiting: asyncio.Future[events.ReplyReceived] | asyncio.Future[Listener] | None
        waiting = self._calls.pop(channel, None)
        if waiting is None and channel in self._listens:
            waiting = self._listens.pop(channel)[0]
        if isinstance(answer, RemoteError):
            if waiting is not None and not waiting.done():
                waiting.set_exception(answer)
            elif channel in self._listeners:
                self._listeners.pop(channel).end()
        elif isinstance(waiting, asyncio.Future) and not waiting.done():
            waiting.set_result(answer)  # type: ignore[arg-type]  # a REPLY answers a CALL
        else:
            close_all(answer.handles)

    def _cancelled(self, channel: int) -> None:
        message = self._open.get(channel)
        if message is not None:
            message.interrupt(Code.CANCELLED)
            if message in self._mailbox:
                message.fail(Code.CANCELLED, "taken back")  # it stays, to be seen as cancelled

    def _listening(self, event: events.Listening) -> None:
        asked, credit = self._listens.pop(event.channel, (None, 0))
        listener = Listener(self, event, credit)
        if asked is None or asked.done():
            listener.close()
            return
        self._listeners[event.channel] = listener
        asked.set_result(listener)
        if self.stopping.is_set():
            listener.end()

    def _arrive(self, event: events.Connections) -> None:
        listener = self._listeners.get(event.channel)
        if listener is not None:
            listener.arrive(event)
        else:
            close_all(event.handles)

    def _settings(self, settings: Mapping[str, object]) -> None:
        config, level = settings.get("config"), settings.get("log_level")
        if isinstance(config, dict):
            self.config = {**self.config, **config}
        if isinstance(level, int):
            self.connection.log_level = level
        if self.on_settings is not None:
            self.on_settings(settings)

    def _stop(self, event: events.Stop | events.Goodbye) -> None:
        if isinstance(event, events.Stop):
            self.stop = event
        elif self.stop is None:
            self.stop = events.Stop(0.0, event.reason)
        self.said_stop.set()
        if self.stop.deadline is not None:
            seconds = self.stop.deadline
            patience = max(seconds - MARGIN_SECONDS, seconds / 2)
            asyncio.get_running_loop().call_later(patience, self.out_of_time.set)
        self._wind_up()
        if isinstance(event, events.Goodbye):
            self._fail_calls()

    def _over(self, event: events.Ended | events.Aborted | events.Violated) -> None:
        self.end = self.end or event
        self._wind_up()
        self._fail_calls()

    def _wind_up(self) -> None:
        self.stopping.set()
        self._mail.set()
        for listener in self._listeners.values():
            listener.end()

    def _fail_calls(self) -> None:
        """Nobody will answer any more."""
        for channel in [*self._calls, *self._listens]:
            self._answer(channel, ConnectionLost())
        for sent in self._tells:
            if not sent.done():
                sent.set_exception(ConnectionLost())

    def close_mailbox(self) -> None:
        """Take no more: bounce what is there, and what is still to come."""
        self.connection.accepts_messages = False
        while self._mailbox:
            self._give_up(self._mailbox.popleft(), Code.STOPPING, "the worker is stopping")
        for call in list(self._open.values()):
            call.fail(Code.NOT_HANDLED, "the worker is stopping, and was not done")


def _resolver(future: asyncio.Future[int]) -> Callable[[int], None]:
    def resolve(number: int) -> None:
        if not future.done():
            future.set_result(number)

    return resolve


class LogHandler(logging.Handler):
    """Sends records of `logging` to the primary."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self._worker = worker
        self._loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record, from any thread."""
        if not self._loop.is_closed():
            level, text = min(record.levelno, 255), self.format(record)
            self._loop.call_soon_threadsafe(self._worker.log, level, text, record.name)
