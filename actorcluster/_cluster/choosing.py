"""One port's policy: the built-in ones, and those of the primary's own, whose faults are reported.

Runs in: primary

Who takes a connection just now is *free*. Who is only busy for a moment, with connections on their
way to it, is not; but where the choice is not arbitrary, as with clients that are to stay with one
worker, it may be chosen all the same, and the connection waits for it.
"""

from __future__ import annotations

import inspect
import logging
import resource
from collections.abc import Callable, Mapping, Sequence
from resource import getrusage, struct_rusage
from time import perf_counter
from typing import Any, Final, Protocol, TypeVar, cast, final

from .._link.failure import text_of
from .._worker.listening import SCHED_NONE, SCHED_RR
from . import balance
from .balance import POLICIES, Candidate, NewConnection, Policy, address_key
from .bounds import Tally
from .peeking import FORWARDED, Peek, Policies, forwarded_for, head_of

__all__ = ["Chooser", "check_policies", "known_policies"]

log = logging.getLogger("actorcluster.ports")

#: A policy of the primary's own holds up everything else in it.
_MOST_SECONDS: Final = 0.01

#: Of so many kinds of faults it is known when they were told of last.
_MOST_KINDS: Final = 100

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

#: What the application did not answer.
_FAILED: Final = object()

Address = tuple[str, int] | str


@final
class Chooser:
    """Chooses workers by one policy.

    Args:
        name: of the policy.
        own: what it is, if it is the primary's own.
        address: of the port.

    Attributes:
        faults: times the function failed, and the worker was the next in turn.
        has_wishes: whether it may choose one that is not free.
        by_weight: whether weights count.
        is_plain: whether it is strictly in turn, unless somebody warms up.
        peek: how it looks at what a client says first; None: it does not.
    """

    def __init__(self, name: str, own: Policy | Peek | None, address: Address) -> None:
        self.name = name
        self.faults = 0
        self.is_plain = name == SCHED_RR
        self.by_weight = not self.is_plain
        self.has_wishes = own is not None or name.startswith("sticky")
        self.peek = own if isinstance(own, Peek) else FORWARDED if name == "sticky_peek" else None
        self._function = own.function if isinstance(own, Peek) else own
        self._address = address
        self._told: dict[str, Tally] = {}  # by kind of fault

    def describe(self, peer: Any) -> NewConnection:
        """Say what a policy may know of a connection.

        Args:
            peer: as accept() gave it.
        """
        if isinstance(peer, tuple):
            peer = (peer[0], peer[1])
        return NewConnection(peer or None, self._address)

    def head_of(self, there: bytes, ended: bool) -> bytes | None:
        """Give the head of a connection that is looked at, see `peeking.head_of`.

        Returns:
            What the policy goes by; empty: nothing, so the next in turn; None: look again.
        """
        peek = self.peek
        assert peek is not None
        if self._function is None or isinstance(peek.until, bytes):
            return head_of(peek, there, ended=ended)
        head: bytes | object = self._call(lambda: head_of(peek, there, ended=ended))
        return b"" if head is _FAILED else cast("bytes | None", head)

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
        if self.has_wishes:
            host = forwarded_for(connection.head) if connection.head else None
            host = host or _host(connection.peer)
            return free[0] if host is None else balance.rendezvous(host, candidates)
        return balance.smooth_weighted(free)

    def _ask(
        self, function: Policy, connection: NewConnection, candidates: Sequence[S]
    ) -> S | None:
        """Call a function of the application; None: the next in turn will do."""
        shown = [Candidate(one.id, one.name, one.open, one.weight) for one in candidates]
        found = self._call(lambda: _found(function(connection, shown), candidates))
        return None if found is _FAILED else cast("S | None", found)

    def _call(self, function: Callable[[], object]) -> object:
        """Call something of the application's, which must be quick; `_FAILED`: that is told."""
        began, before = perf_counter(), getrusage(_THREAD)
        try:
            result = function()
        except _NoChoiceError as exc:
            self._fault(*exc.args)
            return _FAILED
        except Exception as exc:  # noqa: BLE001  (whatever it is, the client must be served)
            self._fault(f"raised {type(exc).__name__}", f": {text_of(exc)}", exc)
            return _FAILED
        if perf_counter() - began > _MOST_SECONDS and _was_slow(before):
            text = f" more than {_MOST_SECONDS * 1000:.0f} ms, for which all had to wait"
            self._fault("took", text)
            return _FAILED
        return result

    def _fault(self, kind: str, text: str, exc: BaseException | None = None) -> None:
        """Count it, and tell now and then: what is in the text may come from a client."""
        self.faults += 1
        if len(self._told) >= _MOST_KINDS:
            self._told.clear()
        if count := self._told.setdefault(kind, Tally()).add(1, perf_counter()):
            if count > 1:
                text += f" (the latest of {count} times)"
            log.error("policy %r of %s %s%s", self.name, self._address, kind, text, exc_info=exc)


class _NoChoiceError(Exception):
    """What a policy returned chooses nobody; its arguments are what `Chooser._fault` is told."""


def _found(chosen: object, candidates: Sequence[S]) -> S | None:
    """Find whom a policy chose, whatever it returned; None: the next in turn.

    Raises:
        _NoChoiceError: nobody.
        Exception: what it returned raised, asked what it is.
    """
    if chosen is None:
        return None
    if not isinstance(chosen, Candidate):
        raise _NoChoiceError("returned", f" {chosen!r:.100}, which is no Candidate")
    for one in candidates:
        if one.id == chosen.id:
            return one
    raise _NoChoiceError("chose", f" worker {chosen.id!r:.100}, which is not among the candidates")


def _was_slow(before: struct_rusage) -> bool:
    """Whether what took long was the function: not if others had the processor meanwhile."""
    after = getrusage(_THREAD)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return busy > _MOST_SECONDS or after.ru_nvcsw > before.ru_nvcsw


def _host(peer: object) -> bytes | None:
    """What is the same for all connections of one client, if anything is."""
    if not isinstance(peer, tuple):
        return None
    return address_key(peer[0])


def known_policies(own: Mapping[str, Any]) -> tuple[str, ...]:
    """Give the names of all policies by which a primary deals."""
    return (*POLICIES, *own)


def check_policies(given: object) -> Policies:
    """Check the policies of a primary's own.

    Raises:
        TypeError, ValueError: something is wrong with them; the text names it.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(f"policies must be a mapping of names to functions, not {given!r}")
    policies: dict[str, Policy | Peek] = {}
    for name, function in given.items():
        if not isinstance(name, str):
            raise TypeError(f"policies: a name must be a str, not {name!r}")
        if not name or not name.isprintable() or name in (*POLICIES, SCHED_NONE):
            taken = ", ".join((*POLICIES, SCHED_NONE))
            raise ValueError(f"policies: {name!r} cannot be a name; taken are {taken}")
        is_plain = callable(function) and not inspect.iscoroutinefunction(function)
        if not is_plain and not isinstance(function, Peek):
            raise TypeError(f"policies[{name!r}] must be a plain function, not {function!r}")
        policies[name] = function
    return policies
