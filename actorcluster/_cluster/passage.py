"""One message that the primary passes on, from its arrival until it is queued, answered or refused.

Runs in: primary

It goes on by what its two stations tell it, and never waits itself; see `relay`.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from typing import Any, Final, Protocol, final

from .._link.channel import Channel
from .._link.parcel import NoRoomForHandles, Parcel
from .._link.waits import Posting, Question
from .._link.writing import close_all
from .._worker.message import deadline_of, explicit_handle
from .._worker.peer import Peer
from .._worker.ref import main_actor
from ..errors import (
    HandleError,
    LocalProtocolError,
    MessageTooLarge,
    NoSuchActor,
    PeerClosed,
)
from ..wire._generated import ErrorCode
from ..wire.events import CallReceived, ErrorReceived, TellReceived

__all__ = [
    "HERE",
    "Awaited",
    "Call",
    "Directory",
    "Find",
    "Passage",
    "Room",
    "Seeker",
    "Station",
    "Tell",
    "error_for",
    "further",
    "give_back",
]

log = logging.getLogger("actorcluster.worker")

#: Messages in the order in which they came, whatever their targets live through meanwhile.
_TICKETS: Final = itertools.count()

#: Meta keys that are about one hop, and are not passed on.
_OF_ONE_HOP: Final = frozenset({"ttl", "handle", "name"})

#: Of a longer one only the beginning comes back: the answer has to fit into a frame.
_LONGEST_NAME: Final = 1024

#: This process in the ``path`` of an error.
HERE: Final = main_actor(0)


class Station(Protocol):
    """A worker, as what comes from it or goes to it knows it.

    Attributes:
        life: the worker's.
    """

    life: Peer

    def begun(self, call: Awaited | Room) -> None:
        """Others work on a call of this worker."""

    def ended(self, call: Awaited | Room) -> None:
        """They do not any more."""

    def left(self, passage: Passage | Room, to: int | str) -> None:
        """A message of this worker's is held no more."""

    def remember(self, number: int, source: Peer, event: TellReceived) -> None:
        """A message of somebody else's was queued for this worker."""


class Seeker(Protocol):
    """Waits for somebody of a name.

    Attributes:
        ticket: the smaller, the earlier it has come.
    """

    ticket: int

    def found(self, target: Station | PeerClosed) -> None:
        """There is somebody, or will not be."""


class Directory(Protocol):
    """Knows who has which name or id."""

    def find(self, to: int | str) -> Station | None:
        """Give the worker meant; None: there is none just now, but `when_there` will tell.

        Raises:
            NoSuchActor: there never was one.
            PeerClosed: it is gone.
        """

    def when_there(self, to: str, seeker: Seeker) -> None:
        """Tell the seeker when there is a worker of that name again, or will be none any more."""

    def nevermind(self, to: str, seeker: Seeker) -> None:
        """It waits no longer. Nothing happens if it does not wait."""


class Passage:
    """One message on its way from one worker to another."""

    def __init__(
        self,
        event: TellReceived | CallReceived,
        source: Station,
        directory: Directory,
        target: Station | None,
    ) -> None:
        assert source.life.channel is not None
        self._event: Any = event
        self._source = source
        self._from: Channel = source.life.channel
        self._directory = directory
        self._to = target
        self.ticket = next(_TICKETS)
        self._posting: Posting | None = None
        self._over = False
        #: the primary holds it no more.
        self.has_left = False
        #: it stands in the lane of its address.
        self.is_in_lane = False

    @property
    def _target(self) -> Station:
        assert self._to is not None
        return self._to

    def begin(self) -> None:
        """Go as soon as the target takes mail, or it turns out that it never will."""
        self._go_to(self._to)

    def _go_to(self, target: Station | None) -> None:
        self._to = target
        if target is None:
            self._directory.when_there(self._event.to, self)
        else:
            target.life.when_sendable(self._go)

    def found(self, target: Station | PeerClosed) -> None:
        """See `Seeker`."""
        if self._over:
            return
        if isinstance(target, PeerClosed):
            self._refuse(target)
        else:
            self._go_to(target)

    def _go(self) -> None:
        if self._over:
            return
        try:
            channel = self._target.life.channel_or_raise()
            parcel = self._parcel(channel)
        except PeerClosed as exc:
            if not self._goes_to_next():
                self._refuse(exc)
            return
        except Exception as exc:  # noqa: BLE001  (it is the sender's, and goes back to it)
            self._refuse(exc)
            return
        self._posting = Posting(parcel, lambda: self._commit(channel, parcel), self._went)
        channel.post(self._posting)

    def _goes_to_next(self) -> bool:
        """The target went before it took this; go to who has its name next, if there is anybody."""
        try:
            target = self._directory.find(self._event.to)
        except (NoSuchActor, PeerClosed):
            return False
        if target is self._to:
            return False
        self._go_to(target)
        return True

    def _refuse(self, exc: Exception) -> None:
        self._leave()
        self._fail(error_for(exc))

    def _parcel(self, channel: Channel) -> Parcel:
        event, life = self._event, self._source.life
        meta = {key: value for key, value in event.meta.items() if key not in _OF_ONE_HOP}
        meta["name"] = life.options.name
        sender = event.sender
        if sender is None:
            sender = main_actor(life.worker_id)
        return Parcel(
            channel.connection,
            event.body,
            explicit_handle(event.handles, event.meta),
            call=isinstance(event, CallReceived),
            address={"sender": sender, "meta": meta},
            share=channel.connection.share,
        )

    def _commit(self, channel: Channel, parcel: Parcel) -> None:
        raise AssertionError("abstract")

    def _went(self) -> None:
        """It is queued for the target now, or never will be."""
        assert self._posting is not None
        error = self._posting.error
        self._posting = None
        if isinstance(error, PeerClosed) and self._goes_to_next():
            return
        self._leave()
        if error is not None:
            self._fail(error_for(error))

    def _leave(self) -> None:
        """The sender gets its room back, and handles that nobody took are closed."""
        close_all(self._event.handles)
        self._event.body = None
        self._from.release(self._event.charge, len(self._event.handles))
        self.has_left = True
        if self.is_in_lane:
            self._source.left(self, self._event.to)

    def _fail(self, error: Mapping[str, Any]) -> None:
        raise AssertionError("abstract")


@final
class Tell(Passage):
    """A plain message."""

    def _commit(self, channel: Channel, parcel: Parcel) -> None:
        number = channel.post_tell(parcel)
        self._target.remember(number, self._source.life, self._event)

    def _fail(self, error: Mapping[str, Any]) -> None:
        give_back(self._source.life, self._event.number, self._event.to, error)


class Awaited(Passage):
    """A message whose sender waits."""

    def begin(self) -> None:
        self._source.begun(self)
        self._from.asked(self._event.channel, self)
        super().begin()

    def withdraw(self) -> None:
        """Nobody waits for the answer any more."""
        if self._to is None:
            self._directory.nevermind(self._event.to, self)
        self._leave()
        self._fail({"code": str(ErrorCode.CANCELLED), "message": "withdrawn before it was begun"})

    def _fail(self, error: Mapping[str, Any]) -> None:
        try:
            self._from.pass_error(self._event.channel, error)
        except Exception:
            # It is said while another worker's frame is read, who has no part in it and must not
            # end for it.
            name = self._source.life.options.name
            log.exception("no answer to the ask %d of worker %s", self._event.channel, name)
        self._end()

    def _end(self) -> None:
        self._over = True
        self._source.ended(self)


@final
class Find(Awaited):
    """The question who it is that has an address; it is for the primary alone."""

    def _go(self) -> None:
        if self._over:
            return
        life = self._target.life
        try:
            life.channel_or_raise()
        except PeerClosed as exc:
            if not self._goes_to_next():
                self._refuse(exc)
            return
        self._leave()
        aid = main_actor(life.worker_id)
        self._from.reply(self._event.channel, aid, None, keep_open=False)
        self._end()


@final
class Call(Awaited):
    """A message that the target answers."""

    def __init__(
        self,
        event: CallReceived,
        source: Station,
        directory: Directory,
        target: Station | None,
    ) -> None:
        super().__init__(event, source, directory, target)
        self._deadline = deadline_of(event)
        self._question = Question(self._answered)
        self._number: int | None = None

    def _commit(self, channel: Channel, parcel: Parcel) -> None:
        self._number = channel.post_call(parcel, self._deadline, self._question)

    def withdraw(self) -> None:
        channel = None if self._to is None else self._to.life.channel
        if self._number is not None:  # it works on it; its answer ends the call, whatever it is
            assert channel is not None
            channel.connection.send_cancel(self._number)
            channel.flush()
            return
        if self._posting is not None:
            assert channel is not None
            posting, self._posting = self._posting, None
            channel.take_back(posting)
        super().withdraw()

    def _answered(self) -> None:
        question, number = self._question, self._event.channel
        answer = question.answer
        if answer is None:
            # It had begun, so this must not sound like a refusal.
            self._fail({"code": str(ErrorCode.CONNECTION_LOST), "message": str(question.error)})
        elif isinstance(answer, ErrorReceived):
            self._fail(further(answer.error))
        else:
            try:
                handle = explicit_handle(answer.handles, answer.meta)
                self._from.reply(number, answer.body, handle, keep_open=False, passed_on=True)
            except Exception as exc:  # noqa: BLE001  (it is the sender's, and goes to it)
                self._fail(further(error_for(exc)))  # of the answer, not of what was asked
            close_all(answer.handles)  # those that the answer holds nowhere
            self._end()


@final
class Room:
    """The question whether all that its sender sent to an address before it has left."""

    def __init__(self, event: CallReceived, source: Station) -> None:
        assert source.life.channel is not None
        self._event: Any = event
        self._source = source
        self._from: Channel = source.life.channel

    def begin(self, lane: dict[Passage | Room, None] | None) -> None:
        """Answer, now or when the last in the lane has left."""
        self._source.begun(self)
        self._from.asked(self._event.channel, self)
        if lane:
            lane[self] = None
        else:
            self.settle()

    def settle(self) -> None:
        """It has."""
        self._end()
        self._from.reply(self._event.channel, None, None, keep_open=False)

    def withdraw(self) -> None:
        """Nobody waits for the answer any more."""
        self._source.left(self, self._event.to)
        self._end()
        error = {"code": str(ErrorCode.CANCELLED), "message": "withdrawn"}
        self._from.pass_error(self._event.channel, error)

    def _end(self) -> None:
        close_all(self._event.handles)
        self._from.release(self._event.charge, len(self._event.handles))
        self._source.ended(self)


def error_for(exc: BaseException) -> dict[str, Any]:
    """Say as an error map why a message could not be passed on."""
    code, data = ErrorCode.BAD_PAYLOAD, None
    if isinstance(exc, PeerClosed):
        code = ErrorCode.STOPPING if exc.status is None else ErrorCode.CONNECTION_LOST
    elif isinstance(exc, MessageTooLarge):
        code, data = ErrorCode.TOO_LARGE, {"size": exc.size, "limit": exc.limit}
    elif isinstance(exc, NoRoomForHandles):
        code = ErrorCode.MAILBOX_FULL
    elif isinstance(exc, HandleError):
        code = ErrorCode.UNSUPPORTED_HANDLE
    elif isinstance(exc, LocalProtocolError):  # the target knows no calls, for example
        code = ErrorCode.UNIMPLEMENTED
    error: dict[str, Any] = {"code": str(code), "message": str(exc)}
    return error if data is None else error | {"data": data}


def further(error: Mapping[str, Any]) -> dict[str, Any]:
    """Add this process to those that an error came by."""
    path = error.get("path")
    return {**error, "path": [HERE, *(path if isinstance(path, list) else ())]}


def give_back(source: Peer, number: int, to: int | str | None, error: Mapping[str, Any]) -> None:
    """Give a plain message back to its sender."""
    assert source.channel is not None
    to = to[:_LONGEST_NAME] if isinstance(to, str) else to
    source.connection.send_undeliverable(number, to, error)
    source.channel.flush()
