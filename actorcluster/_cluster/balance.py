"""Which worker gets this connection? Pure: no sockets, no clock.

Runs in: primary
"""

from __future__ import annotations

import ipaddress
import math
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from hashlib import blake2b
from typing import Final, Generic, Protocol, TypeAlias, TypeVar, final

import attrs

__all__ = [
    "POLICIES",
    "Candidate",
    "NewConnection",
    "Policy",
    "RoundRobin",
    "address_key",
    "fewest_open",
    "rendezvous",
    "smooth_weighted",
    "sticky",
    "warmth",
    "weighs",
]

T = TypeVar("T", bound=Hashable)

#: What every primary knows, beside its own.
POLICIES: Final = (
    "round_robin",
    "least_connections",
    "weighted",
    "sticky_address",
    "sticky_peek",
)

#: The least share of a worker that has just begun to warm up.
_COLDEST: Final = 0.01

#: Between these sums and quotients of weights are exact enough, and none is 0 or infinite.
_LEAST_WEIGHT: Final = 1e-100
_MOST_WEIGHT: Final = 1e100


@final
@attrs.frozen
class NewConnection:
    """An accepted connection that a policy is to find a worker for.

    Attributes:
        peer: ``(host, port)`` of the client; a path or None on unix sockets.
        address: of the port, as bound.
        head: what the client said first, for a `Peek`; else empty.
    """

    peer: tuple[str, int] | str | bytes | None
    address: tuple[str, int] | str
    head: bytes = b""


@final
@attrs.frozen
class Candidate:
    """A worker that takes connections, as a policy sees it.

    Attributes:
        id: of the `Worker`.
        name: its place in the tree, which its next life will have, too.
        open: connections of this port that it has, those on their way to it included.
        weight: its `Worker.weight`, less while it warms up.
    """

    id: int
    name: str
    open: int
    weight: float


#: A policy of the primary's own, see `open_primary`.
Policy: TypeAlias = Callable[[NewConnection, Sequence[Candidate]], Candidate | None]


class _Named(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def weight(self) -> float: ...


class _Loaded(Protocol):
    @property
    def open(self) -> int: ...
    @property
    def weight(self) -> float: ...


class _Leading(Protocol):
    lead: float

    @property
    def weight(self) -> float: ...


N = TypeVar("N", bound=_Named)
L = TypeVar("L", bound=_Loaded)
W = TypeVar("W", bound=_Leading)


def fewest_open(candidates: Sequence[L]) -> L:
    """Choose who has fewest connections for its weight; of equals, the first."""
    return min(candidates, key=lambda one: (one.open + 1) / one.weight)


def smooth_weighted(candidates: Sequence[W]) -> W:
    """Choose in turn, each as often as its weight says, and evenly: 5, 1, 1 is a a b a c a a.

    Everybody comes nearer by its weight; who is nearest is chosen, and goes back by all that the
    others came nearer.
    """
    total = 0.0
    for one in candidates:
        one.lead += one.weight
        total += one.weight
    chosen = max(candidates, key=lambda one: one.lead)
    chosen.lead -= total
    return chosen


def address_key(host: str) -> bytes:
    """Give what stands for a numeric address in `rendezvous`; the same for IPv4 within IPv6.

    Raises:
        ValueError: it is none.
    """
    address = ipaddress.ip_address(host)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).packed


def rendezvous(key: bytes, candidates: Sequence[N]) -> N:
    """Choose the same candidate for the same key, each for a share of keys by its weight.

    Every candidate bids for the key, and the highest bid wins. So when one goes, only the keys
    that were its own move, and they move to all others.
    """
    return max(candidates, key=lambda one: _bid(key, one.name, one.weight))


def _bid(key: bytes, name: str, weight: float) -> float:
    digest = blake2b(key, digest_size=8, key=blake2b(name.encode(), digest_size=32).digest())
    chance = (int.from_bytes(digest.digest(), "big") + 1) / (2**64 + 2)
    return -weight / math.log(chance)


def sticky(key: str | bytes, candidates: Sequence[Candidate]) -> Candidate:
    """Choose the same worker for the same key, as long as it is there; for policies of your own.

    A worker that ends moves only the keys that were its own, evenly to all others, and the next
    life of the same name has them again. A worker of twice the weight has twice as many keys.

    Args:
        key: what is to stay together: an address, a user, a session.
        candidates: as the policy got them.

    Raises:
        ValueError: there are no candidates.
    """
    return rendezvous(key.encode() if isinstance(key, str) else key, candidates)


def warmth(ready_at: float | None, warm_up: float, now: float) -> float:
    """How large a share of its own a worker has: growing to 1 in the time that it warms up.

    Args:
        ready_at: when it was ready; None: it is not.
        warm_up: seconds.
        now: the time.
    """
    if not warm_up:
        return 1.0
    since = 0.0 if ready_at is None else now - ready_at
    return min(1.0, max(_COLDEST, since / warm_up))


def weighs(weight: float, warmth: float) -> float:
    """Give what a worker counts beside others: more than nothing, and all together are a number.

    Args:
        weight: its own.
        warmth: see there.
    """
    return min(_MOST_WEIGHT, max(_LEAST_WEIGHT, weight)) * warmth


@final
class RoundRobin(Generic[T]):
    """Deals to each candidate in turn, passing over those that take nothing now.

    Invariant: a candidate that always takes gets every n-th connection, whatever the others do.
    """

    def __init__(self) -> None:
        self._turn: deque[T] = deque()

    def __len__(self) -> int:
        return len(self._turn)

    def __iter__(self) -> Iterator[T]:
        """Everybody in turn."""
        return iter(self._turn)

    def add(self, candidate: T) -> None:
        """Let a candidate take part, as the last in turn."""
        if candidate not in self._turn:
            self._turn.append(candidate)

    def remove(self, candidate: T) -> None:
        """Take a candidate out; nothing happens when it is not there."""
        if candidate in self._turn:
            self._turn.remove(candidate)

    def choose(self, takes: Callable[[T], bool]) -> T | None:
        """Choose who is next.

        Args:
            takes: whether a candidate takes a connection now.

        Returns:
            The first in turn that does, moved to the end; None when nobody does. O(candidates).
        """
        for place, candidate in enumerate(self._turn):
            if takes(candidate):
                # Only the chosen one goes to the end; whoever was passed over stays in front.
                del self._turn[place]
                self._turn.append(candidate)
                return candidate
        return None

    def had(self, candidate: T) -> None:
        """A candidate was chosen by other means: it is the last in turn now."""
        self._turn.remove(candidate)
        self._turn.append(candidate)
