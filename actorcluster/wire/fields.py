"""The shapes of envelopes and of payload maps, as tables, and strict checks by them.

Runs in: both

What is listed here must be of its type. What is not listed is ignored: unknown map keys and
additional trailing elements are a later minor version's, missing elements are nil (AWP-EV-1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, final

import attrs

from ._generated import HandleKind, Kind

__all__ = [
    "FIELDS_OF_ENVELOPE",
    "FIELDS_OF_MAP",
    "Malformed",
    "check_limits",
    "handle_entries",
    "heads_size",
    "is_version_array",
    "read_envelope",
    "read_error",
    "read_map",
]


#: as received, and as our own
_ARRAYS: Final = (list, tuple)
#: what may have a head
_WITH_HEAD: Final = (HandleKind.TCP_SOCKET, HandleKind.UNIX_STREAM)


class Malformed(ValueError):
    """A body is not shaped as its kind demands (AWP-FR-6)."""


@final
@attrs.frozen(eq=False)
class Field:
    """One element or key.

    Attributes:
        name: as in the registry.
        type: in words, for the error text.
        fits: whether a value is of that type.
        required: neither absent nor nil.
    """

    name: str
    type: str
    fits: Callable[[Any], bool]
    required: bool = False

    def check(self, value: Any) -> None:
        """Raise `Malformed` unless ``value`` may stand here."""
        if value is None:
            if self.required:
                raise Malformed(f"{self.name} is missing")
        elif not self.fits(value):
            raise Malformed(f"{self.name} must be {self.type}, not {type(value).__name__}")


def _is_unsigned(bits: int) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        return type(value) is int and 0 <= value < 1 << bits

    return fits


_is_u64: Final = _is_unsigned(64)


def _is_u64_array(value: Any) -> bool:
    return type(value) is list and all(map(_is_u64, value))


def _is_str_array(value: Any) -> bool:
    return type(value) is list and all(type(item) is str for item in value)


def _is_int(value: Any) -> bool:
    return type(value) is int


def _is_number(value: Any) -> bool:
    # The comparisons leave out nan, which compares false, and infinity, which is no time.
    return type(value) in (int, float) and 0 <= value < 1e18


def _is_str(value: Any) -> bool:
    return type(value) is str


def _is_bool(value: Any) -> bool:
    return type(value) is bool


def _is_map(value: Any) -> bool:
    return type(value) is dict


def _is_version(value: Any) -> bool:
    return type(value) is list and len(value) >= 2 and all(map(_is_u64, value[:2]))


def is_version_array(value: Any) -> bool:
    """Whether this may be the ``versions`` of HELLO."""
    return type(value) is list and all(map(_is_version, value))


def _is_cluster(value: Any) -> bool:
    return type(value) is bytes and len(value) == 16


def _is_worker_id(value: Any) -> bool:
    return type(value) is int and 0 < value < 1 << 20


def _is_address(value: Any) -> bool:
    return type(value) is str or _is_u64(value)


def _is_place(value: Any) -> bool:
    """Whether this may say where a socket is bound."""
    if type(value) is list:
        return [str, int] == [type(part) for part in value]
    return type(value) is str


def _is_array(value: Any) -> bool:
    return type(value) is list


def _u32(name: str) -> Field:
    return Field(name, "an unsigned 32-bit integer", _is_unsigned(32), required=True)


def _u64(name: str) -> Field:
    return Field(name, "an unsigned 64-bit integer", _is_u64, required=True)


def _count(name: str) -> Field:
    return Field(name, "an unsigned 64-bit integer", _is_u64)


def _numbers(name: str) -> Field:
    return Field(name, "an array of unsigned integers", _is_u64_array)


def _int(name: str, *, required: bool = False) -> Field:
    return Field(name, "an integer", _is_int, required=required)


def _number(name: str) -> Field:
    return Field(name, "a number of milliseconds, not negative", _is_number)


def _str(name: str, *, required: bool = False) -> Field:
    return Field(name, "a str", _is_str, required=required)


def _bool(name: str) -> Field:
    return Field(name, "a bool", _is_bool)


def _names(name: str) -> Field:
    return Field(name, "an array of str", _is_str_array)


def _map(name: str) -> Field:
    return Field(name, "a map", _is_map)


def _address(name: str, *, required: bool = False) -> Field:
    return Field(name, "an actor id or a name", _is_address, required=required)


def _handles(*, required: bool = False) -> Field:
    return Field("handles", "an array", _is_array, required=required)


_MESSAGE: Final = (
    _address("to"),
    Field("from", "an actor id", _is_u64),
    _handles(),
    _map("meta"),
)

#: The elements of each kind's envelope, in order. Kinds that are not here have none.
FIELDS_OF_ENVELOPE: Final[dict[int, tuple[Field, ...]]] = {
    Kind.CREDIT: (_u32("n"),),
    Kind.ACK: (_u64("n"),),
    Kind.UNIMPLEMENTED: (Field("kind", "a kind", _is_unsigned(8), required=True),),
    Kind.LISTENING: (_handles(),),
    Kind.CONN: (_u64("first"), _handles(required=True), _map("meta")),
    Kind.CONN_REPLY: (_u64("upto"), _numbers("rejected")),
    Kind.CONN_CREDIT: (_u32("n"), _count("closed"), _count("dropped")),
    Kind.HANDLE_ACK: (_u64("upto"), _numbers("lost")),
    Kind.TELL: _MESSAGE,
    Kind.CALL: _MESSAGE,
    Kind.REPLY: (_handles(), _map("meta")),
    Kind.CANCEL: (Field("reason", "anything", lambda _: True),),
    Kind.UNDELIVERABLE: (_u64("n"), _address("to")),
    Kind.MONITOR: (_u32("ref"), _address("target", required=True)),
    Kind.DEMONITOR: (_u32("ref"),),
    Kind.DOWN: (
        _u32("ref"),
        Field("target", "an actor id", _is_u64),
        _str("reason", required=True),
    ),
    Kind.LOG: (
        Field("level", "a level", _is_unsigned(8), required=True),
        Field("time", "a number of seconds", _is_number, required=True),
        _str("logger", required=True),
    ),
}

#: The keys of each kind's payload, for kinds whose payload is a map.
FIELDS_OF_MAP: Final[dict[int, tuple[Field, ...]]] = {
    Kind.HELLO: (
        Field("versions", "[[major, minor], ...]", is_version_array, required=True),
        _names("caps"),
        _names("require"),
        _map("limits"),
        _names("handles"),
        _int("worker"),
        _str("token"),
        _int("pid"),
        _map("impl"),
    ),
    Kind.WELCOME: (
        Field("version", "[major, minor]", _is_version, required=True),
        Field("worker", "a worker id", _is_worker_id, required=True),
        Field("cluster", "bin of 16 bytes", _is_cluster, required=True),
        _names("caps"),
        _map("limits"),
        _names("handles"),
        _number("heartbeat"),
        _map("config"),
        _str("name"),
    ),
    Kind.READY: (_map("info"),),
    Kind.SERVING: (_map("info"), Field("address", "[host, port] or a str", _is_place)),
    Kind.GOODBYE: (_int("reason"), _u64("recv"), _str("detail")),
    Kind.ABORT: (_int("code", required=True), _str("detail")),
    Kind.SETTINGS: (_map("limits"), _number("heartbeat"), _int("log_level"), _map("config")),
    Kind.STOP: (_number("deadline"), _int("reason")),
    Kind.LEAVE: (_int("reason"),),
    Kind.LISTEN: (
        _str("transport", required=True),
        _str("host"),
        _int("port"),
        _str("path"),
        _int("backlog"),
        _bool("v6only"),
        _names("modes"),
        Field("credit", "an unsigned 32-bit integer", _is_unsigned(32)),
        _str("key"),
        _str("policy"),
        _number("wait"),
        _int("limit"),
        _str("full"),
        Field("name", "a str or an integer", lambda value: type(value) in (str, int)),
    ),
    Kind.LISTENING: (_str("mode", required=True), _str("policy")),
    Kind.DOWN: (_int("code"), _str("signal"), _bool("voluntary"), _str("type"), _str("text")),
    Kind.EXIT_INFO: (),
}


def read_envelope(kind: int, envelope: Any) -> list[Any]:
    """Check an envelope; returns exactly the elements that are known, nil where absent."""
    fields = FIELDS_OF_ENVELOPE[kind]
    if envelope is None:
        envelope = []
    if type(envelope) is not list:
        raise Malformed(f"the envelope must be an array, not {type(envelope).__name__}")
    values = (envelope + [None] * len(fields))[: len(fields)]
    for field, value in zip(fields, values, strict=True):
        if value is not None or field.required:
            field.check(value)
    return values


def read_map(kind: int, payload: Any) -> dict[str, Any]:
    """Check a payload map; returns it as it is, unknown keys included."""
    if payload is None:
        payload = {}  # a worker of level 0 may have nothing to say
    if type(payload) is not dict:
        raise Malformed(f"the payload must be a map, not {type(payload).__name__}")
    for field in FIELDS_OF_MAP[kind]:
        field.check(payload.get(field.name))
    return payload


def read_error(payload: Any) -> dict[str, Any]:
    """Check an error map: a map with a code."""
    if type(payload) is not dict or type(payload.get("code")) is not str:
        raise Malformed("the payload must be an error map")
    return payload


def handle_entries(entries: Any, nfds: int) -> list[tuple[int, dict[str, Any]]]:
    """Check the ``handles`` of an envelope: one (kind, meta) for each descriptor (AWP-HA-5)."""
    entries = entries or ()
    if len(entries) != nfds:
        raise Malformed(f"{len(entries)} handles for {nfds} descriptors")
    checked = []
    for entry in entries:
        if type(entry) is not list or not entry or type(entry[0]) is not int:
            raise Malformed("a handle must be [kind, meta]")
        meta = entry[1] if len(entry) > 1 and entry[1] is not None else {}
        if type(meta) is not dict:
            raise Malformed("the meta of a handle must be a map")
        if meta.get("head") is not None:
            _check_head(entry[0], meta["head"])
        checked.append((entry[0], meta))
    return checked


def _check_head(kind: int, head: Any) -> None:
    """Check what the sender of a handle has read (AWP-HA-6)."""
    if type(head) is not bytes:
        raise Malformed(f"[AWP-HA-6] a head must be bin, not {type(head).__name__}")
    if kind not in _WITH_HEAD:
        raise Malformed(f"[AWP-HA-6] a handle of kind {kind} has no head")


def heads_size(entries: Any) -> int:
    """Count the bytes of all heads in the ``handles`` of an envelope, checked or not."""
    size = 0
    for entry in entries if type(entries) in _ARRAYS else ():
        if type(entry) in _ARRAYS and len(entry) > 1 and type(entry[1]) is dict:
            head = entry[1].get("head")
            if type(head) is bytes:
                size += len(head)
    return size


def check_limits(limits: Any, floors: dict[str, int]) -> dict[str, int]:
    """Check announced limits; what is below its floor counts as the floor (AWP-LM-1)."""
    checked = {}
    for name, floor in floors.items():
        value = (limits or {}).get(name)
        if value is not None:
            if type(value) is not int or value < 0:
                raise Malformed(f"limits.{name} must be an unsigned integer")
            checked[name] = max(value, floor)
    return checked
