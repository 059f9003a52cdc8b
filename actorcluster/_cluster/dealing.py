"""One shared port: connections accepted, dealt to the workers that listen there, dealt again.

Runs in: primary

Theory of operation
===================

*Accepting.* The loop waits until somebody is free, then accepts what is there, at most `_BURST`
or what is taken, and deals. With nobody free or alive nothing is accepted, and the kernel's
backlog holds the clients; unless they wait here for a while, or are dropped, see `bounds`.

*Dealing* is strictly in turn among those who are free, unless the port has another policy, see
`choosing`. A worker is free while its credit lasts, as long as it takes what it is given: one that
has taken nothing for `STUCK_SECONDS` while connections wait in it (a busy loop, SIGSTOP) gets no
more before it has moved. Connections for one worker go in one frame.

*Holding.* A connection dealt stays open here too until the worker's CONN_REPLY: the worker writes
that when its ``accept()`` returns the connection, before anybody touches it. Refused, or the
listener closed or the channel ended without that reply, it goes to the front of the queue and to
another worker. A reply that was already in the channel is heard first, because the channel is
read to its end before `Port.forget` is called.

*Wishes.* A policy may want one worker and no other. As long as that is only busy, with connections
on their way to it, what is meant for it is kept for it, in all as many as the backlog; others
are dealt meanwhile. When it gets stuck, refuses or ends, the policy is asked again.

*Looking.* A policy may go by what the client says first. Until that is there, see `peeks`, the
connection is accepted and not waiting: others are accepted and dealt.

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
from collections.abc import Callable
from typing import Any, Final, final

import attrs
import trio

from .._worker.accepting import CLIENT_GONE
from ..errors import ActorClusterError, HandleError
from ..wire import events
from ..wire._generated import HandleKind
from .balance import RoundRobin, weighs
from .binding import Bound
from .bounds import Bounds, all_full
from .choosing import Chooser
from .overflow import Overflow
from .peeks import Peeks
from .shares import Accepted, ConnectionCounts, PortClient, Share

__all__ = ["ConnectionCounts", "Dealer", "PortClient"]

log = logging.getLogger("actorcluster.ports")

#: Connections accepted in one go, so that one busy port cannot starve the primary's other tasks.
_BURST: Final = 64

# Ctrl-C in the middle of a deal would leave a connection with two workers, or with none.
_whole = trio.lowlevel.enable_ki_protection

#: How long to leave alone a worker that refused, or a backlog that cannot be accepted from.
_PAUSE_SECONDS: Final = 0.1


@final
@attrs.define(eq=False)
class _Hands:
    """What is being dealt.

    Attributes:
        now: the time.
        rooms: how many connections each takes; asked once, for that takes longer than dealing.
        counts: how many each gets.
    """

    now: float
    rooms: dict[Share, int]
    counts: dict[Share, int]

    def put(self, share: Share, accepted: Accepted) -> None:
        if not share.untaken:
            share.moved_at = self.now
        share.credit -= 1
        self.rooms[share] -= 1
        share.untaken.append(accepted)
        self.counts[share] = self.counts.get(share, 0) + 1


@final
class Dealer:
    """Accepts on one listening socket and deals to the workers that share it.

    Args:
        bound: a listening socket; closed by its owner, after `close`.
        chooser: the policy.
        bounds: how many connections may wait, are kept for workers, and are looked at.
        spare: tells how many more those may be, all ports taken together.

    Raises:
        OSError: there is no descriptor left for looking.

    Attributes:
        overflow: connections that were closed because no worker took them.
        dealt: connections dealt by worker id, those dealt again not counted; of the workers that
            listen here.
        dealt_before: to those that do not any more.
        dealt_again: times a connection was refused, or its worker died, and it was dealt anew.
    """

    def __init__(
        self, bound: Bound, chooser: Chooser, bounds: Bounds, spare: Callable[[], int]
    ) -> None:
        self.dealt: dict[int, int] = {}
        self.dealt_before = 0
        self.dealt_again = 0
        self._bound = bound
        inet = bound.socket.family != socket.AF_UNIX
        kind = HandleKind.TCP_SOCKET if inet else HandleKind.UNIX_STREAM
        self._entry: tuple[HandleKind, dict[str, Any]] = (kind, {})
        self._turn: RoundRobin[Share] = RoundRobin()
        self._shares: dict[tuple[int, int], Share] = {}
        self._waiting: deque[Accepted] = deque()
        self._chooser = chooser
        self._peeks: Peeks | None = None
        self._arrived: Callable[[Accepted], None] = self._waiting.append
        if chooser.peek is not None:
            self._peeks = Peeks(chooser, bounds.backlog, spare, self._waiting, self._deal)
            self._arrived = self._peeks.add
        self._has_cold = False
        self._bounds = bounds
        self._spare = spare
        self.overflow = Overflow(bounds, bound.address)
        self._kept = 0
        self._keeps = trio.Event()
        self._somebody_free = trio.Event()
        self._is_waiting_for_takers = False
        self._refused = trio.Event()
        self._trouble: int | None = None
        self._scope = trio.CancelScope()

    @property
    def waiting(self) -> int:
        """Accepted connections without a worker."""
        return len(self._waiting) + self._kept + self.peeking

    @property
    def peeking(self) -> int:
        """Those of them that are being looked at."""
        return 0 if self._peeks is None else len(self._peeks)

    @property
    def peek_fallbacks(self) -> int:
        """Those that were looked at and did not say enough in time."""
        return 0 if self._peeks is None else self._peeks.fallbacks

    @property
    def policy_faults(self) -> int:
        """Times that a policy of the primary's own failed."""
        return self._chooser.faults

    def counts(self) -> dict[int, ConnectionCounts]:
        """What became of the connections of each worker that listens here, by id."""
        counts: dict[int, ConnectionCounts] = {}
        for share in self._shares.values():
            counts[share.id] = share.counts(counts.get(share.id, ConnectionCounts()))
        return counts

    @property
    def untaken(self) -> int:
        """Connections dealt, and neither taken nor refused so far."""
        return sum(len(share.untaken) for share in self._shares.values())

    def taken(self, worker: int) -> int:
        """How many connections a worker has taken here."""
        untaken = sum(len(one.untaken) for (its, _), one in self._shares.items() if its == worker)
        return self.dealt.get(worker, 0) - untaken

    # ---- workers come and go --------------------------------------------------------------

    def join(self, client: PortClient, channel: int, credit: int, limit: int | None = None) -> None:
        """A worker listens here from now on."""
        share = self._shares[client.id, channel] = Share(client, channel, credit, limit)
        self._turn.add(share)
        self._has_cold = True  # maybe; it is looked at when something is dealt
        self._deal()

    def deals_to(self, client: PortClient, channel: int) -> bool:
        """Whether a worker listens here in the way that it is dealt to."""
        return (client.id, channel) in self._shares

    def look_again(self) -> None:
        """Somebody is paused, or is not any more; it may be a policy, just asked, that did it."""
        trio.lowlevel.current_trio_token().run_sync_soon(self._deal, idempotent=True)

    def retire(self, client: PortClient) -> None:
        """Deal nothing more to a worker; what it has is still its."""
        for (worker, _), share in self._shares.items():
            if worker == client.id:
                self._leave(share)
        if self._bounds.drops:
            self._deal()  # those that are left may all be full

    def leave(self, client: PortClient, channel: int) -> None:
        """The worker closed its listener, or is gone: what it had not taken goes to others."""
        share = self._shares.pop((client.id, channel))
        self._leave(share)
        self._take_back(share, share.untaken)
        if not any(worker == client.id for worker, _ in self._shares):
            self.dealt_before += self.dealt.pop(client.id, 0)  # else a number for every life
        self._deal()

    def _leave(self, share: Share) -> None:
        share.active = False
        self._turn.remove(share)
        self._give_up(share)

    def _give_up(self, share: Share) -> None:
        """Nothing is kept for it any more."""
        if share.kept:
            self._kept -= len(share.kept)
            self._put_back(share.kept)
            share.kept.clear()

    # ---- what workers say -----------------------------------------------------------------

    def reply(self, client: PortClient, event: events.ConnReply) -> None:
        """A worker took, or refused, connections."""
        share = self._shares[client.id, event.channel]
        refused: deque[Accepted] = deque()
        untaken, rejected = share.untaken, event.rejected
        for number in range(share.handed - len(untaken) + 1, event.upto + 1):
            accepted = share.next_decided()
            if rejected and number in rejected:
                refused.append(accepted)
            else:
                accepted.close()
                share.taken += 1
                share.doubtful = False
        share.moved_at = trio.current_time()
        if refused:
            share.declined += len(refused)
            share.paused = share.doubtful = True
            self._refused.set()
            self._take_back(share, refused)
        if self._waiting or self._is_waiting_for_takers or self._kept:
            self._deal()

    def add_credit(self, client: PortClient, event: events.ConnCredit) -> None:
        """A worker takes more, or has closed some."""
        share = self._shares[client.id, event.channel]
        share.credit += event.count
        if event.closed is not None:
            share.closed = max(share.closed, min(event.closed, share.taken))
            share.dropped = max(share.dropped, min(event.dropped or 0, share.closed))
        if self._waiting or self._is_waiting_for_takers or self._kept:
            self._deal()

    def _take_back(self, share: Share, connections: deque[Accepted]) -> None:
        """Put them first in the queue, in their order of arrival."""
        self.dealt[share.client.id] = self.dealt.get(share.client.id, 0) - len(connections)
        self.dealt_again += len(connections)
        self._put_back(connections)

    def _put_back(self, connections: deque[Accepted]) -> None:
        self._waiting.extendleft(reversed(connections))
        self._bounds.in_order(self._waiting)

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

    @_whole
    async def _look_after_kept(self) -> None:
        """Give what is kept for a worker to others when that one gets stuck."""
        while True:
            await self._keeps.wait()
            await trio.sleep(_PAUSE_SECONDS)
            self._deal()
            if not self._kept:
                self._keeps = trio.Event()

    # ---- dealing --------------------------------------------------------------------------

    def _deal(self) -> None:
        """Give what waits to whom takes it, many connections in one frame."""
        if self._peeks is not None:
            self._bounds.in_order(self._waiting)
        while hands := self._choose():
            for share, count in hands.items():
                self._hand_over(share, count)
        if self._waiting and self._drops_now():
            self.overflow.drop(self._waiting, trio.current_time())
        if self._is_waiting_for_takers and self._room() > 0:
            self._somebody_free.set()
        if self._bounds.room and (self._waiting or self._kept):
            self.overflow.look_at(self._queues())

    def _choose(self) -> dict[Share, int]:
        """Put what waits into the shares of those who take it; returns how many into each."""
        hands: dict[Share, int] = {}
        waiting = self._waiting
        if not waiting and not self._kept:
            return hands
        now = trio.current_time()
        rooms = {share: share.room(now) for share in self._shares.values()}
        if self._has_cold or not self._chooser.is_plain:
            self._choose_by(self._chooser, _Hands(now, rooms, hands))
            return hands
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

    def _choose_by(self, chooser: Chooser, dealt: _Hands) -> None:
        """Let the policy choose, for each connection that waits."""
        waiting, turn, now, rooms = self._waiting, self._turn, dealt.now, dealt.rooms
        for share in self._shares.values() if self._kept else ():
            while share.kept and rooms[share] > 0:
                self._kept -= 1
                dealt.put(share, share.kept.popleft())
            if not share.may_keep(now, math.inf):
                self._give_up(share)
        self._has_cold = False
        for share in turn:
            warmth = share.client.warmth(now)
            share.weight = weighs(share.client.weight, warmth) if chooser.by_weight else warmth
            self._has_cold |= warmth < 1
        while waiting:
            free = candidates = [share for share in turn if rooms[share] > 0]
            if not free:
                break
            if chooser.has_wishes:
                most = self._bounds.most_kept(self._kept, self._spare())
                candidates = [s for s in turn if rooms[s] > 0 or s.may_keep(now, most)]
            share = chooser.choose(waiting[0].facts, candidates, free)
            turn.had(share)
            accepted = waiting.popleft()
            if rooms[share] > 0:
                dealt.put(share, accepted)
            else:
                share.kept.append(accepted)
                self._kept += 1
                self._keeps.set()

    def _room(self) -> int:
        """How many more connections are to be accepted just now."""
        now = trio.current_time()
        free = sum(share.room(now) for share in self._shares.values()) - len(self._waiting)
        if self._bounds.room:
            room = self._bounds.room - self._kept - self.peeking
            free += max(0, min(room, self._spare() + len(self._waiting)))
        return _BURST if free <= 0 and self._drops_now() else free

    def _hand_over(self, share: Share, count: int) -> None:
        """Send the last ``count`` connections of a share's ``untaken``."""
        client, untaken = share.client, share.untaken
        most = max(1, client.connection.peer_limits["max_fds"])
        last = share.handed + count
        while share.handed < last:
            start = len(untaken) - (last - share.handed)
            some = list(itertools.islice(untaken, start, start + most))
            try:
                share.hand_over(some)
            except ActorClusterError as exc:
                self._cannot_send(share, last - share.handed, exc)
                break
            self.dealt[client.id] = self.dealt.get(client.id, 0) + len(some)
        client.flush()

    def _cannot_send(self, share: Share, count: int, exc: ActorClusterError) -> None:
        """A worker does not take these, whatever it said; or it has closed its listener."""
        if isinstance(exc, HandleError):
            log.error("worker %s cannot be given connections: %s", share.client.id, exc)
        self._leave(share)
        self._waiting.extendleft(share.untaken.pop() for _ in range(count))
        self._bounds.in_order(self._waiting)

    # ---- closing what nobody takes --------------------------------------------------------

    def _drops_now(self) -> bool:
        """Whether what comes now is closed: all who listen are at their limit."""
        return self._bounds.drops and all_full(share for share in self._turn if share.is_there)

    def _queues(self) -> list[deque[Accepted]]:
        """Those that wait; `_some_timed_out` follows when some were taken out."""
        return [self._waiting, *(share.kept for share in self._shares.values())]

    def _some_timed_out(self) -> None:
        self._kept = sum(len(share.kept) for share in self._shares.values())
        self._deal()

    # ---- accepting ------------------------------------------------------------------------

    @_whole
    async def run(self) -> None:
        """Accept and deal until closed."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._forgive)
                if self._chooser.has_wishes:
                    nursery.start_soon(self._look_after_kept)
                if self._peeks is not None:
                    nursery.start_soon(self._peeks.run)
                if self._bounds.room:
                    nursery.start_soon(self.overflow.run, self._queues, self._some_timed_out)
                while True:
                    await self._wait_for_takers()
                    await self._accept()

    async def _wait_for_takers(self) -> None:
        self._is_waiting_for_takers = True
        while self._room() <= 0:
            self._somebody_free = trio.Event()
            is_short = self._bounds.room and self._spare() <= 0  # until another port has fewer
            with trio.move_on_after(_PAUSE_SECONDS if is_short else math.inf):
                await self._somebody_free.wait()
        self._is_waiting_for_takers = False

    async def _accept(self) -> None:
        """Accept a burst, or wait until there is something to accept."""
        try:
            more = self._accept_burst()
        except OSError as exc:
            await trio.lowlevel.checkpoint_if_cancelled()  # it was closed meanwhile
            # The clients wait in the backlog; there may be room a moment later.
            if exc.errno != self._trouble:
                log.error("cannot accept on %s: %s", self._bound.address, exc)
                self._trouble = exc.errno
            if self._peeks is not None:
                self._peeks.give_up()
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
        chooser, facts, waits = self._chooser, None, self._bounds.room
        try:
            for _ in range(min(_BURST, self._room())):
                try:
                    fd, peer = accept()
                except BlockingIOError:
                    return False
                except OSError as exc:
                    if exc.errno not in CLIENT_GONE:
                        raise
                else:
                    os.set_blocking(fd, False)  # AWP-FD-9
                    if not chooser.is_plain:
                        facts = chooser.describe(peer)
                    accepted = Accepted(fd, self._entry, facts)
                    if waits:
                        accepted.since = trio.current_time()
                    self._arrived(accepted)
        finally:
            self._deal()
        return True

    def close(self) -> None:
        """Stop accepting; close every connection that nobody has taken."""
        self._scope.cancel()
        if self._peeks is not None:
            self._peeks.close()
        for share in self._shares.values():
            self._leave(share)
            self._waiting.extend(share.untaken)
        self._shares.clear()
        while self._waiting:
            self._waiting.popleft().close()
