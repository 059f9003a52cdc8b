"""Looks at what the clients of one port say first, without reading it; see `peeking` for the rules.

Runs in: primary

Theory of operation
===================

What was just accepted is looked at once (MSG_PEEK), for most clients have said it all by then. The
others are watched by an epoll of the port's own, which wakes one task for all of them. It tells of
bytes as they come, and once: Trio, which tells as long as there are any, would tell for ever of
half a head, for that stays in the kernel.

Nobody waits for those who are being looked at: they do not count as waiting for a worker. So they
are bounded by themselves, by the backlog of the port, and by what is spent on all ports. With no
descriptor left to accept with, all of them are given up: who is dealt is taken, and frees its
descriptor.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, final

import attrs
import trio

from .balance import NewConnection
from .choosing import Chooser
from .peeking import Peeking
from .shares import Accepted

__all__ = ["Peeks"]

#: Connections looked at in one go, so that one busy port cannot starve the primary's other tasks.
_BURST: Final = 64

_EDGES: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
_ENDS: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


@final
@attrs.define(eq=False, repr=False)
class _Peeked:
    """One connection that is looked at.

    Attributes:
        sock: borrows the descriptor.
        is_watched: whether the epoll has it.
    """

    accepted: Accepted
    sock: socket.socket
    is_watched: bool = False


@final
class Peeks:
    """The connections of one port that are being looked at.

    Args:
        chooser: a policy that looks.
        most: connections that are looked at together.
        spare: tells how many more they may be, with those of other ports.
        decided: where they go, with what the policy may know of them.
        deal: called when some have gone there, but not by `add`.

    Raises:
        OSError: there is no descriptor left.
    """

    def __init__(
        self,
        chooser: Chooser,
        most: int,
        spare: Callable[[], int],
        decided: deque[Accepted],
        deal: Callable[[], None],
    ) -> None:
        peek = chooser.peek
        assert peek is not None
        self._epoll = select.epoll()
        self._state: Peeking[_Peeked] = Peeking(chooser.head_of, peek.timeout, most)
        self._limit = peek.limit
        self._spare = spare
        self._watched: dict[int, _Peeked] = {}
        self._decided = decided
        self._deal = deal
        self._timer = trio.CancelScope()

    def __len__(self) -> int:
        return len(self._state)

    @property
    def fallbacks(self) -> int:
        """Connections that were given up, and went to the next in turn."""
        return self._state.fallbacks

    def add(self, accepted: Accepted) -> None:
        """Look at a new connection; it may be decided at once."""
        kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
        one = _Peeked(accepted, socket.socket(socket.AF_INET, kind, 0, accepted.fileno()))
        self._look(one, 0)
        if one in self._state:
            self._watch(one)
            if len(self) > 1 and self._spare() < 0:
                self._carry_out(self._state.give_up(self._state.oldest))
            self._timer.deadline = min(self._timer.deadline, self._state.deadline)

    def _watch(self, one: _Peeked) -> None:
        """Be told of what comes from now on, and of what came since we looked."""
        try:
            self._epoll.register(one.sock, _EDGES)
        except OSError:  # memory, or the user's limit of watches
            self._carry_out(self._state.give_up(one))
        else:
            one.is_watched = True
            self._watched[one.sock.fileno()] = one

    def _look(self, one: _Peeked, mask: int) -> None:
        there = b""
        if not mask & select.EPOLLERR:  # whoever reads next is to hear of the error
            with contextlib.suppress(OSError):  # nothing is there, or the epoll tells of the end
                there = one.sock.recv(self._limit, socket.MSG_PEEK)
        ended = bool(mask & _ENDS)
        self._carry_out(self._state.look(one, there, trio.current_time(), ended=ended))

    def _carry_out(self, decided: Iterable[tuple[_Peeked, bytes]]) -> None:
        for one, head in decided:
            accepted = self._release(one)
            facts = accepted.facts
            assert facts is not None
            accepted.facts = NewConnection(facts.peer, facts.address, head) if head else None
            self._decided.append(accepted)

    def _release(self, one: _Peeked) -> Accepted:
        """Be done with one, whose descriptor others may have from now on."""
        if one.is_watched:
            del self._watched[one.sock.fileno()]
            self._epoll.unregister(one.sock)  # closing would not do, once others have it
        one.sock.detach()
        return one.accepted

    async def run(self) -> None:
        """Look again at those who say more, and give up those whose time is up, until closed."""
        while not self._epoll.closed:
            with trio.CancelScope(deadline=self._state.deadline) as self._timer:
                await trio.lowlevel.wait_readable(self._epoll)
            for fd, mask in self._told():
                self._look(self._watched[fd], mask)
            self._carry_out(self._state.late(trio.current_time()))
            self._deal()

    def _told(self) -> list[tuple[int, int]]:
        """What the epoll has to tell; `close` may have come between its waking us and now."""
        return [] if self._epoll.closed else self._epoll.poll(0, _BURST)

    def give_up(self) -> None:
        """Let all of them go to the next in turn."""
        self._carry_out(self._state.give_up())
        self._deal()

    def close(self) -> None:
        """Close all of them."""
        for one, _ in self._state.give_up():
            self._release(one).close()
        self._epoll.close()
