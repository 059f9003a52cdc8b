"""What of a frame's body goes into a trace: the protocol's own words, and never a secret. Pure.

Runs in: both

Theory of operation
===================

A *payload* of the protocol's own kinds, HELLO to LISTENING, is a map whose keys the specification
names. Those that hold nothing of the application's are named here (`_OPEN`), and everything else
is left out: a key of a later version is not shown by accident. With bodies it is the other way
round: everything is in but what is a secret (`_SECRET`): the token of a worker that connects, the
keys of TLS tickets in ``data``, and ``config``. Of that, what the library itself has put there
(`_CONFIG`) is in, and so is what is empty.

A payload of the application's kinds is in with bodies only; of ERROR, UNDELIVERABLE and EXIT_INFO
the code is in always. An *envelope* is in, but for the ``head`` of a handle: that is what a client
has said already. Of kinds that are not known both are in with bodies only.

What cannot be decoded is left out: nobody could say what it holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgpack

from ..wire._generated import FLAG_FRAG, FLAG_MORE, KINDS, Kind

__all__ = ["Shown", "shown"]

#: Envelope and payload as they are in the trace, the payload's length, and what was left out.
Shown: TypeAlias = tuple[bytes | None, bytes | None, int, tuple[str, ...]]

_NIL: Final = b"\xc0"
_OPAQUE: Final = frozenset({Kind.PING, Kind.PONG})
_LONGEST_OPAQUE: Final = 64

_OPEN: Final[Mapping[int, frozenset[str]]] = {
    code: frozenset(keys.split())
    for code, keys in {
        Kind.HELLO: "versions caps require limits handles worker pid impl role",
        Kind.WELCOME: "version worker cluster caps limits handles heartbeat name config",
        Kind.READY: "",
        Kind.GOODBYE: "reason recv",
        Kind.ABORT: "code detail frame",
        Kind.SETTINGS: "limits heartbeat log_level",
        Kind.STOP: "deadline reason",
        Kind.LEAVE: "reason",
        Kind.SERVING: "address",
        Kind.LISTEN: "transport host port path mode backlog v6only modes credit key name policy"
        " wait limit full",
        Kind.LISTENING: "mode address policy",
        Kind.ERROR: "code",
        Kind.UNDELIVERABLE: "code",
        Kind.EXIT_INFO: "code",
        Kind.DOWN: "code signal voluntary",
    }.items()
}
_SECRET: Final[Mapping[int, frozenset[str]]] = {
    Kind.HELLO: frozenset({"token", "ext"}),
    Kind.WELCOME: frozenset({"ext"}),
    Kind.SETTINGS: frozenset({"config"}),
    Kind.LISTEN: frozenset({"data"}),
    Kind.LISTENING: frozenset({"data"}),
}
#: Keys of the library's own in ``config`` of WELCOME.
_CONFIG: Final = frozenset({"target", "incarnation"})
_HANDLES_AT: Final = {
    code: info.fields.index("handles") for code, info in KINDS.items() if "handles" in info.fields
}


def shown(header: bytes, body: bytes, size: int, *, bodies: bool) -> Shown:
    """Say what of a frame goes into the trace.

    Args:
        header: of 16 bytes.
        body: as much of it as was kept.
        size: of all of it.
        bodies: whether the application's are in.
    """
    kind, flags = header[7], header[8]
    if kind in _OPAQUE:
        is_in = len(body) == size and (bodies or size <= _LONGEST_OPAQUE)
        return None, body if is_in else None, size, ()
    end = _end_of_first(body)
    if end is None:
        return None, None, size, ()
    envelope: bytes | None = body[:end]
    payload: bytes | None = body[end:]
    payload_size = size - end
    is_whole = len(body) == size
    known = KINDS.get(kind)
    if known is None or known.status != "built":
        if not bodies:
            return None, None, payload_size, ()
        return envelope, payload if is_whole else None, payload_size, ()
    masked: tuple[str, ...] = ()
    if not bodies and kind in _HANDLES_AT and envelope != _NIL:
        envelope, masked = _without_heads(body[:end], _HANDLES_AT[kind])
    is_piece = bool(flags & (FLAG_FRAG | FLAG_MORE))
    if kind in _OPEN and not is_piece:
        payload, more = _without_secrets(kind, body[end:] if is_whole else b"", bodies=bodies)
        return envelope, payload, payload_size, (*masked, *more)
    is_in = is_whole and (bodies or payload == _NIL)
    return envelope, payload if is_in else None, payload_size, masked


def _end_of_first(body: bytes) -> int | None:
    """Where the first object ends; None: it does not, or is none."""
    if body[:1] == _NIL:
        return 1
    if body[:2] == b"\x91\xc0":  # of a message to the main actor
        return 2
    unpacker = msgpack.Unpacker(max_buffer_size=0, strict_map_key=False)
    unpacker.feed(body)
    try:
        unpacker.skip()
    except Exception:  # noqa: BLE001  (whatever msgpack raises of what is none)
        return None
    return int(unpacker.tell())


def _without_heads(envelope: bytes, at: int) -> tuple[bytes | None, tuple[str, ...]]:
    if b"head" not in envelope:
        return envelope, ()
    said = _value(envelope)
    if not isinstance(said, list) or at >= len(said) or not isinstance(said[at], list):
        return None, ("envelope",)
    is_masked = False
    for entry in said[at]:
        meta = entry[1] if isinstance(entry, list) and len(entry) > 1 else None
        if isinstance(meta, dict) and meta.pop("head", None):
            is_masked = True
    return (_packed(said), ("head",)) if is_masked else (envelope, ())


def _without_secrets(
    kind: int, payload: bytes, *, bodies: bool
) -> tuple[bytes | None, tuple[str, ...]]:
    if payload in (_NIL, b"\x80"):
        return payload, ()
    said = _value(payload)
    if not isinstance(said, dict):
        return None, ()
    is_in = (lambda key: key not in _SECRET.get(kind, ())) if bodies else _OPEN[kind].__contains__
    kept = {key: value for key, value in said.items() if is_in(key)}
    masked = [str(key)[:40] for key in said if key not in kept]
    if kind == Kind.WELCOME and isinstance(kept.get("config"), dict):
        config = kept["config"]
        kept["config"] = {
            key: value for key, value in config.items() if key in _CONFIG or not value
        }
        masked += [f"config.{key}"[:40] for key in config if key not in kept["config"]]
    elif kind == Kind.WELCOME and kept.pop("config", None) is not None:
        masked.append("config")
    return (_packed(kept), tuple(masked)) if masked else (payload, ())


def _value(data: bytes) -> Any:
    """Decode one value; None where that cannot be done, or there is more."""
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=False)
    except Exception:  # noqa: BLE001  (whatever msgpack raises of what is none)
        return None


def _packed(value: Any) -> bytes:
    data: bytes = msgpack.packb(value, use_bin_type=True)
    return data
