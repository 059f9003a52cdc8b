"""All shared ports of a primary: who listens on what, and how.

Runs in: primary

A port belongs to the primary and outlives the workers that use it, so a respawn refuses nobody: a
worker that closes its listener because it ends cannot be told from one that is done with the port.
Workers that ask for the same address share one port, in one of two ways: *handoff*, the primary
accepts and deals (see `dealing`); *shared*, each worker gets a duplicate of the socket and accepts
by itself. Nothing that a worker says raises here; what cannot be done is answered with an ERROR.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, final

import attrs
import trio

from .._link.failure import failure_map
from .._link.handles import stage
from .._worker.inet import BACKLOG
from .._worker.listening import MODES, SCHED_NONE, SCHED_RR
from ..errors import ActorClusterError
from ..wire import events
from ..wire._generated import Capability, ErrorCode, State
from .balance import Policy
from .binding import Address, Bound, PortRequest, bind
from .choosing import Chooser, known_policies
from .dealing import ConnectionCounts, Dealer, PortClient

__all__ = ["ConnectionCounts", "PortClient", "PortStatistics", "Ports"]

#: The capability that a worker needs to listen in each way.
_CAPABILITIES: Final = {
    MODES[SCHED_RR]: Capability.LISTEN_HANDOFF,
    MODES[SCHED_NONE]: Capability.LISTEN_SHARED,
}

#: Ports without a worker that stay bound; beyond that, those unused for longest are closed. Only a
#: worker that asks for ever other ports gets that far.
_MOST_UNUSED: Final = 256


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
        policy_faults: times a policy of the primary's own failed, and the next in turn was chosen.
        workers: what became of the connections, by worker id; of the workers that listen here.
    """

    address: Address
    policy: str
    dealt: Mapping[int, int]
    dealt_before: int
    waiting: int
    unacknowledged: int
    dealt_again: int
    policy_faults: int
    workers: Mapping[int, ConnectionCounts]


@final
@attrs.define(eq=False, repr=False)
class _Port:
    """One bound address.

    Attributes:
        policy: how its connections are dealt, or `SCHED_NONE`.
        request: the first worker's.
        identities: what workers ask for to share it.
        users: what each asked for, by worker id and channel of its listener.
        dealer: None: the workers accept for themselves.
    """

    bound: Bound
    policy: str
    request: PortRequest
    identities: set[tuple[Any, ...]] = attrs.Factory(set)
    users: dict[tuple[int, int], tuple[Any, ...]] = attrs.Factory(dict)
    dealer: Dealer | None = None

    @property
    def mode(self) -> str:
        """What the policy is on the wire."""
        return MODES[SCHED_NONE if self.dealer is None else SCHED_RR]

    def close(self) -> None:
        if self.dealer is not None:
            self.dealer.close()
        self.bound.close()

    def statistics(self) -> PortStatistics:
        dealer = self.dealer
        return PortStatistics(
            address=self.bound.address,
            policy=self.policy,
            dealt={} if dealer is None else dict(dealer.dealt),
            dealt_before=0 if dealer is None else dealer.dealt_before,
            waiting=0 if dealer is None else dealer.waiting,
            unacknowledged=0 if dealer is None else dealer.untaken,
            dealt_again=0 if dealer is None else dealer.dealt_again,
            policy_faults=0 if dealer is None else dealer.policy_faults,
            workers={} if dealer is None else dealer.counts(),
        )


@final
class Ports:
    """All shared ports of a primary.

    Args:
        nursery: runs the accept loops.
        policy: for listeners that do not say otherwise.
        policies: the primary's own, by name.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        *,
        policy: str,
        policies: Mapping[str, Policy] = MappingProxyType({}),
    ) -> None:
        self._nursery = nursery
        self._policies = policies
        self._policy = policy
        self._ports: dict[tuple[Any, ...], _Port] = {}
        self._channels: dict[tuple[int, int], _Port] = {}
        self._unused: dict[_Port, None] = {}  # in order of their last use

    # ---- what workers say -----------------------------------------------------------------

    def on_event(self, client: PortClient, event: events.Event) -> None:
        """Act on what a worker says about listening."""
        if isinstance(event, (events.ConnReply, events.ConnCredit)):
            port = self._channels.get((client.id, event.channel))
            if port is None or port.dealer is None:
                return  # closed a moment ago, or credit for one who accepts by himself
            if isinstance(event, events.ConnReply):
                port.dealer.reply(client, event)
            else:
                port.dealer.add_credit(client, event)
        elif isinstance(event, events.Listen):
            self._listen(client, event)
        elif isinstance(event, events.ListenClosed):
            self._leave(client, event.channel)

    def _listen(self, client: PortClient, event: events.Listen) -> None:
        if client.connection.state is not State.ACTIVE:
            self._refuse(client, event.channel, str(ErrorCode.REFUSED), "the worker is leaving")
            return
        try:
            request = self._beside(client, PortRequest.read(event.request))
            identity = request.identity(client.listen_fds)
            port = self._find(client, request, identity)
            self._answer(client, event.channel, port)
        except ValueError as exc:
            self._refuse(client, event.channel, str(ErrorCode.BAD_PAYLOAD), str(exc))
        except (OSError, ActorClusterError) as exc:
            self._refuse(client, event.channel, failure_map(exc)["code"], str(exc))
        else:
            port.users[client.id, event.channel] = identity
            self._join(client, event.channel, port, request.credit)

    def _refuse(self, client: PortClient, channel: int, code: str, text: str) -> None:
        """Answer with an error, unless the worker is gone, or does not want an answer any more."""
        with contextlib.suppress(ActorClusterError):
            client.connection.send_error(channel, {"code": code, "message": text})
            client.flush()

    def _beside(self, client: PortClient, request: PortRequest) -> PortRequest:
        """Skip, of the ports 0, those that this worker has by their number already."""
        while request.port == 0 and request.key.isdecimal():
            identity = request.identity(client.listen_fds)
            users = {} if (port := self._ports.get(identity)) is None else port.users
            has = [asked for (worker, _), asked in users.items() if worker == client.id]
            if not has or identity in has:
                break
            request = attrs.evolve(request, key=str(int(request.key) + 1))
        return request

    def _find(self, client: PortClient, request: PortRequest, identity: tuple[Any, ...]) -> _Port:
        """Find the port, or bind it."""
        known = known_policies(self._policies)
        if request.policy is not None and request.policy not in known:
            raise ValueError(f"policy is {request.policy!r}; there are {', '.join(known)}")
        usable = self._usable_modes(client, request)
        port = self._ports.get(identity)
        if port in self._unused and not request.is_met_by(port.request):
            self._close(port)  # nobody is left for whom it should stay as it is
            port = None
        if port is None:
            if not usable:
                raise OSError(errno.ENOTSUP, f"no way to listen: {request.modes}")
            return self._open(client, identity, request, usable[0])
        if port.mode not in usable:
            raise OSError(errno.ENOTSUP, f"this port is in mode {port.mode}")
        if any(worker == client.id for worker, _ in port.users):
            raise OSError(errno.EADDRINUSE, "this worker listens there already")
        return port

    def _usable_modes(self, client: PortClient, request: PortRequest) -> list[str]:
        """The ways of listening that worker and transport allow, the best first."""
        modes = request.modes
        if modes is None:
            first = MODES[self._policy]
            modes = [first, *(mode for mode in _CAPABILITIES if mode != first)]
        if request.transport == "udp":
            modes = [mode for mode in modes if mode == MODES[SCHED_NONE]]
        in_force = client.connection.capabilities
        return [mode for mode in modes if _CAPABILITIES.get(mode) in in_force]

    def _open(
        self, client: PortClient, identity: tuple[Any, ...], request: PortRequest, mode: str
    ) -> _Port:
        bound = bind(request, client.listen_fds)
        is_dealt = mode == MODES[SCHED_RR]
        policy = request.policy or SCHED_RR if is_dealt else SCHED_NONE
        port = _Port(bound, policy, request, {identity})
        if request.transport in ("tcp", "udp") and request.port == 0:
            # A worker that asks for the port by its number means this one.
            port.identities.add(request.identity_of(int(bound.address[1])))
        for one in port.identities:
            self._ports.setdefault(one, port)
        self._unused[port] = None
        self._close_unused(_MOST_UNUSED)
        if is_dealt:
            chooser = Chooser(policy, self._policies.get(policy), bound.address)
            port.dealer = Dealer(bound, chooser, request.backlog or BACKLOG)
            self._nursery.start_soon(port.dealer.run)
        return port

    def _answer(self, client: PortClient, channel: int, port: _Port) -> None:
        """Say LISTENING.

        Raises:
            OSError: no duplicate of the socket is to be had.
            ActorClusterError: the worker does not take it.
        """
        handle = None
        if port.dealer is None:
            handle = stage(port.bound.socket, keep_open=True).commit()
        address = port.bound.address
        try:
            client.connection.send_listening(
                channel,
                mode=port.mode,
                policy=None if port.dealer is None else port.policy,
                address=list(address) if isinstance(address, tuple) else address,
                data=port.request.data,
                handle=handle,
            )
        except BaseException:
            if handle is not None:
                handle.close()
            raise

    def _join(self, client: PortClient, channel: int, port: _Port, credit: int) -> None:
        self._channels[client.id, channel] = port
        self._unused.pop(port, None)
        client.flush()
        client.listening(port.bound.address)
        if port.dealer is not None:
            port.dealer.join(client, channel, credit)

    # ---- workers leave --------------------------------------------------------------------

    def retire(self, client: PortClient) -> None:
        """The worker was told to stop: deal nothing more to it."""
        for port in self._ports.values():
            if port.dealer is not None:
                port.dealer.retire(client)

    def look_again(self, client: PortClient) -> None:
        """The worker is paused, or is not any more."""
        ports = {port for (worker, _), port in self._channels.items() if worker == client.id}
        for port in ports:
            if port.dealer is not None:
                port.dealer.look_again()

    def forget(self, client: PortClient) -> None:
        """The worker's channel has ended and was read to its end."""
        for worker, channel in list(self._channels):
            if worker == client.id:
                self._leave(client, channel)

    def _leave(self, client: PortClient, channel: int) -> None:
        port = self._channels.pop((client.id, channel), None)
        if port is None:
            return
        port.users.pop((client.id, channel), None)
        if not port.users:
            self._unused[port] = None
            self._close_unused(_MOST_UNUSED)
        if port.dealer is not None:
            port.dealer.leave(client, channel)

    def close_unused(self) -> None:
        """Close the ports without a worker: all have left, and nobody will come back."""
        self._close_unused(0)

    def _close_unused(self, most: int) -> None:
        while len(self._unused) > most:
            self._close(next(iter(self._unused)))

    def _close(self, port: _Port) -> None:
        """Close a port without a worker."""
        del self._unused[port]
        for identity in port.identities:
            if self._ports.get(identity) is port:
                del self._ports[identity]
        port.close()

    def taken(self, client: PortClient) -> int:
        """How many connections a worker has taken from the ports that are dealt out."""
        ports = dict.fromkeys(self._ports.values())
        return sum(port.dealer.taken(client.id) for port in ports if port.dealer is not None)

    # ---- the end --------------------------------------------------------------------------

    def close(self) -> None:
        """Close every port; the primary is leaving."""
        for port in dict.fromkeys(self._ports.values()):
            port.close()
        self._ports.clear()
        self._channels.clear()
        self._unused.clear()

    def statistics(self) -> tuple[PortStatistics, ...]:
        return tuple(port.statistics() for port in dict.fromkeys(self._ports.values()))
