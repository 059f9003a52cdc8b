"""Answers to the peer's asks: each of them gets exactly one.

Runs in: both
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import trio

from ..errors import LocalProtocolError, MessageTooLarge
from ..wire._generated import ErrorCode
from ..wire.connection import Connection
from ..wire.events import Event
from .carrier import Carrier
from .failure import failure_map
from .parcel import Parcel
from .pipe import Pipe

__all__ = ["Answering"]

# Ctrl-C between two books that must agree would leave an ask that nobody answers.
_whole = trio.lowlevel.enable_ki_protection


class Answering(Pipe):
    """The part of a channel that answers; see `Pipe` for the arguments."""

    def __init__(
        self, socket: Carrier, connection: Connection, on_event: Callable[[Event], None]
    ) -> None:
        super().__init__(socket, connection, on_event)
        self._unanswered: dict[int, weakref.ref[Any]] = {}
        #: of the loop that serves this channel; None before the first ask.
        self.token: trio.lowlevel.TrioToken | None = None

    def asked(self, channel: int, ask: object) -> None:
        """Note that the peer waits for an answer on ``channel``.

        Args:
            channel: of the call.
            ask: what stands for it here, and for no other; held weakly, so that a forgotten ask
                is noticed.
        """
        self._unanswered[channel] = weakref.ref(ask)
        if self.token is None:
            self.token = trio.lowlevel.current_trio_token()

    def asked_all(self, channels: Iterable[int], asks: Iterable[Any]) -> None:
        """Note the same of many."""
        self._unanswered.update(zip(channels, map(weakref.ref, asks), strict=True))
        if self.token is None:
            self.token = trio.lowlevel.current_trio_token()

    def unanswered_ask(self, channel: int) -> Any:
        """Give back what `asked` was told about, while it is unanswered and alive."""
        reference = self._unanswered.get(channel)
        return None if reference is None else reference()

    def is_unanswered(self, channel: int) -> bool:
        return channel in self._unanswered

    def check_unanswered(self, channel: int, ask: object) -> None:
        """See that it is this ask which waits on ``channel``, and no later one of the same number.

        Raises:
            LocalProtocolError: it was answered.
        """
        if self.unanswered_ask(channel) is not ask:
            raise _answered()

    @property
    def asks_unanswered(self) -> int:
        return len(self._unanswered)

    @_whole
    def reply(
        self, channel: int, body: Any, handle: Any, *, keep_open: bool, passed_on: bool = False
    ) -> None:
        """Answer an ask of the peer. When that is gone, only the handles are closed.

        Args:
            channel: of the ask.
            body: of the answer.
            handle: of the answer as a whole.
            keep_open: keep the caller's own copies.
            passed_on: it is somebody else's answer.
        """
        if channel not in self._unanswered:
            raise _answered()
        try:
            encoded = self.connection.reply(channel, body) if handle is None else None
            if encoded is not None or handle is not None:
                parcel = Parcel(
                    self.connection,
                    body,
                    handle,
                    keep_open=keep_open,
                    encoded=encoded,
                    share=self.connection.share if passed_on else None,
                )
                parcel.reply(channel)
        except MessageTooLarge as exc:
            # The asker learns of it unless another answer is found. A number alone would not do:
            # other workers have asks of the same one, and so may this one later.
            exc._ask = self._unanswered[channel]
            raise
        del self._unanswered[channel]
        self.flush()

    @_whole
    def fail(self, channel: int, exc: BaseException) -> None:
        """Answer an ask of the peer with an exception, as data."""
        error = failure_map(exc)
        if isinstance(exc, MessageTooLarge) and exc._ask is self._unanswered.get(channel):
            error |= {
                "code": str(ErrorCode.TOO_LARGE),
                "data": {"size": exc.size, "limit": exc.limit},
            }
        self.pass_error(channel, error)

    @_whole
    def refuse(self, channel: int, code: ErrorCode, text: str) -> None:
        """Answer an ask of the peer with one of the protocol's own errors."""
        self.pass_error(channel, {"code": str(code), "message": text})

    @_whole
    def refuse_all(self, code: ErrorCode, text: str) -> None:
        """Answer all asks of the peer that are unanswered, see `refuse`."""
        for channel in list(self._unanswered):
            self.refuse(channel, code, text)

    @_whole
    def pass_error(self, channel: int, error: Mapping[str, Any]) -> None:
        """Answer an ask of the peer with an error map."""
        if channel not in self._unanswered:
            raise _answered()
        self.connection.send_error(channel, error)
        del self._unanswered[channel]
        self.flush()


def _answered() -> LocalProtocolError:
    return LocalProtocolError("this ask was answered already")
