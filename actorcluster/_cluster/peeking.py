"""Connections whose client says by its first bytes who gets them. Pure: time is passed in.

Runs in: primary

A connection is looked at until its *head* is there, the client has ended, the limit is reached or
the time is up. Only the last one decides nothing: then it goes to the next in turn. So does the
oldest of more than are looked at together, which is the likeliest never to say a thing; whoever has
just come has better to be heard than to wait.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final, Generic, TypeAlias, TypeVar, final

import attrs

from . import checks
from .balance import Policy, address_key

__all__ = ["FORWARDED", "Peek", "Peeking", "Policies", "forwarded_for", "head_of"]

T = TypeVar("T", bound=Hashable)

#: The kernel holds that much, unread, of any connection.
_MOST: Final = 32_768


def _plain_function(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not callable(value) or inspect.iscoroutinefunction(value):
        raise TypeError(f"{field.name} must be a plain function, not {value!r}")


def _end(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, bytes) and not callable(value):
        raise TypeError(f"{field.name} must be bytes or a plain function, not {value!r}")
    if isinstance(value, bytes):
        if not value:
            raise ValueError(f"{field.name} must not be empty")
    else:
        _plain_function(_, field, value)


@final
@attrs.frozen
class Peek:
    r"""A policy that chooses by what the client says first, for `open_primary`.

    The bytes are looked at and stay where they are: whoever gets the connection reads them. Others
    are dealt meanwhile. A client that does not say enough in time goes to the next in turn.

    Args:
        function: a policy, as any other; its `NewConnection.head` is what the client said.
        until: what the head ends with; or a function of the bytes that are there, some, that says
            whether they are enough.
        limit: bytes that are looked at, 1 to 32,768; that many are a head without an end, too. So
            is what a client said that says no more.
        timeout: seconds from when it was accepted.

    Raises:
        TypeError, ValueError: an argument is wrong.
    """

    function: Policy = attrs.field(validator=_plain_function)
    until: bytes | Callable[[bytes], object] = attrs.field(
        default=b"\r\n\r\n", kw_only=True, validator=_end
    )
    limit: int = attrs.field(
        default=8192, kw_only=True, validator=[checks.count(1), checks.between(1, _MOST)]
    )
    timeout: float = attrs.field(default=1.0, kw_only=True, validator=checks.positive)


#: A primary's own, by name.
Policies: TypeAlias = Mapping[str, Policy | Peek]


def head_of(peek: Peek, there: bytes, *, ended: bool) -> bytes | None:
    """Give the head, if there is nothing more to wait for; empty: the client says nothing at all.

    Args:
        peek: the policy.
        there: what the client said so far.
        ended: whether it says no more.

    Raises:
        Exception: what a function ``until`` raised.
    """
    until = peek.until
    if isinstance(until, bytes):
        if (end := there.find(until)) >= 0:
            return there[: end + len(until)]
    elif there and until(there):
        return there
    return there if ended or len(there) >= peek.limit else None


@final
class Peeking(Generic[T]):
    """Who is being looked at, and what is decided: pairs of a connection and its head.

    A head that is empty: the next in turn.

    Args:
        head_of: see there; bound to the policy.
        timeout: seconds.
        most: connections that are looked at together.

    Attributes:
        fallbacks: connections that were given up.
    """

    def __init__(
        self, head_of: Callable[[bytes, bool], bytes | None], timeout: float, most: int
    ) -> None:
        self.fallbacks = 0
        self._head_of = head_of
        self._timeout = timeout
        self._most = max(1, most)
        self._deadlines: dict[T, float] = {}  # the oldest first

    def __len__(self) -> int:
        return len(self._deadlines)

    def __contains__(self, one: T) -> bool:
        return one in self._deadlines

    @property
    def deadline(self) -> float:
        """When the next one is late; inf: there is none."""
        return next(iter(self._deadlines.values()), math.inf)

    @property
    def oldest(self) -> T:
        """Who is looked at for longest; there is one."""
        return next(iter(self._deadlines))

    def look(self, one: T, there: bytes, now: float, *, ended: bool) -> list[tuple[T, bytes]]:
        """Look at what a connection, a new one or a known one, has said so far."""
        head = self._head_of(there, ended)
        if head is not None:
            self._deadlines.pop(one, None)
            return [(one, head)]
        if one in self._deadlines:
            return []
        self._deadlines[one] = now + self._timeout
        return self.give_up(self.oldest) if len(self) > self._most else []

    def late(self, now: float) -> list[tuple[T, bytes]]:
        """Give up those whose time is up."""
        decided: list[tuple[T, bytes]] = []
        while self.deadline <= now:
            decided += self.give_up(self.oldest)
        return decided

    def give_up(self, *some: T) -> list[tuple[T, bytes]]:
        """Look no longer at some; at none named: at all."""
        gone = some or tuple(self._deadlines)
        for one in gone:
            del self._deadlines[one]
        self.fallbacks += len(gone)
        return [(one, b"") for one in gone]


# ---- HTTP/1: whom a proxy speaks for --------------------------------------------------------

_REQUEST: Final = re.compile(rb"[A-Z-]{1,24}(?: |$)")
_BLANK_LINE: Final = re.compile(rb"\n\r?\n")
_FORWARDED: Final = re.compile(rb"(?i)\nx-forwarded-for:[ \t]*([^\s,]+)[ \t]*[,\r\n]")


def _find(head: bytes) -> re.Match[bytes] | None:
    blank = _BLANK_LINE.search(head)
    return _FORWARDED.search(head, 0, len(head) if blank is None else blank.start() + 1)


def _is_enough(head: bytes) -> bool:
    """Whether the header is there, or will not come: not in a head that ends, nor in no HTTP."""
    if not _REQUEST.match(head):
        return True
    return _find(head) is not None or _BLANK_LINE.search(head) is not None


def forwarded_for(head: bytes) -> bytes | None:
    """Give the first address of X-Forwarded-For, as `address_key` does; None: there is none."""
    found = _find(head) if _REQUEST.match(head) else None
    if found is None:
        return None
    text = found[1].decode("latin-1")
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]  # some say the client's port, too
    try:
        return address_key(text)
    except ValueError:
        return None


def _unasked(*_: object) -> None:
    """The built-in policy needs no candidates made for it."""


#: When the built-in one has seen enough.
FORWARDED: Final = Peek(_unasked, until=_is_enough)
