"""What a body may hold: the rules at the sender, fast for the usual and thorough for the rest.

Runs in: both

None, bool, int -2**63..2**64-1, float, str, bytes-like, list, tuple, dict with str keys, aware
datetime, handles, refs, extension types that this side does not know; subclasses of these, which
arrive as the base type; at most ``max_depth`` containers inside each other.

`plain` says yes to nearly every body in well under a microsecond. Where it says no, or where the
packer refuses, `Inspector` knows all the rules and finds the path to what breaks them.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final, final

import msgpack

__all__ = ["LEAVES", "NESTS", "PLAIN", "SENDABLE", "Inspector", "entries", "plain"]

#: Without handles and refs.
PLAIN: Final = (
    "a body holds None, bool, int, float, str, bytes, list, dict with str keys, aware datetime"
)
SENDABLE: Final = f"{PLAIN}, Handle, Ref"
LEAVES: Final[frozenset[type]] = frozenset(
    {type(None), bool, int, float, str, bytes, bytearray, memoryview}
)
NESTS: Final[frozenset[type]] = frozenset({dict, list, tuple})


def plain(nest: Any, room: int, leaves: frozenset[type]) -> bool:
    """Whether a dict, list or tuple has types and depth that can be sent; False is not a verdict.

    Values (an int's range, a str's surrogates, a datetime's zone) are the packer's to refuse.
    """
    if not room:
        return False
    if type(nest) is dict:
        for key in nest:
            if type(key) is not str:
                return False
        nest = nest.values()
    for value in nest:
        kind = type(value)
        if kind in leaves:
            continue
        if kind in NESTS:
            if not plain(value, room - 1, leaves):
                return False
        # A year from the edge no offset can push the value out of the range of datetime.
        elif kind is not datetime or not 1 < value.year < 9999:
            return False
    return True


@final
class Inspector:
    """Says what in a body cannot be sent, and where. Thorough, and slow."""

    def __init__(
        self,
        *,
        opaque: tuple[type, ...],
        reserved: frozenset[int],
        max_depth: int,
        why_not: Callable[[Any], str | None],
    ) -> None:
        self._fine = (type(None), bool, float, bytes, bytearray, *opaque)
        self._reserved = reserved
        self._max_depth = max_depth
        self._why_not = why_not

    def problem(self, body: Any) -> str | None:
        """The first thing in reading order, with its path; None if all can be sent.

        Keeps a stack of its own, of iterators: a body may contain itself, many times over.
        """
        path: list[Any] = []
        levels: list[Iterator[tuple[Any, Any]]] = [iter([(None, body)])]
        while levels:
            entry = next(levels[-1], None)
            if entry is None:
                levels.pop()
                del path[-1:]  # none on the outermost level
                continue
            key, value = entry
            fault = self._fault(value, len(levels))
            if fault is not None:
                steps = "".join(f"[{reprlib.repr(step)}]" for step in [*path, key][1:])
                return f"body{steps}: {fault}"
            if isinstance(value, dict | list | tuple) and not isinstance(value, msgpack.ExtType):
                path.append(key)
                levels.append(entries(value))
        return None

    def _fault(self, value: Any, depth: int) -> str | None:
        """What is wrong with this one value; its elements are looked at on their own."""
        if isinstance(value, self._fine):
            return None
        if isinstance(value, int):
            return None if -(1 << 63) <= value < 1 << 64 else "int outside -2**63..2**64-1"
        if isinstance(value, str):
            return None if _has_utf8(value) else "str with a lone surrogate, which has no UTF-8"
        if isinstance(value, memoryview):
            return None if value.c_contiguous else "memoryview with gaps; send bytes(view)"
        if isinstance(value, datetime):
            return _datetime_fault(value)
        if isinstance(value, msgpack.ExtType):
            return self._ext_fault(value)
        if isinstance(value, dict | list | tuple):
            if depth > self._max_depth:
                return f"nested deeper than {self._max_depth} levels, or inside itself"
            return _nest_fault(value)
        return self._why_not(value) or f"{type(value).__name__} cannot be sent; {SENDABLE}"

    def _ext_fault(self, value: tuple[Any, Any]) -> str | None:
        code, data = value
        if type(code) is not int or not -128 <= code <= 127 or type(data) is not bytes:
            return "ExtType that is not (-128..127, bytes)"
        if code in self._reserved:
            return f"ExtType {code} is the wire's own; send the datetime, Handle or Ref itself"
        return None


def _datetime_fault(value: datetime) -> str | None:
    if value.utcoffset() is None:
        return "datetime without a time zone; only aware ones can be sent"
    try:
        value.astimezone(UTC)
    except OverflowError:
        return "datetime outside the years 1..9999 in UTC"
    return None


def _nest_fault(nest: dict[Any, Any] | list[Any] | tuple[Any, ...]) -> str | None:
    if isinstance(nest, dict):
        for key in nest:
            if not isinstance(key, str):
                return f"dict key of type {type(key).__name__}; keys are str"
            if not _has_utf8(key):
                return "dict key with a lone surrogate, which has no UTF-8"
    # The packer announces ``len`` elements and packs what it iterates over: if these differ, the
    # frame's length is wrong, and that costs the connection.
    if type(nest) not in NESTS and len(nest) != sum(1 for _ in entries(nest)):
        return f"{type(nest).__name__} whose length is not the number of its elements"
    return None


def _has_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def entries(nest: Any) -> Iterator[tuple[Any, Any]]:
    """Pairs of key or position, and value."""
    return iter(nest.items()) if isinstance(nest, dict) else enumerate(nest)
