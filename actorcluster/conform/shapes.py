"""Which envelope and payload belong to each kind that a worker sends.

Runs in: both

Only what a sender must have is looked at: what is missing at the end of an envelope counts as nil,
and what there is more than is known is nobody's business (AWP-EV-1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ..wire._generated import FLAG_FRAG, Kind
from .frames import Heard

__all__ = ["misshapen"]

_Test = Callable[[Any], bool]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _or_nil(test: _Test) -> _Test:
    return lambda value: value is None or test(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_map(value: Any) -> bool:
    return isinstance(value, dict)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_address(value: Any) -> bool:
    return value is None or _is_count(value) or _is_text(value)


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_count, value))


def _is_error(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("code"), str)


def _anything(_value: Any) -> bool:
    return True


_MESSAGE: Final = (_is_address, _or_nil(_is_count), _or_nil(_is_list), _or_nil(_is_map))

#: Tests of the elements of the envelope, None where it is nil; and of the payload.
_SHAPES: Final[dict[int, tuple[tuple[_Test, ...] | None, _Test]]] = {
    Kind.HELLO: (None, lambda said: _is_map(said) and _is_list(said.get("versions"))),
    Kind.READY: (None, _is_map),
    Kind.GOODBYE: (None, lambda said: _is_map(said) and _is_count(said.get("recv"))),
    Kind.ABORT: (None, lambda said: _is_map(said) and _is_count(said.get("code"))),
    Kind.SETTINGS: (None, _is_map),
    Kind.SETTINGS_ACK: (None, lambda said: said is None),
    Kind.CREDIT: ((_is_count,), lambda said: said is None),
    Kind.ACK: ((_is_count,), lambda said: said is None),
    Kind.UNIMPLEMENTED: ((_is_count,), lambda said: said is None),
    Kind.LEAVE: (None, _is_map),
    Kind.SERVING: (None, _is_map),
    Kind.LISTEN: (None, lambda said: _is_map(said) and _is_text(said.get("transport"))),
    Kind.CONN_REPLY: ((_is_count, _or_nil(_are_counts)), lambda said: said is None),
    Kind.CONN_CREDIT: (
        (_is_count, _or_nil(_is_count), _or_nil(_is_count)),
        lambda said: said is None,
    ),
    Kind.LISTEN_CLOSE: (None, lambda said: said is None),
    Kind.HANDLE_ACK: ((_is_count, _or_nil(_are_counts)), lambda said: said is None),
    Kind.TELL: (_MESSAGE, _anything),
    Kind.CALL: (_MESSAGE, _anything),
    Kind.REPLY: ((_or_nil(_is_list), _or_nil(_is_map)), _anything),
    Kind.ERROR: (None, _is_error),
    Kind.CANCEL: ((_anything,), lambda said: said is None),
    Kind.UNDELIVERABLE: ((_is_count, _is_address), _is_error),
    Kind.MONITOR: ((_is_count, _is_address), lambda said: said is None),
    Kind.DEMONITOR: ((_is_count,), lambda said: said is None),
    Kind.EXIT_INFO: (None, _is_map),
    Kind.LOG: (
        (_is_count, _is_number, _is_text),
        lambda said: _is_list(said) and len(said) >= 1 and _is_text(said[0]),
    ),
}


def misshapen(heard: Heard) -> str:
    """Say what is wrong with its envelope or payload; empty: nothing."""
    shape = _SHAPES.get(heard.kind)
    if shape is None or any(fault.requirement == "AWP-FR-2" for fault in heard.faults):
        return ""
    tests, payload = shape
    if heard.flags & FLAG_FRAG:
        payload = _anything  # the whole is looked at once it is there
    envelope = heard.envelope
    if tests is None or envelope is None:
        required = tests is not None and not tests[0](None)
        if (tests is None and envelope is not None) or required:
            return f"its envelope is {envelope!r}"
    elif not _is_list(envelope):
        return f"its envelope is {envelope!r}"
    else:
        given = [*envelope, *[None] * (len(tests) - len(envelope))]
        for index, test in enumerate(tests):
            if not test(given[index]):
                return f"element {index} of its envelope is {given[index]!r}"
    return "" if payload(heard.payload) else f"its payload is {heard.payload!r:.200}"
