"""What the judge goes by: shapes of control frames, and what a verdict is.

Runs in: both
"""

from __future__ import annotations

from typing import Any, Final, final

import attrs

from ...wire._generated import Kind

__all__ = [
    "BY_ENVELOPE",
    "FIRST",
    "MAPS",
    "Verdict",
    "is_address",
    "is_or_nil",
    "is_u64",
    "is_version",
]

#: Required first elements of envelopes: how many bits they may have.
FIRST: Final[dict[int, int]] = {
    Kind.CREDIT: 32, Kind.ACK: 64, Kind.UNIMPLEMENTED: 8, Kind.MONITOR: 32, Kind.DEMONITOR: 32,
    Kind.CONN_CREDIT: 32, Kind.CONN_REPLY: 64, Kind.HANDLE_ACK: 64,
}  # fmt: skip
#: Kinds whose payload is a map, with the keys that must be there and their types.
MAPS: Final[dict[int, dict[str, type]]] = {
    Kind.HELLO: {"versions": list}, Kind.READY: {}, Kind.GOODBYE: {"recv": int},
    Kind.SETTINGS: {}, Kind.LEAVE: {}, Kind.SERVING: {}, Kind.LISTEN: {"transport": str},
}  # fmt: skip
#: What may be named of a frame before the rest of its body is looked at, or if it never is.
BY_ENVELOPE: Final[dict[int, frozenset[str]]] = {
    Kind.CREDIT: frozenset({"flow_violation"}),
    Kind.MONITOR: frozenset({"limit_exceeded"}),
    Kind.HELLO: frozenset({"version", "required_capability"}),
}


@final
@attrs.define
class Verdict:
    """What may come of it.

    Attributes:
        codes: that ABORT may have.
        may_live: whether the connection may go on.
        why: the certain finding, in words.
    """

    codes: set[str] = attrs.Factory(set)
    may_live: bool = True
    why: str = ""

    def __str__(self) -> str:
        codes = " or ".join(sorted(self.codes))
        if not self.may_live:
            return f"ABORT {codes} ({self.why})"
        return f"lives on, or ABORT {codes}" if codes else "lives on"


def is_or_nil(type_: type, value: Any) -> bool:
    """Whether it is nil or of that type."""
    return value is None or isinstance(value, type_)


def is_address(value: Any) -> bool:
    """Whether it may name an actor, or is nil."""
    return value is None or isinstance(value, str) or is_u64(value)


def is_version(value: Any) -> bool:
    """Whether it is a major and a minor number."""
    return isinstance(value, list) and len(value) >= 2 and all(map(is_u64, value[:2]))


def is_u64(value: Any) -> bool:
    """Whether it is an integer of 64 bits without a sign."""
    return type(value) is int and 0 <= value < 1 << 64
