"""When a worker that is well has served long enough. Pure: what it has used is passed in.

Runs in: primary
"""

from __future__ import annotations

import re
from typing import Any, Final, final

import attrs

from . import checks

__all__ = ["Limits", "is_watched", "reached"]

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_UNITS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def _bytes(value: Any) -> Any:
    """``"500M"`` in bytes (powers of 1024); what is no such text is for the validator."""
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return value
    try:
        return int(float(match[1]) * 1024 ** _UNITS[match[2].upper()])
    except OverflowError:
        return 0


def _size(value: int | str | None) -> int | None:
    size: int | None = _bytes(value)
    return size


def _check_size(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, str):
        text = f"{field.name} must be a size like '500M', not {value!r}"
        raise ValueError(text)  # noqa: TRY004  (it may be a str, but not this one)
    if value is not None:
        checks.count(1, "bytes")(_, field, value)


@final
@attrs.frozen
class Limits:
    """When a worker that is well is replaced by a new one; None: never for that.

    Never two at a time in a whole tree, and the new one is ready before the old one is told to
    stop; the old one finishes what it has accepted. If the new one fails the old one serves on, and
    it is tried again after the child's backoff. All but the age is looked at once a second, so a
    busy worker goes somewhat beyond.

    Attributes:
        max_age: seconds since it was ready.
        max_rss: resident memory in bytes, pages shared with other processes included; ``"500M"``
            is 500 times 1024 times 1024.
        max_messages: messages sent to it.
        max_accepted: connections it took from shared ports that the primary deals out; those of a
            port under `SCHED_NONE` the primary does not see.
    """

    max_age: float | None = attrs.field(default=None, validator=checks.optional(checks.positive))
    max_rss: int | None = attrs.field(default=None, converter=_size, validator=_check_size)
    max_messages: int | None = attrs.field(default=None, validator=checks.optional(checks.count(1)))
    max_accepted: int | None = attrs.field(default=None, validator=checks.optional(checks.count(1)))


def is_watched(limits: Limits) -> bool:
    """Whether anything but the age has to be looked at."""
    return not limits.max_rss is limits.max_messages is limits.max_accepted is None


def reached(limits: Limits, *, rss: int, messages: int, accepted: int) -> str | None:
    """Give the limit that has been reached, if one has, the age left out."""
    used = {"max_rss": rss, "max_messages": messages, "max_accepted": accepted}
    for name, amount in used.items():
        most = getattr(limits, name)
        if most is not None and amount >= most:
            return name
    return None
