"""All shared ports of a primary: who listens on what, and how.

Runs in: primary

A port belongs to the primary and outlives the workers that use it, so a respawn refuses nobody: a
worker that closes its listener because it ends cannot be told from one that is done with the port.
The file of a unix socket, which would be in the way of others, is removed when nobody is left who
will come back to it.
Workers that ask for the same address share one port, in one of two ways: *handoff*, the primary
accepts and deals (see `dealing`); *shared*, each worker gets a duplicate of the socket and accepts
by itself. A worker that can do nothing else accepts beside a primary that deals: each client is
found by one of the two, and the primary knows nothing of what that worker takes.
Nothing that a worker says raises here; what cannot be done is answered with an ERROR.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any, Final, final

import attrs
import trio

from .._link.failure import failure_map
from .._link.filetable import most_open
from .._link.handles import commit
from .._link.staging import stage
from .._worker.inet import BACKLOG
from .._worker.listening import MODES, SCHED_NONE, SCHED_RR
from ..errors import ActorClusterError, LocalProtocolError
from ..wire import events
from ..wire._generated import Capability, ErrorCode, State
from .binding import Bound, ListenFds, PortRequest, bind
from .bounds import DROP, Bounds
from .choosing import Chooser, known_policies
from .dealing import ConnectionCounts, Dealer, PortClient
from .peeking import Policies
from .shares import PortStatistics

__all__ = ["ConnectionCounts", "PortClient", "PortStatistics", "Ports"]

#: The capability that a worker needs to listen in each way.
_CAPABILITIES: Final = {
    MODES[SCHED_RR]: Capability.LISTEN_HANDOFF,
    MODES[SCHED_NONE]: Capability.LISTEN_SHARED,
}

#: Ports without a worker that stay bound; beyond that, those unused for longest are closed. Only a
#: worker that asks for ever other ports gets that far.
_MOST_UNUSED: Final = 256

#: So many names of those who have gone may be remembered for a port that has users.
_FEW_NAMES: Final = 16


@final
@attrs.define(eq=False, repr=False)
class _Port:
    """One bound address.

    Attributes:
        policy: how its connections are dealt, or `SCHED_NONE`.
        request: the first worker's.
        data: for all who use it: what the first worker gave that gave some.
        identities: what workers ask for to share it.
        users: what each asked for, by worker id and channel of its listener.
        names: of those who have used it, and may come back to it.
        holders: names of supervisors that hold it, whoever uses it.
        dealer: None: the workers accept for themselves.
    """

    bound: Bound
    policy: str
    request: PortRequest
    data: Any = None
    identities: set[tuple[Any, ...]] = attrs.Factory(set)
    users: dict[tuple[int, int], tuple[Any, ...]] = attrs.Factory(dict)
    names: set[str] = attrs.Factory(set)
    holders: list[str] = attrs.Factory(list)
    dealer: Dealer | None = None

    @property
    def mode(self) -> str:
        """What the policy is on the wire."""
        return MODES[SCHED_NONE if self.dealer is None else SCHED_RR]

    def mode_of(self, usable: Sequence[str]) -> str:
        """Choose among the ways in which a worker can listen.

        Raises:
            OSError: there is none.
        """
        for mode in (self.mode, MODES[SCHED_NONE]):
            if mode in usable:
                return mode
        raise OSError(errno.ENOTSUP, f"this port is in mode {self.mode}")

    def dealer_for(self, client: PortClient, channel: int) -> Dealer | None:
        """Who deals to that listener; None: its worker accepts for itself."""
        if self.dealer is None or not self.dealer.deals_to(client, channel):
            return None
        return self.dealer

    def deals_as(self, request: PortRequest, mode: str) -> bool:
        """Whether connections wait and are dealt as if that had been asked for first."""
        alike = self.policy == _policy(request, mode)
        return alike and _bounds(self.request) == _bounds(request)

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
            peeking=0 if dealer is None else dealer.peeking,
            peek_fallbacks=0 if dealer is None else dealer.peek_fallbacks,
            unacknowledged=0 if dealer is None else dealer.untaken,
            dealt_again=0 if dealer is None else dealer.dealt_again,
            timed_out=0 if dealer is None else dealer.overflow.timed_out.count,
            dropped=0 if dealer is None else dealer.overflow.dropped.count,
            policy_faults=0 if dealer is None else dealer.policy_faults,
            workers={} if dealer is None else dealer.counts(),
            held_by=tuple(self.holders),
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
        policies: Policies = MappingProxyType({}),
    ) -> None:
        self._nursery = nursery
        self._policies = policies
        self._policy = policy
        self._ports: dict[tuple[Any, ...], _Port] = {}
        self._channels: dict[tuple[int, int], _Port] = {}
        self._unused: dict[_Port, None] = {}  # in order of their last use
        self.files: dict[_Port, None] = {}  # those that are files
        #: told of them whenever they are others.
        self.on_files: Callable[[Sequence[tuple[str, int, int]]], None] | None = None

    # ---- what workers say -----------------------------------------------------------------

    def on_event(self, client: PortClient, event: events.Event) -> None:
        """Act on what a worker says about listening."""
        if isinstance(event, (events.ConnReply, events.ConnCredit)):
            port = self._channels.get((client.id, event.channel))
            dealer = None if port is None else port.dealer_for(client, event.channel)
            if dealer is None:
                return  # closed a moment ago, or credit for one who accepts by himself
            if isinstance(event, events.ConnReply):
                dealer.reply(client, event)
            else:
                dealer.add_credit(client, event)
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
            port, mode = self._find(client, request, identity)
            if port.data is None:
                port.data = request.data
            self._answer(client, event.channel, port, mode)
        except ValueError as exc:
            self._refuse(client, event.channel, str(ErrorCode.BAD_PAYLOAD), str(exc))
        except LocalProtocolError:
            return  # it has closed it meanwhile, and may call on that channel by now
        except (OSError, ActorClusterError) as exc:
            self._refuse(client, event.channel, failure_map(exc)["code"], str(exc))
        else:
            port.users[client.id, event.channel] = identity
            self._join(client, event.channel, port, request, mode)

    def _refuse(self, client: PortClient, channel: int, code: str, text: str) -> None:
        """Answer with an error, unless the worker is gone, or does not want an answer any more."""
        with contextlib.suppress(ActorClusterError):
            client.connection.refuse_listen(channel, {"code": code, "message": text})
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

    def _find(
        self, client: PortClient, request: PortRequest, identity: tuple[Any, ...]
    ) -> tuple[_Port, str]:
        """Find the port, or bind it; and say how the worker is to listen."""
        self._check_policy(request)
        usable = self._usable_modes(client, request)
        port = self._known(request, identity)
        if port is None:
            if not usable:
                raise OSError(errno.ENOTSUP, f"no way to listen: {request.modes}")
            return self._open(client.listen_fds, identity, request, usable[0]), usable[0]
        mode = port.mode_of(usable)
        if any(worker == client.id for worker, _ in port.users):
            raise OSError(errno.EADDRINUSE, "this worker listens there already")
        return port, mode

    def _check_policy(self, request: PortRequest) -> None:
        known = known_policies(self._policies)
        if request.policy is not None and request.policy not in known:
            raise ValueError(f"policy is {request.policy!r}; there are {', '.join(known)}, none")

    def _known(self, request: PortRequest, identity: tuple[Any, ...]) -> _Port | None:
        """The port, if it is bound already."""
        port = self._ports.get(identity)
        if port in self._unused and not request.is_met_by(port.request):
            self._close(port)  # nobody is left for whom it should stay as it is
            return None
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
        self, listen_fds: ListenFds, identity: tuple[Any, ...], request: PortRequest, mode: str
    ) -> _Port:
        bound = bind(request, listen_fds)
        policy = _policy(request, mode)
        dealer = None
        if policy != SCHED_NONE:
            chooser = Chooser(policy, self._policies.get(policy), bound.address)
            try:
                dealer = Dealer(bound, chooser, _bounds(request), self._spare)
            except OSError:
                bound.close()
                raise
        port = _Port(bound, policy, request, identities={identity}, dealer=dealer)
        if request.transport in ("tcp", "udp") and request.port == 0:
            # A worker that asks for the port by its number means this one.
            port.identities.add(request.identity_of(int(bound.address[1])))
        for one in port.identities:
            self._ports.setdefault(one, port)
        self._unused[port] = None
        if bound.file is not None:
            self.files[port] = None
            self._tell_files()
        self._close_unused(_MOST_UNUSED)
        if dealer is not None:
            self._nursery.start_soon(dealer.run)
        return port

    def _spare(self) -> int:
        """How many more clients without a worker may be held, so that others have descriptors."""
        dealers = {port.dealer for port in self._ports.values() if port.dealer is not None}
        return most_open() // 2 - sum(dealer.waiting for dealer in dealers)

    def _answer(self, client: PortClient, channel: int, port: _Port, mode: str) -> None:
        """Say LISTENING.

        Raises:
            OSError: no duplicate of the socket is to be had.
            ActorClusterError: the worker does not take it.
        """
        handle, is_shared = None, mode == MODES[SCHED_NONE]
        if is_shared:
            handle = commit(stage(port.bound.socket, keep_open=True))
        address = port.bound.address
        try:
            client.connection.send_listening(
                channel,
                mode=mode,
                policy=None if is_shared else port.policy,
                address=list(address) if isinstance(address, tuple) else address,
                data=port.data,
                handle=handle,
            )
        except BaseException:
            if handle is not None:
                handle.close()
            raise

    def _join(
        self, client: PortClient, channel: int, port: _Port, request: PortRequest, mode: str
    ) -> None:
        self._channels[client.id, channel] = port
        self._unused.pop(port, None)
        port.names.add(client.name)
        client.flush()
        client.listening(port.bound.address)
        if port.dealer is not None and mode == port.mode:
            port.dealer.join(client, channel, request.credit, request.limit)

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
        if not port.users and not port.holders:
            self._unused[port] = None
            self._close_unused(_MOST_UNUSED)
        if (dealer := port.dealer_for(client, channel)) is not None:
            dealer.leave(client, channel)

    def settle(self, may_return: Callable[[str], bool]) -> None:
        """Something has changed in the tree: remove the files of those who will not come back.

        Args:
            may_return: whether who has that name runs, or will again by itself.
        """
        for port in list(self.files):
            if port.users and len(port.names) <= _FEW_NAMES + 2 * len(port.users):
                continue  # it is looked at when that is not for nothing
            port.names = set(filter(may_return, port.names))
            if port in self._unused and not port.names:
                self._close(port)

    # ---- supervisors hold -----------------------------------------------------------------

    def pin(self, holder: str, request: PortRequest, listen_fds: ListenFds) -> object:
        """Keep a port open, whoever uses it; bind it unless somebody has.

        Args:
            holder: name of the supervisor.
            request: what it is to be.
            listen_fds: of the primary's settings.

        Returns:
            What `unpin` takes.

        Raises:
            OSError: see `bind`.
            ValueError: there is no such policy.
        """
        self._check_policy(request)
        if request.transport == "tcp" and request.port == 0:  # nobody else's
            requests = (attrs.evolve(request, key=str(n)) for n in itertools.count(1))
            request = next(one for one in requests if one.identity(()) not in self._ports)
        identity = request.identity(listen_fds)
        mode = MODES[self._policy] if request.modes is None else request.modes[0]
        port = self._known(request, identity)
        if port in self._unused and not port.deals_as(request, mode):
            self._close(port)  # those who listened there before have no say in it any more
            port = None
        if port is None:
            port = self._open(listen_fds, identity, request, mode)
        self._unused.pop(port, None)
        port.holders.append(holder)
        return port

    def unpin(self, holder: str, port: object) -> None:
        """A supervisor holds a port no longer."""
        assert isinstance(port, _Port)
        port.holders.remove(holder)
        if not port.users and not port.holders and port in self._ports.values():
            self._unused[port] = None
            self._close(port)

    def close_unused(self) -> None:
        """Close the ports without a worker: all have left, and nobody will come back."""
        self._close_unused(0)

    def _close_unused(self, most: int) -> None:
        while len(self._unused) > most:
            self._close(next(iter(self._unused)))

    def _close(self, port: _Port) -> None:
        """Close a port without a worker."""
        del self._unused[port]
        is_file = port in self.files
        self.files.pop(port, None)
        for identity in port.identities:
            if self._ports.get(identity) is port:
                del self._ports[identity]
        port.close()
        if is_file:
            self._tell_files()

    def _tell_files(self) -> None:
        if self.on_files is not None:
            bounds = [port.bound for port in self.files]
            self.on_files([(str(one.address), *one.file) for one in bounds if one.file])

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
        self.files.clear()

    def statistics(self) -> tuple[PortStatistics, ...]:
        return tuple(port.statistics() for port in dict.fromkeys(self._ports.values()))


def _policy(request: PortRequest, mode: str) -> str:
    """How connections are dealt in this mode."""
    return request.policy or SCHED_RR if mode == MODES[SCHED_RR] else SCHED_NONE


def _bounds(request: PortRequest) -> Bounds:
    """How many connections may wait, and for how long; not more than half of what may be open."""
    timeout = None if request.wait is None else request.wait / 1000
    backlog = min(request.backlog or BACKLOG, most_open() // 2)
    return Bounds(backlog, timeout, request.full == DROP)
