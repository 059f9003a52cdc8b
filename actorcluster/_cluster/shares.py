"""What one worker has in one shared port, what is told of it, and a connection on its way to one.

Runs in: primary
"""

from __future__ import annotations

import math
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, final

import attrs

from .._link.staging import Sendable
from ..wire._generated import HandleKind, State
from ..wire.connection import Connection
from .balance import NewConnection
from .binding import Address, ListenFds

__all__ = [
    "STUCK_SECONDS",
    "Accepted",
    "ConnectionCounts",
    "Loan",
    "PortClient",
    "PortStatistics",
    "Share",
]

#: Connections that one worker may have and not have taken, however much credit it gives: each of
#: them costs a descriptor here. More than any one burst of clients brings, so that turns are kept.
_MOST_UNTAKEN: Final = 64

#: A worker that takes nothing for so long is not free.
STUCK_SECONDS: Final = 0.5


class PortClient(Protocol):
    """What a port needs to know of a worker."""

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def is_paused(self) -> bool: ...
    @property
    def weight(self) -> float: ...
    def warmth(self, now: float) -> float: ...
    @property
    def connection(self) -> Connection: ...
    @property
    def listen_fds(self) -> ListenFds: ...
    def flush(self) -> None: ...
    def listening(self, address: Address) -> None: ...


@final
@attrs.frozen(kw_only=True)
class ConnectionCounts:
    """What became of the connections that one worker was given on one port.

    Attributes:
        open: it took them and has not closed them; as it says, within a quarter of a second.
        accepted: its ``accept()`` returned them.
        declined: it refused them; others got them.
        dropped: it closed them at once, for it had as many as it may have.
        waiting: dealt to it, and not taken so far.
    """

    open: int = 0
    accepted: int = 0
    declined: int = 0
    dropped: int = 0
    waiting: int = 0


@final
@attrs.frozen(kw_only=True)
class PortStatistics:
    """A snapshot of one shared port.

    Attributes:
        address: as bound.
        policy: how connections are dealt, or `SCHED_NONE`.
        dealt: connections dealt by worker id, those dealt again not counted; of the workers that
            listen here.
        dealt_before: to workers that do not any more, as one number.
        waiting: accepted but with no worker at present.
        unacknowledged: dealt, but not taken by a worker's ``accept()`` so far.
        dealt_again: times a connection was refused, or its worker died, and it was dealt anew.
        timed_out: closed, for it had waited for longer than ``wait_timeout``; so many.
        dropped: closed, for it came while all workers were at their ``max_connections``; so many.
        policy_faults: times a policy of the primary's own failed, and the next in turn was chosen.
        workers: what became of the connections, by worker id; of the workers that listen here.
        peeking: those waiting that have not said enough for a `Peek`, or ``"sticky_peek"``.
        peek_fallbacks: those that did not say enough in time, and went to the next in turn.
        held_by: the supervisors that hold it, see `Listen`.
    """

    address: Address
    policy: str
    dealt: Mapping[int, int]
    dealt_before: int
    waiting: int
    unacknowledged: int
    dealt_again: int
    timed_out: int
    dropped: int
    policy_faults: int
    workers: Mapping[int, ConnectionCounts]
    peeking: int = 0
    peek_fallbacks: int = 0
    held_by: tuple[str, ...] = ()


@final
class Accepted(Sendable):
    """An accepted connection: open until the port and the links that it was lent to are done.

    A link sends the number of the descriptor some time after it was told to, so a worker must not
    be able to make us close it before, whatever it says.

    Args:
        fd: owned from now on; no socket object, whose making costs as much as the accepting.
        entry: kind and meta for the wire.
        facts: what a policy may know of it; None: nothing asks.

    Attributes:
        since: when it was accepted, where it waits only so long.
    """

    since: float

    __slots__ = ("_entry", "_fd", "_lent", "facts", "since")

    def __init__(
        self,
        fd: int,
        entry: tuple[HandleKind, dict[str, Any]],
        facts: NewConnection | None = None,
    ) -> None:
        self._fd = fd
        self._entry = entry
        self.facts = facts
        self._lent = 1  # to the port itself

    def fileno(self) -> int:
        return self._fd

    def describe(self) -> tuple[HandleKind, dict[str, Any]]:
        return self._entry

    def lend(self) -> Loan:
        """Give it to a link, too."""
        self._lent += 1
        return Loan(self)

    def close(self) -> None:
        """The port, or a link, is done with it."""
        self._lent -= 1
        if not self._lent:
            fd, self._fd = self._fd, -1
            socket.close(fd)


@final
class Loan(Sendable):
    """A connection as the link to one worker holds it, until the worker says that it has arrived.

    A worker says so twice: by HANDLE_ACK, which it may forget, and by what becomes of the
    connection. Whichever comes first counts, else it would stay open here when all others have
    closed it, and its client would wait for the end.
    """

    __slots__ = ("_accepted", "_was_sent")

    def __init__(self, accepted: Accepted) -> None:
        self._accepted: Accepted | None = accepted
        self._was_sent = False

    def fileno(self) -> int:
        self._was_sent = True  # nothing else asks for it
        return -1 if self._accepted is None else self._accepted.fileno()

    def describe(self) -> tuple[HandleKind, dict[str, Any]]:
        assert self._accepted is not None  # it is sent at once
        return self._accepted.describe()

    def close(self) -> None:
        """It has arrived, or never will. May be called again."""
        accepted, self._accepted = self._accepted, None
        if accepted is not None:
            accepted.close()

    def decided(self) -> None:
        """The worker has spoken of it: it has arrived, unless that is a lie."""
        if self._was_sent:
            self.close()


@final
@attrs.define(eq=False, repr=False)
class Share:
    """One worker's part in one port.

    Attributes:
        credit: connections that it is ready to be given.
        limit: connections that it may have open; None: as many as come.
        handed: number of the latest connection that it was given.
        taken: connections that it took.
        closed: how many of those are closed, as it says.
        dropped: how many of those it closed because it had too many, as it says.
        declined: connections that it refused.
        untaken: those it has neither taken nor refused, oldest first; ``handed`` is the last.
        loans: what the link holds of those.
        kept: those that are meant for it and wait until it is free.
        moved_at: when it last took one, or was given one while it had none.
        active: whether it gets any more at all.
        paused: whether it refused a moment ago.
        doubtful: whether it has taken none since it refused.
        lead: see `balance.smooth_weighted`.
        weight: its share, for the policy.
    """

    client: PortClient
    channel: int
    credit: int
    limit: int | None = None
    handed: int = 0
    taken: int = 0
    closed: int = 0
    dropped: int = 0
    declined: int = 0
    untaken: deque[Accepted] = attrs.Factory(deque)
    loans: deque[Loan] = attrs.Factory(deque)
    kept: deque[Accepted] = attrs.Factory(deque)
    moved_at: float = -math.inf
    active: bool = True
    paused: bool = False
    doubtful: bool = False
    lead: float = 0.0
    weight: float = 1.0

    @property
    def id(self) -> int:
        return self.client.id

    @property
    def name(self) -> str:
        return self.client.name

    @property
    def open(self) -> int:
        """How many connections it has, those on their way to it included."""
        return self.taken - self.closed + len(self.untaken)

    @property
    def is_there(self) -> bool:
        """Whether it is neither gone nor told to stop."""
        return self.active and self.client.connection.state is State.ACTIVE

    def counts(self, before: ConnectionCounts) -> ConnectionCounts:
        """What became of its connections, added to those of another share of the same worker."""
        return ConnectionCounts(
            open=before.open + self.taken - self.closed,
            accepted=before.accepted + self.taken,
            declined=before.declined + self.declined,
            dropped=before.dropped + self.dropped,
            waiting=before.waiting + len(self.untaken) + len(self.kept),
        )

    def hand_over(self, some: Sequence[Accepted]) -> None:
        """Send the worker the next of those it has not taken.

        Raises:
            ActorClusterError: it takes them not; nothing was done.
        """
        loans = [accepted.lend() for accepted in some]
        try:
            self.client.connection.send_connections(self.channel, self.handed + 1, loans)
        except BaseException:
            for loan in loans:
                loan.close()
            raise
        self.loans.extend(loans)
        self.handed += len(some)

    def next_decided(self) -> Accepted:
        """Take out the oldest that it has not taken, of which it has spoken now."""
        self.loans.popleft().decided()
        return self.untaken.popleft()

    def may_keep(self, now: float, most: float) -> bool:
        """Whether connections may wait for it: it has just so many that it takes no more now."""
        if not self.untaken or self.doubtful or self.paused or len(self.kept) >= most:
            return False
        is_stuck = now - self.moved_at > STUCK_SECONDS
        return self.is_there and not self.client.is_paused and not is_stuck

    def room(self, now: float) -> int:
        """How many connections it takes now."""
        waiting = len(self.untaken)
        client = self.client
        if not self.active or self.paused or client.is_paused:
            return 0
        if client.connection.state is not State.ACTIVE:
            return 0
        if waiting and (self.doubtful or now - self.moved_at > STUCK_SECONDS):
            return 0
        return min(self.credit, 1 if self.doubtful else _MOST_UNTAKEN - waiting)
