"""Shared ports: the primary accepts and deals, or the workers share the listening socket.

Runs in: primary

Theory of operation
===================

A port belongs to the primary and outlives the workers that use it, so a respawn refuses nobody.
Workers that ask for the same address share one `_Port`; each of them is a `_Share` of it.

*Round robin.* The accept loop first waits until somebody takes connections, then accepts what is
there, at most 64 or what is taken, and deals. With nobody free or alive nothing is accepted, and
the kernel's backlog holds the clients. Every connection dealt stays open here too until the
worker's CONN_REPLY: the worker writes that when its ``accept()`` returns the connection, before
anybody touches it. Refused, or the worker's channel ended without the reply, the connection goes
to the front of the queue and to another worker. A reply that was already in the channel is heard
first, because the channel is read to its end before `forget` is called.

*Shared.* The worker gets a duplicate of the listening socket and accepts by itself.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, Protocol, final

import attrs
import trio

from .._link.failure import failure_map
from .._link.handles import Handle, Sendable
from .._worker.listening import MODES, SCHED_NONE, SCHED_RR
from ..wire import events
from ..wire._generated import ErrorCode, HandleKind
from ..wire.connection import Connection
from .balance import RoundRobin
from .binding import Address, Bound, PortRequest, bind

__all__ = ["PortClient", "PortStatistics", "Ports"]

log = logging.getLogger("actorcluster.ports")

#: Connections accepted in one go, so that one busy port cannot starve the primary's other tasks.
_BURST: Final = 64

#: How long to leave the backlog alone when descriptors or memory ran out (as Trio does).
_EXHAUSTED_SECONDS: Final = 0.1

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

#: The client went away between connecting and our accept; accept(2) asks to treat it as a retry.
_GONE: Final = frozenset(
    {
        errno.ECONNABORTED,
        errno.EPROTO,
        errno.ENETDOWN,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.EPERM,
    }
)


class PortClient(Protocol):
    """What a port needs to know of a worker."""

    @property
    def id(self) -> int: ...
    @property
    def connection(self) -> Connection: ...
    @property
    def listen_fds(self) -> Mapping[str, int] | tuple[int, ...]: ...
    def flush(self) -> None: ...
    def listening(self, address: Address) -> None: ...


@final
@attrs.frozen(kw_only=True)
class PortStatistics:
    """A snapshot of one shared port.

    Attributes:
        address: as bound.
        policy: `SCHED_RR` or `SCHED_NONE`.
        dealt: connections dealt by worker id, refused ones not counted.
        waiting: accepted but with no worker at present.
        unacknowledged: dealt, but not taken by a worker's ``accept()`` so far.
        dealt_again: times a connection was refused, or its worker died, and it was dealt anew.
    """

    address: Address
    policy: str
    dealt: Mapping[int, int]
    waiting: int
    unacknowledged: int
    dealt_again: int


@final
class _Lent(Sendable):
    """A descriptor sent without being given away: whoever lends it closes it, and not too early.

    Args:
        holder: whose ``fileno()`` is sent.
        kind: what it is; the kernel is not asked.
    """

    __slots__ = ("_holder", "_kind")

    def __init__(self, holder: socket.socket, kind: HandleKind) -> None:
        self._holder = holder
        self._kind = kind

    def fileno(self) -> int:
        return self._holder.fileno()

    def describe(self) -> tuple[HandleKind, dict[str, Any]]:
        return self._kind, {}

    def close(self) -> None:
        """The link is done with it."""


@final
@attrs.define(eq=False)
class _Share:
    """One worker's part in one port."""

    client: PortClient
    channel: int
    credit: int
    next_number: int = 1
    unacknowledged: dict[int, socket.socket] = attrs.Factory(dict)
    active: bool = True

    def takes(self) -> bool:
        return self.credit > 0


@final
class _Port:
    """One bound address and the workers that use it."""

    def __init__(self, request: PortRequest, bound: Bound, policy: str) -> None:
        self.identity = request.identity
        self.bound = bound
        self.policy = policy
        self.dealt_again = 0
        inet = bound.socket.family != socket.AF_UNIX
        self._kind = HandleKind.TCP_SOCKET if inet else HandleKind.UNIX_STREAM
        self._dealt: dict[int, int] = {}
        self._turn: RoundRobin[_Share] = RoundRobin()
        self._shares: dict[tuple[int, int], _Share] = {}
        self._waiting: deque[socket.socket] = deque()
        self._somebody_free = trio.Event()
        self._scope = trio.CancelScope()

    # ---- workers come and go --------------------------------------------------------------

    def join(self, client: PortClient, channel: int, credit: int) -> None:
        """A worker uses this port from now on."""
        connection = client.connection
        if self.policy == SCHED_NONE:
            handle = Handle.of(self.bound.socket.dup())
            connection.send_listening(
                channel, mode="shared", address=self._wire_address(), handle=handle
            )
        else:
            share = _Share(client, channel, credit)
            self._shares[client.id, channel] = share
            self._turn.add(share)
            connection.send_listening(channel, mode="handoff", address=self._wire_address())
        client.flush()
        client.listening(self.bound.address)
        self._deal()

    def _wire_address(self) -> list[Any] | str:
        address = self.bound.address
        return list(address) if isinstance(address, tuple) else address

    def retire(self, client: PortClient) -> None:
        """Deal nothing more to a worker; what it has is still its."""
        for (worker, _), share in self._shares.items():
            if worker == client.id:
                self._leave(share)

    def _leave(self, share: _Share) -> None:
        share.active = False
        self._turn.remove(share)

    def close_share(self, client: PortClient, channel: int) -> None:
        """The worker closed its listener; it refuses what is on the way."""
        share = self._shares.get((client.id, channel))
        if share is not None:
            self._leave(share)

    def forget(self, client: PortClient) -> None:
        """The worker is gone: what it had not taken goes to others."""
        for key, share in list(self._shares.items()):
            if key[0] == client.id:
                self._leave(share)
                del self._shares[key]
                self._again(list(share.unacknowledged.values()))
        self._deal()

    # ---- dealing --------------------------------------------------------------------------

    def reply(self, client: PortClient, event: events.ConnReply) -> None:
        """A worker took, or refused, connections."""
        share = self._shares.get((client.id, event.channel))
        if share is None:
            return
        refused = []
        for number in [n for n in share.unacknowledged if n <= event.upto]:
            sock = share.unacknowledged.pop(number)
            if number in event.rejected:
                refused.append(sock)
            else:
                sock.close()
        if refused:
            self._leave(share)  # only a worker that closes its listener or stops refuses
            self._again(refused)
            self._deal()

    def add_credit(self, client: PortClient, event: events.ConnCredit) -> None:
        """A worker takes more."""
        share = self._shares.get((client.id, event.channel))
        if share is not None:
            share.credit += event.count
            self._deal()

    def _again(self, socks: list[socket.socket]) -> None:
        """Put refused connections first in the queue, in their order of arrival."""
        self.dealt_again += len(socks)
        self._waiting.extendleft(reversed(socks))

    def _deal(self) -> None:
        """Give what waits to whom takes it, many connections in one frame."""
        hands: dict[_Share, list[socket.socket]] = {}
        while self._waiting:
            share = self._turn.choose(_Share.takes)
            if share is None:
                break
            share.credit -= 1
            hands.setdefault(share, []).append(self._waiting.popleft())
        for share, socks in hands.items():
            self._hand_over(share, socks)
        if self._takes() > 0:
            self._somebody_free.set()

    def _takes(self) -> int:
        """How many more connections are taken just now."""
        free = sum(share.credit for share in self._shares.values() if share.active)
        return free - len(self._waiting)

    def _hand_over(self, share: _Share, socks: list[socket.socket]) -> None:
        connection = share.client.connection
        most = max(1, connection.peer_limits["max_fds"])
        for start in range(0, len(socks), most):
            some = socks[start : start + most]
            first = share.next_number
            lent = [_Lent(sock, self._kind) for sock in some]
            connection.send_connections(share.channel, first, lent)
            share.next_number += len(some)
            share.unacknowledged.update(zip(range(first, share.next_number), some, strict=True))
        worker = share.client.id
        self._dealt[worker] = self._dealt.get(worker, 0) + len(socks)
        share.client.flush()

    # ---- accepting ------------------------------------------------------------------------

    async def run(self) -> None:
        """Accept and deal until closed."""
        with self._scope:
            while True:
                await self._wait_for_takers()
                try:
                    if not self._accept_burst():
                        await trio.lowlevel.wait_readable(self.bound.socket)
                except OSError as exc:
                    if exc.errno not in _EXHAUSTED:
                        raise
                    # The clients wait in the backlog; there may be room a moment later.
                    log.error("cannot accept on %s: %s", self.bound.address, exc)
                    await trio.sleep(_EXHAUSTED_SECONDS)
                await trio.lowlevel.checkpoint()

    async def _wait_for_takers(self) -> None:
        while self._takes() <= 0:
            self._somebody_free = trio.Event()
            await self._somebody_free.wait()

    def _accept_burst(self) -> bool:
        """Accept what is there and deal it; False when the backlog is empty."""
        try:
            for _ in range(min(_BURST, self._takes())):
                try:
                    self._waiting.append(self.bound.socket.accept()[0])
                except BlockingIOError:
                    return False
                except OSError as exc:
                    if exc.errno not in _GONE:
                        raise
        finally:
            self._deal()
        return True

    def close(self) -> None:
        """Stop accepting; close the socket and every connection nobody has taken."""
        self._scope.cancel()
        self.bound.close()
        for share in self._shares.values():
            self._waiting.extend(share.unacknowledged.values())
        while self._waiting:
            self._waiting.popleft().close()

    def statistics(self) -> PortStatistics:
        return PortStatistics(
            address=self.bound.address,
            policy=self.policy,
            dealt=dict(self._dealt),
            waiting=len(self._waiting),
            unacknowledged=sum(len(share.unacknowledged) for share in self._shares.values()),
            dealt_again=self.dealt_again,
        )


@final
class Ports:
    """All shared ports of a primary.

    Args:
        nursery: runs the accept loops.
        policy: for listeners that do not say otherwise.
    """

    def __init__(self, nursery: trio.Nursery, *, policy: str) -> None:
        self._nursery = nursery
        self._policy = policy
        self._ports: dict[tuple[Any, ...], _Port] = {}
        self._channels: dict[tuple[int, int], _Port] = {}

    def on_event(self, client: PortClient, event: events.Event) -> None:
        """Act on what a worker says about listening."""
        if isinstance(event, events.Listen):
            self._listen(client, event)
        elif isinstance(event, (events.ConnReply, events.ConnCredit, events.ListenClosed)):
            port = self._channels.get((client.id, event.channel))
            if port is None:
                return  # closed a moment ago
            if isinstance(event, events.ConnReply):
                port.reply(client, event)
            elif isinstance(event, events.ConnCredit):
                port.add_credit(client, event)
            else:
                port.close_share(client, event.channel)

    def _listen(self, client: PortClient, event: events.Listen) -> None:
        try:
            request = PortRequest.read(event.request)
            port = self._ports.get(request.identity) or self._open(client, request)
        except ValueError as exc:
            self._refuse(client, event.channel, str(ErrorCode.BAD_PAYLOAD), exc)
        except OSError as exc:
            self._refuse(client, event.channel, failure_map(exc)["code"], exc)
        else:
            self._channels[client.id, event.channel] = port
            port.join(client, event.channel, request.credit)

    def _refuse(self, client: PortClient, channel: int, code: str, exc: Exception) -> None:
        client.connection.send_error(channel, {"code": code, "message": str(exc)})
        client.flush()

    def _open(self, client: PortClient, request: PortRequest) -> _Port:
        bound = bind(request, client.listen_fds)
        policy = self._choose_policy(request)
        port = _Port(request, bound, policy)
        self._ports[request.identity] = port
        if request.port == 0 and isinstance(bound.address, tuple):
            # A worker that asks for the port by its number means this one.
            self._ports.setdefault(
                attrs.evolve(request, port=bound.address[1], key="").identity, port
            )
        if policy == SCHED_RR:
            self._nursery.start_soon(port.run)
        return port

    def _choose_policy(self, request: PortRequest) -> str:
        """Follow the worker when it knows one way only, else the primary's policy."""
        if request.transport == "udp":
            return SCHED_NONE
        known = {policy for policy in (SCHED_RR, SCHED_NONE) if MODES[policy][0] in request.modes}
        if not known:
            raise ValueError(f"modes is {request.modes!r}")
        return self._policy if self._policy in known else known.pop()

    def retire(self, client: PortClient) -> None:
        """The worker was told to stop: deal nothing more to it."""
        for port in set(self._ports.values()):
            port.retire(client)

    def forget(self, client: PortClient) -> None:
        """The worker's channel has ended and was read to its end."""
        self._channels = {key: port for key, port in self._channels.items() if key[0] != client.id}
        for port in set(self._ports.values()):
            port.forget(client)

    def close(self) -> None:
        """Close every port; the primary is leaving."""
        for port in set(self._ports.values()):
            port.close()
        self._ports.clear()
        self._channels.clear()

    def statistics(self) -> tuple[PortStatistics, ...]:
        return tuple(port.statistics() for port in dict.fromkeys(self._ports.values()))
