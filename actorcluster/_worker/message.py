"""Messages and asks as their receiver holds them; each ask gets exactly one answer.

Runs in: both
"""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, Final, Protocol, Self, final

import trio
from trio.lowlevel import checkpoint_if_cancelled

from .._link.channel import Channel
from .._link.handles import Handle
from .._link.staging import with_head
from ..errors import LocalProtocolError
from ..wire._generated import ErrorCode
from ..wire.events import CallReceived, CallsReceived, TellReceived

__all__ = [
    "Ask",
    "Asked",
    "Message",
    "Plain",
    "bounce",
    "deadline_of",
    "explicit_handle",
    "handle",
    "plain_asks",
    "plain_messages",
    "withdraw",
]

log = logging.getLogger("actorcluster.actor")

#: Deadline of an ask whose asker gave up before anybody worked on it.


class Asked(Protocol):
    """What is told that its asker gave up, see `Channel.asked`."""

    def withdraw(self) -> None: ...


class Holder(Protocol):
    """A mailbox, as an ask in it sees it."""

    def _take_back(self, ask: Ask) -> None: ...


class Message:
    """One message; leaving ``with message:`` disposes of it.

    An ask's block is a cancel scope that follows the asker: it is cancelled when the asker gives
    up and at the asker's deadline. Leaving it unanswered turns an ask into `NotHandled` at the
    asker at once; an exception becomes ``fail(exc)`` and goes on up; handles nobody took are
    closed with a ``ResourceWarning``.

    Attributes:
        body: what was sent.
        sender: a `Ref` to the life that sent it.
        deadline: the asker's deadline on this process's ``trio.current_time()``, or ``inf``.
    """

    __slots__ = (
        "__weakref__",
        "_channel",
        "_charge",
        "_event",
        "_is_special",
        "_was_entered",
        "body",
        "sender",
    )

    deadline = math.inf
    #: whether it was taken out of the middle of its mailbox and left a gap there.
    _is_gap = False

    def __init__(self, event: TellReceived | CallReceived, channel: Channel, sender: Any) -> None:
        self._event = event
        self.body = event.body
        #: the window bytes it holds while it is in a mailbox.
        self._charge = event.charge
        self._channel = channel
        #: whether more is to be done when it leaves its mailbox than to give its room back: it has
        #: handles, or is a gap.
        self._is_special = bool(event.handles)
        #: whether its block was entered.
        self._was_entered = False
        self.sender = sender

    @property
    def handle(self) -> Handle | None:
        """The handle given as ``handle=``, None when there was none."""
        handle: Handle | None = explicit_handle(self._event.handles, self._event.meta)
        return handle

    @property
    def is_ask(self) -> bool:
        """Whether the sender waits for `reply`."""
        return False

    @property
    def _handles_waiting(self) -> int:
        return len(self._event.handles) if self._is_special and not self._is_gap else 0

    async def reply(
        self, body: Any, handle: Any = None, *, head: bytes = b"", keep_open: bool = False
    ) -> None:
        """Answer an ask. Nothing happens when the asker is gone.

        Args:
            body: a body value; may hold `Handle` objects.
            handle: instead of a body: anything that `Handle.of` takes; the ask returns it.
            head: what you have read from that stream already; see `Worker.send`.
            keep_open: keep your own copy of every handle of the answer.

        Raises:
            LocalProtocolError: the message is a plain send, or was answered already.
            TypeError: the body cannot be sent; or there is a body and a handle beside it, of
                which an ask could return only one.
            MessageTooLarge: it exceeds the asker's ``max_message``; another answer may still be
                given. Where this ends the block, the ask ends in `RemoteError` ``too_large``.

        Cancellation:
            Nothing was sent; the message is still yours to answer.
        """
        raise LocalProtocolError("a plain send has nobody waiting for a reply")

    def fail(self, exc: BaseException) -> None:
        """Answer an ask with a failure; see `reply` for what it refuses."""
        raise LocalProtocolError("a plain send has nobody waiting for a reply")

    def __enter__(self) -> Self:
        if self._was_entered:
            raise RuntimeError("a message's block can be entered once")
        self._was_entered = True
        self._channel.messages_open += 1
        return self

    def __exit__(  # type: ignore[exit-return]  # an ask's block does absorb
        self, kind: Any, exc: BaseException | None, traceback: Any
    ) -> bool:
        self._channel.messages_open -= 1
        self._drop_unclaimed()
        return False

    def _drop_unclaimed(self) -> None:
        for handle in self._event.handles:
            if not handle.closed:
                try:
                    text = f"{handle!r} of a message was left unclaimed"
                    warnings.warn(text, ResourceWarning, stacklevel=3, source=handle)
                finally:
                    handle.close()

    # ---- what the mailbox does with it ----------------------------------------------------

    def _leave(self) -> None:
        """It leaves its mailbox: its sender gets the room back."""
        self._channel.release(self._charge, len(self._event.handles))

    def _discard(self) -> None:
        """Nobody will ever read it."""
        for handle in self._event.handles:
            handle.close()
        self.body = self._event.body = None  # it may stand in a queue for a while, as a gap

    def __repr__(self) -> str:
        return f"<{'ask' if self.is_ask else 'message'} {self.body!r:.60}>"


@final
class Plain(Message):
    """A send without handles and address. Nearly all messages are; see `plain_messages`."""

    __slots__ = ()

    __init__ = object.__init__  # one of ours costs as much as the rest
    _is_special = False

    @property
    def handle(self) -> None:
        return None

    def __exit__(  # type: ignore[exit-return]  # an ask's block does absorb
        self, kind: Any, exc: BaseException | None, traceback: Any
    ) -> bool:
        self._channel.messages_open -= 1
        return False

    def _leave(self) -> None:
        self._channel.release(self._charge)

    def _discard(self) -> None:
        pass


def plain_messages(
    bodies: Sequence[Any], charges: Sequence[int], channel: Channel, sender: Any
) -> list[Message]:
    """Make the messages of a run."""
    messages: list[Message] = []
    add = messages.append
    for body, charge in zip(bodies, charges, strict=True):
        message = Plain()
        message.body = body
        message.sender = sender
        message._channel = channel
        message._charge = charge
        message._was_entered = False
        add(message)
    return messages


@final
class Ask(Message):
    """A message whose sender waits. Keeps the promise of exactly one answer."""

    __slots__ = ("_is_gap", "_mailbox", "_number", "_scope", "deadline", "withdrawn")

    def __init__(self, event: CallReceived, channel: Channel, sender: Any) -> None:
        super().__init__(event, channel, sender)
        self._is_gap = False
        #: whether the asker gave up.
        self.withdrawn = False
        #: of its block.
        self._scope: trio.CancelScope | None = None
        #: where it waits to be received, if it still does.
        self._mailbox: Holder | None = None
        self._number = event.channel
        self.deadline = deadline_of(event) if event.meta else math.inf
        channel.asked(event.channel, self)

    @property
    def is_ask(self) -> bool:
        return True

    @property
    def answered(self) -> bool:
        """Whether it was answered, one way or another."""
        # By who it is: once it is answered, its number may be another one's.
        return self._channel.unanswered_ask(self._number) is not self

    async def reply(
        self, body: Any, handle: Any = None, *, head: bytes = b"", keep_open: bool = False
    ) -> None:
        if handle is not None and body is not None:
            raise TypeError(
                "an ask returns one value: put the handle into the body, or give None as the body"
            )
        if head:
            handle = with_head(handle, head)
        channel = self._channel
        pace = channel.pace
        # What `Pace.step` does, in one piece.
        pace.left -= 1
        if pace.left < 0 or perf_counter() > pace.until:
            await trio.lowlevel.checkpoint()
            pace.restart()
        else:
            await checkpoint_if_cancelled()
        channel.check_unanswered(self._number, self)
        channel.reply(self._number, body, handle, keep_open=keep_open)

    def answer(self, body: Any, handle: Any = None, *, keep_open: bool = False) -> None:
        """What `reply` does, without a checkpoint."""
        self._channel.check_unanswered(self._number, self)
        self._channel.reply(self._number, body, handle, keep_open=keep_open)

    def fail(self, exc: BaseException) -> None:
        self._channel.check_unanswered(self._number, self)
        self._channel.fail(self._number, exc)

    def __enter__(self) -> Self:
        super().__enter__()
        self._scope = trio.CancelScope(deadline=-math.inf if self.withdrawn else self.deadline)
        self._scope.__enter__()
        return self

    def __exit__(self, kind: Any, exc: BaseException | None, traceback: Any) -> bool:
        assert self._scope is not None
        self._channel.messages_open -= 1
        try:
            self._dispose(exc)
            self._drop_unclaimed()
        finally:  # its warning may be an error, and the scope must be left all the same
            absorbed = self._scope.__exit__(kind, exc, traceback)
        return bool(absorbed)

    def withdraw(self) -> None:
        if self._scope is not None:
            self._scope.cancel()
        self.withdrawn = True  # its block, if it is entered later, begins cancelled
        if self._mailbox is not None:
            self._mailbox._take_back(self)

    def _leave(self) -> None:
        self._mailbox = None
        super()._leave()

    def _dispose(self, exc: BaseException | None) -> None:
        if self.answered:
            return
        if exc is None or _is_cancellation(exc):
            self._channel.refuse(
                self._number, self._why_unanswered, "its block ended without an answer"
            )
        else:
            self.fail(exc)

    @property
    def _why_unanswered(self) -> ErrorCode:
        if self.withdrawn:
            return ErrorCode.CANCELLED
        if self._scope is not None and self._scope.cancel_called:
            return ErrorCode.DEADLINE_EXCEEDED
        return ErrorCode.NOT_HANDLED

    def _discard(self) -> None:
        if not self.answered:
            code = ErrorCode.CANCELLED if self.withdrawn else ErrorCode.STOPPING
            self._channel.refuse(self._number, code, "it ended before it read that")
        super()._discard()

    def __del__(self) -> None:
        # The last reference is gone and nobody can answer any more. The collector may run in any
        # thread and between any two lines of the link, so this only leaves a note for the loop.
        channel, number = self._channel, self._number
        if (
            channel.token is not None
            and channel.is_unanswered(number)
            and channel.unanswered_ask(number) in (self, None)  # else it is another one's by now
        ):
            with contextlib.suppress(trio.RunFinishedError):
                channel.token.run_sync_soon(_forgotten, channel, number)


#: What an ask has of its event, if there is nothing to be had.
_BARE: Final = CallReceived(None, None, None, (), {}, 0, 0, 0)


def plain_asks(event: CallsReceived, channel: Channel, mailbox: Holder, sender: Any) -> list[Ask]:
    """Make the asks of a run, which wait in a mailbox; see `Ask.__init__`."""
    asks: list[Ask] = []
    new, add = Ask.__new__, asks.append
    for body, charge, number in zip(event.bodies, event.charges, event.channels, strict=True):
        ask = new(Ask)
        ask.body = body
        ask.sender = sender
        ask.deadline = math.inf
        ask.withdrawn = False
        ask._event = _BARE
        ask._charge = charge
        ask._channel = channel
        ask._was_entered = ask._is_gap = ask._is_special = False
        ask._scope = None
        ask._mailbox = mailbox
        ask._number = number
        add(ask)
    channel.asked_all(event.channels, asks)
    return asks


def _forgotten(channel: Channel, number: int) -> None:
    if channel.is_unanswered(number) and channel.unanswered_ask(number) is None:
        channel.refuse(number, ErrorCode.NOT_HANDLED, "forgotten unanswered")


def _is_cancellation(exc: BaseException) -> bool:
    """Whether it is ``trio.Cancelled`` and nothing else, however wrapped."""
    if isinstance(exc, BaseExceptionGroup):
        return exc.split(trio.Cancelled)[1] is None
    return isinstance(exc, trio.Cancelled)


async def handle(message: Message, handler: Callable[[Message], Awaitable[Any]]) -> None:
    """Run a handler inside the message's block; what it returns answers an ask.

    Raises:
        Exception: what the handler raised; an ask was failed with it.
    """
    with message:
        try:
            answer = await handler(message)
        except Exception:
            if isinstance(message, Ask) and message.answered:
                log.exception("a handler failed after it had answered")  # nobody else will hear
            raise
        if isinstance(message, Ask) and not message.answered:
            message.answer(answer)  # here a cancellation would lose the handles in it


def withdraw(channel: Channel, number: int) -> None:
    """The asker on this channel gave up: dispose of the ask, or cancel whoever works on it."""
    ask: Asked | None = channel.unanswered_ask(number)
    if ask is not None:
        ask.withdraw()


def deadline_of(event: CallReceived) -> float:
    """Give the asker's deadline on our clock, whatever the asker may have sent as such."""
    ttl = event.meta.get("ttl")
    if not isinstance(ttl, (int, float)) or math.isnan(ttl):
        return math.inf
    return trio.current_time() + max(ttl, 0) / 1000


def explicit_handle(handles: Sequence[Any], meta: Mapping[str, Any]) -> Any:
    """Give the handle that goes with a message as a whole, None when there is none."""
    index = meta.get("handle")
    return handles[index] if isinstance(index, int) and 0 <= index < len(handles) else None


def bounce(
    event: TellReceived | CallReceived, channel: Channel, code: ErrorCode, text: str
) -> None:
    """Say that a message found no mailbox (AWP-MS-5). Called by the link's reader; never waits."""
    for each in event.handles:
        each.close()
    error = {"code": str(code), "message": text}
    if isinstance(event, CallReceived):
        channel.connection.send_error(event.channel, error)
    else:
        channel.connection.send_undeliverable(event.number, event.to, error)
    channel.release(event.charge, len(event.handles))
    channel.flush()
