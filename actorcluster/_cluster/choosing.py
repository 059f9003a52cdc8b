"""One port's policy: the built-in ones, and those of the primary's own, whose faults are reported.

Runs in: primary

Who takes a connection just now is *free*. Who is only busy for a moment, with connections on their
way to it, is not; but where the choice is not arbitrary, as with clients that are to stay with one
worker, it may be chosen all the same, and the connection waits for it.
"""

from __future__ import annotations

import inspect
import ipaddress
import logging
import resource
from collections.abc import Callable, Mapping, Sequence
from resource import getrusage, struct_rusage
from time import perf_counter
from typing import Any, Final, Protocol, TypeVar, final

from .._worker.listening import SCHED_NONE, SCHED_RR
from . import balance
from .balance import POLICIES, Candidate, NewConnection, Policy

__all__ = ["Chooser", "check_policies", "known_policies"]

log = logging.getLogger("actorcluster.ports")

#: A policy of the primary's own holds up everything else in it.
_MOST_SECONDS: Final = 0.01

#: Of this thread alone, where the kernel can tell.
_THREAD: Final[int] = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)


class _Share(Protocol):
    """One worker's part in a port."""

    lead: float

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def open(self) -> int: ...
    @property
    def weight(self) -> float: ...


S = TypeVar("S", bound=_Share)

Address = tuple[str, int] | str


@final
class Chooser:
    """Chooses workers by one policy.

    Args:
        name: of the policy.
        function: if it is the primary's own.
        address: of the port.

    Attributes:
        faults: times the function failed, and the worker was the next in turn.
        has_wishes: whether it may choose one that is not free.
        by_weight: whether weights count.
        is_plain: whether it is strictly in turn, unless somebody warms up.
    """

    def __init__(self, name: str, function: Policy | None, address: Address) -> None:
        self.name = name
        self.faults = 0
        self.is_plain = name == SCHED_RR
        self.by_weight = not self.is_plain
        self.has_wishes = function is not None or name.startswith("sticky")
        self._function = function
        self._address = address
        self._last_fault = ""

    def describe(self, peer: Any) -> NewConnection:
        """Say what a policy may know of a connection.

        Args:
            peer: as accept() gave it.
        """
        if isinstance(peer, tuple):
            peer = (peer[0], peer[1])
        return NewConnection(peer or None, self._address)

    def choose(
        self, connection: NewConnection | None, candidates: Sequence[S], free: Sequence[S]
    ) -> S:
        """Choose who gets a connection.

        Args:
            connection: which one; None: strictly in turn.
            candidates: who may be chosen, in turn.
            free: those of them that are free, in turn; at least one.
        """
        if connection is None:
            return balance.smooth_weighted(free)
        if self._function is not None:
            return self._ask(self._function, connection, candidates) or free[0]
        if self.name == "least_connections":
            return balance.fewest_open(free)
        if self.name == "sticky_address":
            host = _host(connection.peer)
            if host is not None:
                return balance.rendezvous(host, candidates)
            return free[0]
        return balance.smooth_weighted(free)

    def _ask(
        self, function: Policy, connection: NewConnection, candidates: Sequence[S]
    ) -> S | None:
        """Call a function of the application; None: the next in turn will do."""
        shown = [Candidate(one.id, one.name, one.open, one.weight) for one in candidates]
        began, before = perf_counter(), getrusage(_THREAD)
        try:
            chosen: Any = function(connection, shown)
        except Exception as exc:  # noqa: BLE001  (whatever it is, the client must be served)
            self._fault(f"raised {type(exc).__name__}: {exc}", exc)
            return None
        if perf_counter() - began > _MOST_SECONDS and _was_slow(before):
            self._fault(f"took more than {_MOST_SECONDS * 1000:.0f} ms, for which all had to wait")
            return None
        if chosen is None:
            return None
        if not isinstance(chosen, Candidate):
            self._fault(f"returned {chosen!r:.100}, which is no Candidate")
            return None
        found = next((one for one in candidates if one.id == chosen.id), None)
        if found is None:
            self._fault(f"chose worker {chosen.id}, which is not among the candidates")
        return found

    def _fault(self, text: str, exc: BaseException | None = None) -> None:
        """Count it, and tell; not again what was told last."""
        self.faults += 1
        if text != self._last_fault:
            self._last_fault = text
            log.error("policy %r of %s %s", self.name, self._address, text, exc_info=exc)


def _was_slow(before: struct_rusage) -> bool:
    """Whether what took long was the function: not if others had the processor meanwhile."""
    after = getrusage(_THREAD)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return busy > _MOST_SECONDS or after.ru_nvcsw > before.ru_nvcsw


def _host(peer: object) -> bytes | None:
    """What is the same for all connections of one client, if anything is."""
    if not isinstance(peer, tuple):
        return None
    address = ipaddress.ip_address(peer[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).packed


def known_policies(own: Mapping[str, Any]) -> tuple[str, ...]:
    """Give the names of all policies by which a primary deals."""
    return (*POLICIES, *own)


def check_policies(given: object) -> Mapping[str, Policy]:
    """Check the policies of a primary's own.

    Raises:
        TypeError, ValueError: something is wrong with them; the text names it.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(f"policies must be a mapping of names to functions, not {given!r}")
    policies: dict[str, Callable[..., Any]] = {}
    for name, function in given.items():
        if not isinstance(name, str):
            raise TypeError(f"policies: a name must be a str, not {name!r}")
        if not name or not name.isprintable() or name in (*POLICIES, SCHED_NONE):
            taken = ", ".join((*POLICIES, SCHED_NONE))
            raise ValueError(f"policies: {name!r} cannot be a name; taken are {taken}")
        if not callable(function) or inspect.iscoroutinefunction(function):
            raise TypeError(f"policies[{name!r}] must be a plain function, not {function!r}")
        policies[name] = function
    return policies
