"""Connection: bytes and descriptors in, events out, and back; no I/O.

Runs in: both

Theory of operation
===================

The shell reads the socket and hands over what it got: `Connection.receive` returns what the peer
said. The shell says something with one of the ``send_`` methods, which only queue, and then
writes what `Connection.data_to_send` gives. In between nothing happens: no clock, no callback,
no task. What the protocol answers by itself (PING, SETTINGS, what is unknown, broken, refused
or bounced) is answered by the same means, so after every `receive` there may be something to
send.

Each descriptor that comes in leaves exactly once: inside a handle in an event, or through
`take_discarded`, for the shell to close.

When the peer breaks a rule, `receive` raises `RemoteProtocolError`, and never anything else. An
ABORT is queued by then, the connection is closed, and `take_events` has what was still good.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import attrs

from ..errors import RemoteProtocolError
from ._generated import State
from .batches import Batch
from .dispatch import Dispatch
from .events import Event
from .runs import ALL, Frame

__all__ = ["Batch", "Connection", "ConnectionStatistics"]


@final
@attrs.frozen(kw_only=True)
class ConnectionStatistics:
    """A snapshot of one connection.

    Attributes:
        state: where this end stands.
        sent: messages of ours so far.
        unacknowledged: how many of them the peer has not reported as handled.
        available: credit left to send more.
        received: messages of the peer so far.
        owed: credit that is due to the peer and not sent yet.
        calls: our calls without an answer.
        inbound_calls: the peer's calls that we have not answered.
        listeners: open listener channels.
        partial: bytes of unfinished messages.
    """

    state: State
    sent: int
    unacknowledged: int
    available: int
    received: int
    owed: int
    calls: int
    inbound_calls: int
    listeners: int
    partial: int


@final
class Connection(Dispatch):
    """One end of the protocol.

    Args:
        role: "worker" or "primary".
        limits: what this side can receive, where it differs from the defaults.
        capabilities: those that this side offers.
        handle_names: names of the handle kinds that this side takes.
        handles: how handles are described and built.
        refs: how refs are described and built; None: there are none.
        gather: report runs of plain messages as `TellsReceived`, which costs much less.

    Attributes:
        role: as given.
        limits: what this side enforces now.
        peer_limits: what the peer can receive; the defaults until it has said so.
        capabilities: those in force; none before WELCOME.
    """

    # ---- in -------------------------------------------------------------------------------

    def receive_descriptors(self, fds: Sequence[int], truncated: bool) -> None:
        """Take in what one read of the socket brought beside the bytes.

        For a shell that reads several times before it hands over the bytes of all these reads:
        the descriptors come first, in the order of the reads. See `receive` for the arguments.
        """
        self._descriptors.add(fds, truncated)

    def receive(
        self,
        data: bytes | bytearray | memoryview,
        fds: Sequence[int] = (),
        truncated: bool = False,
        *,
        most: int = ALL,
    ) -> list[Event]:
        """Take in what one read of the socket gave.

        Args:
            data: the bytes; not needed any more when this returns, but for `unread`.
            fds: descriptors that came with them, owned by the connection from now on.
            truncated: whether the kernel dropped descriptors (``MSG_CTRUNC``).
            most: about so many frames are taken, plain messages apart; see `unread`.

        Returns:
            what the peer said, in order.

        Raises:
            RemoteProtocolError: the peer broke the protocol. The connection is closed, with an
                ABORT still to be sent; `take_events` has what came before the fault.
        """
        if fds or truncated:
            self._descriptors.add(fds, truncated)
        fault: RemoteProtocolError | None = None
        try:
            if self._machine.state is not State.CLOSED:
                self._check_answers()
                frames, fault = self._cut(data, most)
                self._dispatch(frames)
                if not self.unread:
                    self._check_descriptors()
                self._acknowledge_handles()
        except RemoteProtocolError as exc:
            fault = exc
        if self._machine.state is State.CLOSED:
            self._reader.unread = memoryview(b"")
            self._drop_everything_inbound()
        elif fault is not None:
            self.abort(fault.code, str(fault))
            raise fault
        return self.take_events()

    @property
    def unread(self) -> memoryview:
        """What of the bytes was not taken in yet: they come first in the next `receive`.

        It is a part of what that was given, so they have to stay there until then.
        """
        return self._reader.unread

    def fitting(self, most: int) -> int:
        """How much to read next of at most so many bytes, to have as little as possible copied."""
        return self._reader.fitting(most)

    def place(self) -> memoryview | None:
        """Where to read to first: a long piece of a message is expected that belongs there.

        It may be used or not; for all that is read there, `placed` has to be called.
        """
        return self._reader.place(self._reassembly.find_place)

    def placed(self, count: int) -> None:
        """So many bytes were read to their `place`, before those that `receive` is given next."""
        self._reader.placed(count)

    def _cut(
        self, data: bytes | bytearray | memoryview, most: int
    ) -> tuple[list[Frame], RemoteProtocolError | None]:
        """Cut the stream into frames; also those before a fault count."""
        try:
            return self._reader.feed(data, most), None
        except RemoteProtocolError as exc:
            return self._reader.take_frames(), exc

    def receive_eof(self) -> bool:
        """Take in the end of the stream; True when it was an orderly one."""
        orderly = self._machine.received_eof()
        self._drop_everything_inbound()
        return orderly

    def take_events(self) -> list[Event]:
        """What `receive` had found before it raised."""
        events, self._events = self._events, []
        return events

    def take_discarded(self) -> list[int]:
        """Take the descriptors that nobody owns any more. The caller must close them."""
        return self._descriptors.take_discarded()

    # ---- out ------------------------------------------------------------------------------

    def data_to_send(self, limit: int = 262144) -> list[Batch]:
        """Take about ``limit`` bytes of what is queued. There may be more, see `wants_to_send`.

        What is taken counts as sent: the caller keeps what it cannot write yet.
        """
        return self._outbox.take(limit)

    def urgent_to_send(self) -> bytes:
        """Take the urgent frames that are queued, which overtake everything; maybe none."""
        return self._outbox.take_urgent()

    def wants_to_send(self) -> bool:
        """Whether `data_to_send` would give anything now."""
        return bool(self._outbox)

    def has_unsent(self) -> bool:
        """Like `wants_to_send`, but counts frames that wait for handles to be acknowledged."""
        return not self._outbox.is_empty

    def take_unsent_handles(self) -> list[Any]:
        """Drop everything that is queued, at the end; returns handles that were never sent."""
        unsent = self._unsent + self._outbox.clear()
        self._unsent = []
        return unsent

    def statistics(self) -> ConnectionStatistics:
        """Count what there is."""
        return ConnectionStatistics(
            state=self.state,
            sent=self._deliveries.sent,
            unacknowledged=self.unacknowledged,
            available=self.available,
            received=self._arrivals.received,
            owed=self._inbound_window.owed,
            calls=len(self._calls),
            inbound_calls=len(self._inbound_calls),
            listeners=len(self._listeners),
            partial=self._reassembly.held,
        )
