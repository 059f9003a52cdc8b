"""Whether envelopes and control maps are shaped as their kind demands."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from .awp_v1 import KEYS, KINDS, Field
from .handles import entry_is_right
from .values import BadBody


def _int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _below(limit: int) -> Callable[[object], bool]:
    return lambda value: isinstance(value, int) and _int(value) and 0 <= value < limit


def _float(value: object) -> bool:
    return _int(value) or isinstance(value, float)


def is_number(value: object) -> bool:
    """Whether it is what SPEC.md calls a number: finite and not negative."""
    return isinstance(value, int | float) and _float(value) and 0 <= value < math.inf


def _text(value: object) -> bool:
    return isinstance(value, str)


def _list_of(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _version(value: object) -> bool:
    return isinstance(value, list) and len(value) >= 2 and all(map(_int, value[:2]))


def _place(value: object) -> bool:
    if isinstance(value, list) and len(value) >= 2:
        return isinstance(value[0], str) and _int(value[1])
    return isinstance(value, str)


_aid = _below(2**64)

_CHECKS: dict[str, Callable[[object], bool]] = {
    "u8": _below(2**8),
    "u32": _below(2**32),
    "u64": _below(2**64),
    "aid": _aid,
    "address": lambda value: _aid(value) or isinstance(value, str),
    "f64": _float,
    "number": is_number,
    "int": _int,
    "bool": lambda value: isinstance(value, bool),
    "str": _text,
    "str or int": lambda value: _text(value) or _int(value),
    "bin(16)": lambda value: isinstance(value, bytes) and len(value) == 16,
    "map": lambda value: isinstance(value, dict),
    "any": lambda _value: True,
    "[str]": _list_of(_text),
    "[major, minor]": _version,
    "[[major, minor], ...]": _list_of(_version),
    "[host, port] or str": _place,
    "array<u64>": _list_of(_below(2**64)),
    "array<handle>": _list_of(entry_is_right),
}


def _fits(field: Field, value: object) -> bool:
    if value is None:
        return not field.required or field.type == "any"
    return _CHECKS[field.type](value)


def envelope(kind: int, value: object) -> list[object]:
    """The envelope's elements, in order, as many as the kind has; absent ones are None.

    Raises:
        BadBody: it is not shaped as the kind demands.
    """
    fields = KINDS[kind].envelope
    if not fields:
        return []
    if value is None:
        value = []
    if not isinstance(value, list):
        raise BadBody("the envelope is no array")
    elements: list[object] = (value + [None] * len(fields))[: len(fields)]
    for field, element in zip(fields, elements, strict=True):
        if not _fits(field, element):
            raise BadBody(f"{field.name} in the envelope is no {field.type}")
    return elements


def payload(kind: int, value: object) -> Mapping[str, object]:
    """The map that is the payload of a control kind.

    Raises:
        BadBody: it is none, or a key has a value of the wrong type.
    """
    if KINDS[kind].payload != "map":
        return {}
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise BadBody("the payload is no map")
    for field in KEYS.get(kind, ()):
        if not _fits(field, value.get(field.name)):
            raise BadBody(f"{field.name} is missing, or no {field.type}")
    return value
