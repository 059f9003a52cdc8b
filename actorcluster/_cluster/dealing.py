"""One shared port: connections accepted, dealt to the workers that listen there, dealt again.

Runs in: primary

Theory of operation
===================

*Accepting.* The loop waits until somebody is free, then accepts what is there, at most `_BURST`
or what is taken, and deals. With nobody free or alive nothing is accepted, and the kernel's
backlog holds the clients.

*Dealing* is strictly in turn among those who are free. A worker is free while its credit lasts, as
long as it takes what it is given: one that has taken nothing for `_STUCK_SECONDS` while
connections wait in it (a busy loop, SIGSTOP) gets no more before it has moved. Connections for one
worker go in one frame.

*Holding.* A connection dealt stays open here too until the worker's CONN_REPLY: the worker writes
that when its ``accept()`` returns the connection, before anybody touches it. Refused, or the
listener closed or the channel ended without that reply, it goes to the front of the queue and to
another worker. A reply that was already in the channel is heard first, because the channel is
read to its end before `Port.forget` is called.

*Refusals.* A worker that refuses while it goes on listening has no descriptors left, or no wish. It
is left alone for `_PAUSE_SECONDS` and then tried with one connection at a time until it takes one.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import socket
from collections import deque
from typing import Any, Final, Protocol, final

import attrs
import trio

from .._link.handles import Sendable
from .._worker.accepting import CLIENT_GONE
from ..errors import ActorClusterError, HandleError
from ..wire import events
from ..wire._generated import HandleKind, State
from ..wire.connection import Connection
from .balance import RoundRobin
from .binding import Address, Bound, ListenFds

__all__ = ["Dealer", "PortClient"]

log = logging.getLogger("actorcluster.ports")

#: Connections accepted in one go, so that one busy port cannot starve the primary's other tasks.
_BURST: Final = 64

#: Connections that one worker may have and not have taken, however much credit it gives: each of
#: them costs a descriptor here. More than any one burst of clients brings, so that turns are kept.
_MOST_UNTAKEN: Final = 64

# Ctrl-C in the middle of a deal would leave a connection with two workers, or with none.
_whole = trio.lowlevel.enable_ki_protection

#: A worker that takes nothing for so long is not free.
_STUCK_SECONDS: Final = 0.5

#: How long to leave alone a worker that refused, or a backlog that cannot be accepted from.
_PAUSE_SECONDS: Final = 0.1


class PortClient(Protocol):
    """What a port needs to know of a worker."""

    @property
    def id(self) -> int: ...
    @property
    def connection(self) -> Connection: ...
    @property
    def listen_fds(self) -> ListenFds: ...
    def flush(self) -> None: ...
    def listening(self, address: Address) -> None: ...


@final
class _Accepted(Sendable):
    """An accepted connection: open until the port and the links that it was lent to are done.

    A link sends the number of the descriptor some time after it was told to, so a worker must not
    be able to make us close it before, whatever it says.

    Args:
        fd: owned from now on; no socket object, whose making costs as much as the accepting.
        entry: kind and meta for the wire.
    """

    __slots__ = ("_entry", "_fd", "_lent")

    def __init__(self, fd: int, entry: tuple[HandleKind, dict[str, Any]]) -> None:
        self._fd = fd
        self._entry = entry
        self._lent = 1  # to the port itself

    def fileno(self) -> int:
        return self._fd

    def describe(self) -> tuple[HandleKind, dict[str, Any]]:
        return self._entry

    def lend(self) -> None:
        """One more `close` will follow."""
        self._lent += 1

    def close(self) -> None:
        """The port, or a link, is done with it."""
        self._lent -= 1
        if not self._lent:
            fd, self._fd = self._fd, -1
            socket.close(fd)


@final
@attrs.define(eq=False, repr=False)
class _Share:
    """One worker's part in one port.

    Attributes:
        credit: connections that it is ready to be given.
        handed: number of the latest connection that it was given.
        untaken: those it has neither taken nor refused, oldest first; ``handed`` is the last.
        moved_at: when it last took one, or was given one while it had none.
        active: whether it gets any more at all.
        paused: whether it refused a moment ago.
        doubtful: whether it has taken none since it refused.
    """

    client: PortClient
    channel: int
    credit: int
    handed: int = 0
    untaken: deque[_Accepted] = attrs.Factory(deque)
    moved_at: float = -math.inf
    active: bool = True
    paused: bool = False
    doubtful: bool = False

    def room(self, now: float) -> int:
        """How many connections it takes now."""
        waiting = len(self.untaken)
        if not self.active or self.paused or self.client.connection.state is not State.ACTIVE:
            return 0
        if waiting and (self.doubtful or now - self.moved_at > _STUCK_SECONDS):
            return 0
        return min(self.credit, 1 if self.doubtful else _MOST_UNTAKEN - waiting)


@final
class Dealer:
    """Accepts on one listening socket and deals to the workers that share it.

    Args:
        bound: a listening socket; closed by its owner, after `close`.

    Attributes:
        dealt: connections dealt by worker id, those dealt again not counted; of the workers that
            listen here.
        dealt_before: to those that do not any more.
        dealt_again: times a connection was refused, or its worker died, and it was dealt anew.
    """

    def __init__(self, bound: Bound) -> None:
        self.dealt: dict[int, int] = {}
        self.dealt_before = 0
        self.dealt_again = 0
        self._bound = bound
        inet = bound.socket.family != socket.AF_UNIX
        kind = HandleKind.TCP_SOCKET if inet else HandleKind.UNIX_STREAM
        self._entry: tuple[HandleKind, dict[str, Any]] = (kind, {})
        self._turn: RoundRobin[_Share] = RoundRobin()
        self._shares: dict[tuple[int, int], _Share] = {}
        self._waiting: deque[_Accepted] = deque()
        self._somebody_free = trio.Event()
        self._is_waiting_for_takers = False
        self._refused = trio.Event()
        self._trouble: int | None = None
        self._scope = trio.CancelScope()

    @property
    def waiting(self) -> int:
        """Accepted connections without a worker."""
        return len(self._waiting)

    @property
    def untaken(self) -> int:
        """Connections dealt, and neither taken nor refused so far."""
        return sum(len(share.untaken) for share in self._shares.values())

    def taken(self, worker: int) -> int:
        """How many connections a worker has taken here."""
        untaken = sum(len(one.untaken) for (its, _), one in self._shares.items() if its == worker)
        return self.dealt.get(worker, 0) - untaken

    # ---- workers come and go --------------------------------------------------------------

    def join(self, client: PortClient, channel: int, credit: int) -> None:
        """A worker listens here from now on."""
        share = self._shares[client.id, channel] = _Share(client, channel, credit)
        self._turn.add(share)
        self._deal()

    def retire(self, client: PortClient) -> None:
        """Deal nothing more to a worker; what it has is still its."""
        for (worker, _), share in self._shares.items():
            if worker == client.id:
                self._leave(share)

    def leave(self, client: PortClient, channel: int) -> None:
        """The worker closed its listener, or is gone: what it had not taken goes to others."""
        share = self._shares.pop((client.id, channel))
        self._leave(share)
        self._take_back(share, share.untaken)
        if not any(worker == client.id for worker, _ in self._shares):
            self.dealt_before += self.dealt.pop(client.id, 0)  # else a number for every life
        self._deal()

    def _leave(self, share: _Share) -> None:
        share.active = False
        self._turn.remove(share)

    # ---- what workers say -----------------------------------------------------------------

    def reply(self, client: PortClient, event: events.ConnReply) -> None:
        """A worker took, or refused, connections."""
        share = self._shares[client.id, event.channel]
        refused: deque[_Accepted] = deque()
        untaken, rejected = share.untaken, event.rejected
        for number in range(share.handed - len(untaken) + 1, event.upto + 1):
            accepted = untaken.popleft()
            if rejected and number in rejected:
                refused.append(accepted)
            else:
                accepted.close()
                share.doubtful = False
        share.moved_at = trio.current_time()
        if refused:
            share.paused = share.doubtful = True
            self._refused.set()
            self._take_back(share, refused)
        if self._waiting or self._is_waiting_for_takers:
            self._deal()

    def add_credit(self, client: PortClient, event: events.ConnCredit) -> None:
        """A worker takes more."""
        self._shares[client.id, event.channel].credit += event.count
        if self._waiting or self._is_waiting_for_takers:
            self._deal()

    def _take_back(self, share: _Share, connections: deque[_Accepted]) -> None:
        """Put them first in the queue, in their order of arrival."""
        self.dealt[share.client.id] = self.dealt.get(share.client.id, 0) - len(connections)
        self.dealt_again += len(connections)
        self._waiting.extendleft(reversed(connections))

    @_whole
    async def _forgive(self) -> None:
        """Try those again that refused."""
        while True:
            await self._refused.wait()
            await trio.sleep(_PAUSE_SECONDS)
            self._refused = trio.Event()
            for share in self._shares.values():
                share.paused = False
            self._deal()

    # ---- dealing --------------------------------------------------------------------------

    def _deal(self) -> None:
        """Give what waits to whom takes it, many connections in one frame."""
        while hands := self._choose():
            for share, count in hands.items():
                self._hand_over(share, count)
        if self._is_waiting_for_takers and self._room() > 0:
            self._somebody_free.set()

    def _choose(self) -> dict[_Share, int]:
        """Put what waits into the shares of those who take it; returns how many into each."""
        hands: dict[_Share, int] = {}
        waiting = self._waiting
        if not waiting:
            return hands
        now = trio.current_time()
        rooms = {share: share.room(now) for share in self._shares.values()}
        while waiting:
            share = self._turn.choose(lambda share: rooms[share] > 0)
            if share is None:
                break
            if not share.untaken:
                share.moved_at = now
            share.credit -= 1
            rooms[share] -= 1  # asked once, for that takes longer than dealing
            share.untaken.append(waiting.popleft())
            hands[share] = hands.get(share, 0) + 1
        return hands

    def _room(self) -> int:
        """How many more connections are taken just now."""
        now = trio.current_time()
        return sum(share.room(now) for share in self._shares.values()) - len(self._waiting)

    def _hand_over(self, share: _Share, count: int) -> None:
        """Send the last ``count`` connections of a share's ``untaken``."""
        client, untaken = share.client, share.untaken
        connection = client.connection
        most = max(1, connection.peer_limits["max_fds"])
        last = share.handed + count
        while share.handed < last:
            start = len(untaken) - (last - share.handed)
            some = list(itertools.islice(untaken, start, start + most))
            try:
                connection.send_connections(share.channel, share.handed + 1, some)
            except ActorClusterError as exc:
                self._cannot_send(share, last - share.handed, exc)
                break
            for accepted in some:
                accepted.lend()
            share.handed += len(some)
            self.dealt[client.id] = self.dealt.get(client.id, 0) + len(some)
        client.flush()

    def _cannot_send(self, share: _Share, count: int, exc: ActorClusterError) -> None:
        """A worker does not take these, whatever it said; or it has closed its listener."""
        if isinstance(exc, HandleError):
            log.error("worker %s cannot be given connections: %s", share.client.id, exc)
        self._leave(share)
        self._waiting.extendleft(share.untaken.pop() for _ in range(count))

    # ---- accepting ------------------------------------------------------------------------

    @_whole
    async def run(self) -> None:
        """Accept and deal until closed."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._forgive)
                while True:
                    await self._wait_for_takers()
                    await self._accept()

    async def _wait_for_takers(self) -> None:
        self._is_waiting_for_takers = True
        while self._room() <= 0:
            self._somebody_free = trio.Event()
            await self._somebody_free.wait()
        self._is_waiting_for_takers = False

    async def _accept(self) -> None:
        """Accept a burst, or wait until there is something to accept."""
        try:
            more = self._accept_burst()
        except OSError as exc:
            # The clients wait in the backlog; there may be room a moment later.
            if exc.errno != self._trouble:
                log.error("cannot accept on %s: %s", self._bound.address, exc)
                self._trouble = exc.errno
            await trio.sleep(_PAUSE_SECONDS)
            return
        self._trouble = None
        if more:
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.wait_readable(self._bound.socket)

    def _accept_burst(self) -> bool:
        """Accept what is there and deal it; False when the backlog is empty."""
        accept = self._bound.socket._accept  # type: ignore[attr-defined]  # what accept() wraps
        try:
            for _ in range(min(_BURST, self._room())):
                try:
                    fd = accept()[0]
                except BlockingIOError:
                    return False
                except OSError as exc:
                    if exc.errno not in CLIENT_GONE:
                        raise
                else:
                    os.set_blocking(fd, False)  # AWP-FD-9
                    self._waiting.append(_Accepted(fd, self._entry))
        finally:
            self._deal()
        return True

    def close(self) -> None:
        """Stop accepting; close every connection that nobody has taken."""
        self._scope.cancel()
        for share in self._shares.values():
            self._leave(share)
            self._waiting.extend(share.untaken)
        self._shares.clear()
        while self._waiting:
            self._waiting.popleft().close()
