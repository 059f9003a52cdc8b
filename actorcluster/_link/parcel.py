"""One message on its way out: encoded, with its handles still the caller's until it is queued.

Runs in: both

Encoding happens first and changes nothing, so everything that can be wrong with a body is raised
while the caller still owns its handles. Queueing is one step without a checkpoint: duplicate the
kept handles (which may fail, and then nothing has happened), move the others, queue the frame.
"""

from __future__ import annotations

from typing import Any, final

import attrs

from ..wire.connection import Connection
from ..wire.values import Encoded
from .handles import Handle, Staged, commit_all, stage

__all__ = ["Parcel"]


@final
class Parcel:
    """A message, a call or a reply before it is queued.

    Args:
        connection: that will carry it.
        body: a body value; may hold `Handle` objects.
        handle: anything that `Handle.of` takes, or None.
        keep_open: keep the caller's own copy of every handle of the message.
        call: it will be a call.

    Raises:
        TypeError: the body cannot be sent; the text names the place in it.
        MessageTooLarge: it exceeds what the peer takes.
        HandleError: a handle is of a kind that the peer does not take.
        trio.ClosedResourceError: a handle was moved or closed already.
    """

    __slots__ = ("_connection", "_encoded", "_keep_open", "_meta", "charge")

    def __init__(
        self,
        connection: Connection,
        body: Any,
        handle: Any = None,
        *,
        keep_open: bool = False,
        call: bool = False,
    ) -> None:
        self._connection = connection
        self._keep_open = keep_open
        beside = handle
        if handle is not None and not isinstance(handle, Handle):
            beside = stage(handle, keep_open=keep_open)
        self._encoded = connection.encode(body, beside)
        self._meta = None if handle is None else {"handle": 0}
        # The envelope of a call holds its deadline, whose size does not depend on its value.
        self.charge = connection.charge(self._encoded, meta=self._meta, ttl=0.0 if call else None)

    def tell(self, **address: Any) -> None:
        """Queue it as a plain message."""
        self._connection.send_tell(self._take_handles(), meta=self._meta, **address)

    def call(self, *, ttl: float | None, **address: Any) -> int:
        """Queue it as a call; returns the channel of the answer."""
        return self._connection.send_call(self._take_handles(), meta=self._meta, ttl=ttl, **address)

    def reply(self, channel: int) -> None:
        """Queue it as the answer on ``channel``."""
        self._connection.send_reply(channel, self._take_handles(), meta=self._meta)

    def _take_handles(self) -> Encoded:
        """Make the handles the link's own: duplicates when they are kept, else moved."""
        encoded = self._encoded
        if not encoded.handles:
            return encoded
        owned = commit_all(
            [
                one if isinstance(one, Staged) else stage(one, keep_open=self._keep_open)
                for one in encoded.handles
            ]
        )
        return attrs.evolve(encoded, handles=owned)
