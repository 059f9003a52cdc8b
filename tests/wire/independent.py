"""A second decoder of the protocol, from SPEC.md alone: no line of the package, nor of msgpack's.

Runs in: both

Slow and plain. It gives frames in the diagnostic form of the vectors, or says which sentence a
stream of bytes breaks.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any

__all__ = ["Broken", "frames_of", "value_of"]

Frame = dict[str, Any]

PIECE = 0x02  # the flag FRAG
PING, PONG = 0x06, 0x07
SAFE = 2**53 - 1


class Broken(Exception):
    """A sentence of the specification that these bytes break."""


class Cut(Exception):
    """The value goes on behind the end."""


class Unclear(Exception):
    """Nobody can say where the value ends."""


class Cursor:
    """Bytes, and how far they have been read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        """The next bytes."""
        if self.at + size > len(self.data):
            raise Cut
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int, *, signed: bool = False) -> int:
        """The next big-endian integer."""
        return int.from_bytes(self.take(size), "big", signed=signed)


# ---- values (section 5)


def value_of(cursor: Cursor, problems: list[str], depth: int = 0) -> Any:
    """The next value in diagnostic form; what breaks the profile is added to `problems`."""
    byte = cursor.number(1)
    if byte <= 0x7F:
        return byte
    if byte >= 0xE0:
        return byte - 0x100
    if byte <= 0x8F:
        return _map(cursor, byte & 0x0F, problems, depth)
    if byte <= 0x9F:
        return _array(cursor, byte & 0x0F, problems, depth)
    if byte <= 0xBF:
        return _str(cursor, byte & 0x1F, problems)
    return _long(cursor, byte, problems, depth)


def _long(cursor: Cursor, byte: int, problems: list[str], depth: int) -> Any:
    """A value whose form takes a byte of its own."""
    match byte:
        case 0xC0 | 0xC2 | 0xC3:
            return {0xC0: None, 0xC2: False, 0xC3: True}[byte]
        case 0xC1:
            raise Unclear
        case 0xC4 | 0xC5 | 0xC6:
            return {"$bin": cursor.take(cursor.number(1 << byte - 0xC4)).hex()}
        case 0xC7 | 0xC8 | 0xC9:
            return _ext(cursor, cursor.number(1 << byte - 0xC7), problems)
        case 0xCA | 0xCB:
            return _float(
                *struct.unpack(">f" if byte == 0xCA else ">d", cursor.take(4 << byte - 0xCA))
            )
        case 0xCC | 0xCD | 0xCE | 0xCF:
            return _int(cursor.number(1 << byte - 0xCC))
        case 0xD0 | 0xD1 | 0xD2 | 0xD3:
            return _int(cursor.number(1 << byte - 0xD0, signed=True))
        case 0xD4 | 0xD5 | 0xD6 | 0xD7 | 0xD8:
            return _ext(cursor, 1 << byte - 0xD4, problems)
        case 0xD9 | 0xDA | 0xDB:
            return _str(cursor, cursor.number(1 << byte - 0xD9), problems)
        case 0xDC | 0xDD:
            return _array(cursor, cursor.number(2 << byte - 0xDC), problems, depth)
    return _map(cursor, cursor.number(2 << byte - 0xDE), problems, depth)


def _int(value: int) -> Any:
    return value if abs(value) <= SAFE else {"$int": str(value)}


def _float(value: float) -> Any:
    if math.isfinite(value) and value != int(value):
        return value
    return {"$float": f"{value:.17g}"}


def _ext(cursor: Cursor, size: int, problems: list[str]) -> Any:
    code = cursor.number(1, signed=True)
    if code == -1 and size not in (4, 8, 12):
        problems.append("AWP-VA-1: a timestamp in no form")
    return {"$ext": [code, cursor.take(size).hex()]}


def _str(cursor: Cursor, size: int, problems: list[str]) -> Any:
    data = cursor.take(size)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        problems.append("AWP-VA-1: not UTF-8")
        return None


def _array(cursor: Cursor, size: int, problems: list[str], depth: int) -> list[Any]:
    _check_depth(problems, depth)
    return [value_of(cursor, problems, depth + 1) for _ in range(size)]


def _map(cursor: Cursor, size: int, problems: list[str], depth: int) -> dict[str, Any]:
    _check_depth(problems, depth)
    found: dict[str, Any] = {}
    for _ in range(size):
        key = value_of(cursor, problems, depth + 1)
        if not isinstance(key, str):
            problems.append("AWP-VA-1: a key that is no str")
        elif key in found:
            problems.append("AWP-VA-1: a key that is there twice")
        found[str(key)] = value_of(cursor, problems, depth + 1)
    if len(found) == 1 and next(iter(found)).startswith("$"):
        return {"$map": [list(pair) for pair in found.items()]}
    return found


def _check_depth(problems: list[str], depth: int) -> None:
    if depth >= 64:
        problems.append("AWP-VA-1: too deep")
    if depth > 500:
        raise Unclear


# ---- frames (section 3)


def frames_of(data: bytes, max_frame: int = 1 << 20) -> Iterator[Frame]:
    """The frames in diagnostic form, with `body`, and `problems` in place of what is broken.

    Bytes at the end that are no whole frame are left out.

    Raises:
        Broken: the sentence that ends the connection.
    """
    while len(data) >= 16:
        one, length, word, reserved, channel = _header(data[:16])
        if one != (0x95, 0xCE, 0xCE, 0xCE):
            raise Broken("AWP-FR-4")
        if length > max_frame:
            raise Broken("AWP-FR-5")
        if len(data) < 16 + length:
            return
        del reserved  # a receiver ignores it (AWP-FR-1)
        kind, flags, nfds = word
        frame: Frame = {"kind": kind, "flags": flags, "nfds": nfds, "channel": channel}
        body = data[16 : 16 + length]
        yield {**frame, "body": body.hex(), **_body(kind, flags, nfds, body)}
        data = data[16 + length :]


def _header(head: bytes) -> tuple[tuple[int, ...], int, bytes, int, int]:
    signature = (head[0], head[1], head[6], head[11])
    length, channel = (int.from_bytes(head[at : at + 4], "big") for at in (2, 12))
    return signature, length, head[7:10], head[10], channel


def _body(kind: int, flags: int, nfds: int, body: bytes) -> Frame:
    """Envelope and payload."""
    cursor, problems = Cursor(body), list[str]()
    if kind in (PING, PONG):  # anything at all; what follows is for those that are well-formed
        try:
            found = {"envelope": value_of(cursor, []), "payload": value_of(cursor, [])}
        except (Cut, Unclear):
            return {"problems": []}
        return {**found, "problems": []}
    try:
        envelope = value_of(cursor, problems)
        payload = value_of(cursor, problems)
    except Cut:
        raise Broken("AWP-FR-3") from None
    except Unclear:
        return {"problems": ["AWP-FR-6: not msgpack"]}
    if cursor.at != len(body):
        raise Broken("AWP-FR-3")
    if flags & PIECE and not (isinstance(payload, dict) and [*payload] == ["$bin"]):
        problems.append("AWP-LG-7: a fragment that is no bin")
    problems += [f"AWP-VA-1: handle {at}" for at in _indexes([envelope, payload]) if at >= nfds]
    return {"envelope": envelope, "payload": payload, "problems": problems}


def _indexes(value: Any) -> Iterator[int]:
    """What handle extensions refer to; one of a wrong size refers to nothing that is there."""
    if isinstance(value, list):
        for item in value:
            yield from _indexes(item)
    elif isinstance(value, dict):
        if [*value] == ["$ext"] and value["$ext"][0] == 1:
            data = value["$ext"][1]
            yield int(data, 16) if len(data) == 2 else 256
        elif [*value] not in (["$bin"], ["$int"], ["$float"]):
            for item in value.values():
                yield from _indexes(item)
