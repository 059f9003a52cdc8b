"""One message on its way out: encoded, with its handles still the caller's until it is queued.

Runs in: both

Encoding happens first and changes nothing, so everything that can be wrong with a body is raised
while the caller still owns its handles. Queueing is one step without a checkpoint: duplicate the
kept handles (which may fail, and then nothing has happened), move the others, queue the frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, final

from ..errors import HandleError, MessageTooLarge
from ..wire._generated import HandleKind
from ..wire.connection import Connection
from ..wire.holdings import DescriptorShare
from ..wire.values import Encoded
from .bulk import BULK_FROM, make_bulk
from .handles import Handle, commit_all
from .staging import Staged, stage

__all__ = ["NoRoomForHandles", "Parcel"]

_NIL: Final = b"\xc0"
_MAIN: Final[Mapping[str, Any]] = {}
#: The same with a handle beside the body.
_MAIN_WITH_HANDLE: Final[Mapping[str, Any]] = {"meta": {"handle": 0}}


@final
class NoRoomForHandles(HandleError):
    """The peer takes handles of others so slowly that too many of them wait for it."""


@final
class Parcel:
    """A message, a call or a reply before it is queued.

    Args:
        connection: that will carry it.
        body: a body value; may hold `Handle` objects.
        handle: anything that `Handle.of` takes, or None.
        keep_open: keep the caller's own copy of every handle of the message.
        call: it will be a call.
        is_timed: that call may have a deadline.
        address: ``to``, ``sender`` and ``meta`` of a message that does not go from main actor to
            main actor.
        encoded: the body, if it has been encoded already.
        share: where its handles are entered until the peer has them; those of a message that is
            passed on, for ours are our own affair.

    Attributes:
        is_call: as given.
        size: bytes of the encoded body.
        charge: what it costs the peer's mailbox at most.

    Raises:
        TypeError: the body cannot be sent; the text names the place in it.
        MessageTooLarge: it exceeds what the peer takes.
        HandleError: a handle is of a kind that the peer does not take.
        trio.ClosedResourceError: a handle was moved or closed already.
    """

    __slots__ = (
        "_address",
        "_bulk",
        "_connection",
        "_encoded",
        "_envelope",
        "_is_timed",
        "_share",
        "charge",
        "is_call",
        "size",
    )

    def __init__(
        self,
        connection: Connection,
        body: Any,
        handle: Any = None,
        *,
        keep_open: bool = False,
        call: bool = False,
        is_timed: bool = True,
        address: Mapping[str, Any] = _MAIN,
        encoded: Encoded | None = None,
        share: DescriptorShare | None = None,
    ) -> None:
        self._connection = connection
        self._share = share
        self.is_call = call
        self._is_timed = call and is_timed
        if handle is not None:
            if address:
                address = {**address, "meta": {**address.get("meta", {}), "handle": 0}}
            else:
                address = _MAIN_WITH_HANDLE
            if not isinstance(handle, Handle):
                handle = stage(handle, keep_open=keep_open)
        self._address = address
        if encoded is None:
            encoded = connection.encode(body, handle)
        if encoded.handles and not (len(encoded.handles) == 1 and type(handle) is Staged):
            staged = _staged(encoded.handles, keep_open=keep_open)
            # Before the charge is known: what is kept says so in its part of the envelope.
            entries = connection.describe(staged) if keep_open else encoded.entries
            encoded = Encoded(encoded.payload, staged, entries)
        self._encoded = encoded
        self.size = len(encoded.payload)
        # Of a deadline the size does not depend on the value.
        ttl = 0.0 if self._is_timed else None
        self._envelope = connection.envelope(encoded, ttl=ttl, **address)
        may_be_bulk = self.size >= BULK_FROM and connection.role == "worker"
        self._bulk = self._plan_bulk(ttl) if may_be_bulk else None
        self.weigh()

    def weigh(self) -> None:
        """Find out what it costs, again where the peer's window has changed."""
        connection, encoded = self._connection, self._encoded
        self.charge = connection.charge(encoded, self._envelope)
        if self._bulk is not None:
            self.charge = max(self.charge, connection.charge(encoded, self._bulk, self.size))

    def _plan_bulk(self, ttl: float | None) -> bytes | None:
        """Give the envelope with which the body may go in a memory file; it may cost more then."""
        connection, encoded = self._connection, self._encoded
        if not connection.takes_bulk(len(encoded.handles)):
            return None
        entries = (*encoded.entries, (HandleKind.MEMFD, {}))
        try:
            return connection.envelope(Encoded(_NIL, (), entries), ttl=ttl, **self._bulk_address())
        except MessageTooLarge:
            return None

    def _bulk_address(self) -> dict[str, Any]:
        meta = {**self._address.get("meta", {}), "bulk": {"size": self.size}}
        return {**self._address, "meta": meta}

    def _put_into_file(self) -> Encoded | None:
        """Make the file and take over the handles; None: there is none, and nothing happened."""
        file = make_bulk(self._encoded.payload) if self._bulk is not None else None
        if file is None:
            return None
        try:
            encoded = self._take_handles()
        except BaseException:
            file.close()
            raise
        entries = (*encoded.entries, (HandleKind.MEMFD, {}))
        return Encoded(_NIL, (*encoded.handles, file), entries)

    def tell(self) -> int:
        """Queue it as a plain message; returns its number."""
        if (bulk := self._put_into_file()) is not None:
            return self._connection.send_tell(bulk, bulk=self.size, **self._bulk_address())
        return self._connection.send_tell(self._take_handles(), envelope=self._envelope)

    def call(self, *, ttl: float | None) -> int:
        """Queue it as a call; returns the channel of the answer."""
        if (bulk := self._put_into_file()) is not None:
            ttl = ttl if self._is_timed else None
            address = self._bulk_address()
            return self._connection.send_call(bulk, ttl=ttl, bulk=self.size, **address)
        encoded = self._take_handles()
        if not self._is_timed:
            return self._connection.send_call(encoded, envelope=self._envelope)
        return self._connection.send_call(encoded, ttl=ttl, **self._address)

    def reply(self, channel: int) -> None:
        """Queue it as the answer on ``channel``."""
        if (bulk := self._put_into_file()) is not None:
            self._connection.send_reply(channel, bulk, **self._bulk_address())
        else:
            self._connection.send_reply(channel, self._take_handles(), **self._address)

    def _take_handles(self) -> Encoded:
        """Make the handles the link's own: duplicates when they are kept, else moved."""
        encoded = self._encoded
        if not encoded.handles:
            return encoded
        handles = _commit(encoded.handles, self._share)
        return Encoded(encoded.payload, handles, encoded.entries)


def _commit(staged: tuple[Staged, ...], share: DescriptorShare | None) -> tuple[Handle, ...]:
    if share is None:
        return commit_all(staged)
    count = len(staged)
    if not share.take(count):
        raise NoRoomForHandles(f"no room for {count} more handles that wait for the receiver")
    try:
        handles = commit_all(staged)
    except BaseException:
        share.give_back(count)
        raise
    for handle in handles:
        handle._count_in(share)
    return handles


def _staged(handles: tuple[Any, ...], *, keep_open: bool) -> tuple[Staged, ...]:
    return tuple(
        one if isinstance(one, Staged) else stage(one, keep_open=keep_open) for one in handles
    )
