"""The diagnostic form of the vectors: JSON that says everything msgpack can say.

Runs in: both

::

    {"$bin": "6869"}               bytes
    {"$ext": [1, "00"]}            extension type and its data
    {"$int": "9007199254740993"}   an integer beyond what a double holds exactly
    {"$float": "2"}                a float that JSON cannot tell from an integer; nan, inf, -inf, -0
    {"$map": [["$bin", 1]]}        a map that would look like one of these forms
    {"$handle": ["A", 1, {}]}      in events: the descriptor's name in the vector, kind, meta
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Callable
from typing import Any

import attrs
import msgpack

__all__ = ["NamedHandle", "from_diagnostic", "same", "to_diagnostic"]

_SAFE_INTEGER = 2**53 - 1


@attrs.frozen
class NamedHandle:
    """A handle over a descriptor that has only the name a vector gives it."""

    name: str
    kind: int
    meta: dict[str, Any]


def from_diagnostic(form: Any) -> Any:
    """The value that the JSON ``form`` stands for."""
    if isinstance(form, list):
        return [from_diagnostic(item) for item in form]
    if not isinstance(form, dict):
        return form
    if len(form) == 1:
        ((key, inner),) = form.items()
        if key.startswith("$"):
            return _special(key, inner)
    return {key: from_diagnostic(inner) for key, inner in form.items()}


def _special(key: str, inner: Any) -> Any:
    match key:
        case "$bin":
            return bytes.fromhex(inner)
        case "$ext":
            return _extension(inner[0], bytes.fromhex(inner[1]))
        case "$int":
            return int(inner)
        case "$float":
            return float(inner)
        case "$map":
            return {name: from_diagnostic(value) for name, value in inner}
        case "$handle":
            return NamedHandle(inner[0], inner[1], from_diagnostic(inner[2]))
    raise ValueError(f"no diagnostic form is called {key}")


def _extension(code: int, data: bytes) -> Any:
    # msgpack keeps its own negative types away from ExtType.
    return msgpack.Timestamp.from_bytes(data) if code == -1 else msgpack.ExtType(code, data)


def to_diagnostic(value: Any, default: Callable[[Any], Any] | None = None) -> Any:
    """The JSON form of ``value``, made of what msgpack gives; ``default`` converts the rest."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return int(value) if abs(value) <= _SAFE_INTEGER else {"$int": str(value)}
        case float():
            return _float(value)
        case bytes() | bytearray() | memoryview():
            return {"$bin": bytes(value).hex()}
        case msgpack.ExtType():
            return {"$ext": [value.code, value.data.hex()]}
        case list() | tuple():
            return [to_diagnostic(item, default) for item in value]
        case dict():
            return _map({key: to_diagnostic(item, default) for key, item in value.items()})
    return _other(value, default)


def _other(value: Any, default: Callable[[Any], Any] | None) -> Any:
    match value:
        case msgpack.Timestamp():
            return {"$ext": [-1, value.to_bytes().hex()]}
        case datetime.datetime():
            return _other(msgpack.Timestamp.from_datetime(value), None)
        case frozenset():
            return sorted(to_diagnostic(item, default) for item in value)
        case NamedHandle():
            return {"$handle": [value.name, value.kind, to_diagnostic(value.meta)]}
    if default is None:
        raise TypeError(f"{type(value).__name__} has no diagnostic form")
    return to_diagnostic(default(value))


def _float(value: float) -> Any:
    if math.isfinite(value) and value != int(value):
        return value
    return {"$float": f"{value:.17g}"}


def _map(form: dict[str, Any]) -> Any:
    if len(form) == 1 and next(iter(form)).startswith("$"):
        return {"$map": [list(pair) for pair in form.items()]}
    return form


def same(one: Any, other: Any) -> bool:
    """Whether two JSON forms are equal: 1, 1.0 and true differ, the order of keys is no matter."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
