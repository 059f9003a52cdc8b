"""A frame cut into fields with a comment each, as vectors have it, for what was recorded.

Runs in: both

Vectors are written by hand; this is for captures, whose bytes somebody else has said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from actorcluster.wire._generated import KINDS

from .vectors import kind_name

__all__ = ["annotated"]

Field = tuple[bytes, str]
Say = Callable[[str], str]

_FLAGS = {1: "MORE", 2: "FRAG", 8: "LANE", 0x80: "OPTIONAL"}
_WIDTHS = {0xCC: "u8", 0xCD: "u16", 0xCE: "u32", 0xCF: "u64", 0xD0: "i8", 0xD1: "i16"}
_WIDTHS |= {0xD2: "i32", 0xD3: "i64", 0xCA: "float32", 0xCB: "float64"}
_SIZED = {0xC4: "bin", 0xD9: "str", 0xDC: "array", 0xDE: "map", 0xC7: "ext"}
_CONSTANTS = {0xC0: "nil", 0xC2: "false", 0xC3: "true"}


def annotated(frame: bytes) -> list[list[str]]:
    """All fields of one whole frame, ``[hex, comment]`` each."""
    return [[part.hex(), text] for part, text in [*_header(frame), *_body(frame)]]


def _header(frame: bytes) -> Iterator[Field]:
    length = int.from_bytes(frame[2:6], "big")
    flags = ", ".join(name for bit, name in _FLAGS.items() if frame[8] & bit) or "none"
    channel = int.from_bytes(frame[12:16], "big")
    yield frame[:1], "a frame: array of 5"
    yield frame[1:2], "u32 follows"
    yield frame[2:6], f"length: {length} bytes after the header"
    yield frame[6:7], "u32 follows"
    yield frame[7:8], f"kind: {kind_name(frame[7])}"
    yield frame[8:9], f"flags: {flags}"
    yield frame[9:10], f"nfds: {frame[9]}"
    yield frame[10:11], "reserved"
    yield frame[11:12], "u32 follows"
    yield frame[12:16], "channel: 0, the connection" if channel == 0 else f"channel: {channel}"


def _body(frame: bytes) -> Iterator[Field]:
    walk = _Walk(frame, 16)
    info = KINDS.get(frame[7])
    names = list(info.fields) if info else []
    yield from walk.value("envelope: ", names)
    yield from walk.value("payload: ", [])


class _Walk:
    """Where in the bytes one is."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def take(self, size: int) -> bytes:
        self.at += size
        return self.data[self.at - size : self.at]

    def value(self, what: str, names: list[str]) -> Iterator[Field]:
        """The fields of the next value; `names` of the elements of an array."""
        first = self.take(1)
        byte = first[0]
        if byte in _CONSTANTS:
            yield first, what + _CONSTANTS[byte]
        elif byte <= 0x7F or byte >= 0xE0:
            yield first, what + str(byte if byte <= 0x7F else byte - 256)
        elif byte in _WIDTHS:
            yield from self._number(first, what)
        elif 0xD4 <= byte <= 0xD8:
            size = 1 << byte - 0xD4
            yield first, f"{what}fixext {size}"
            yield self.take(1), "its type"
            yield self.take(size), f"{size} bytes"
        else:
            yield from self._sized(first, what, names)

    def _number(self, first: bytes, what: str) -> Iterator[Field]:
        name = _WIDTHS[first[0]]
        part = self.take({"float32": 4, "float64": 8}.get(name) or int(name[1:]) // 8)
        yield first, f"{what}{name} follows"
        signed = name.startswith("i")
        is_float = name.startswith("float")
        yield part, name if is_float else str(int.from_bytes(part, "big", signed=signed))

    def _sized(self, first: bytes, what: str, names: list[str]) -> Iterator[Field]:
        byte = first[0]
        if byte <= 0xBF:  # the size is in the first byte
            kind = "map" if byte <= 0x8F else "array" if byte <= 0x9F else "str"
            size = byte & (0x1F if kind == "str" else 0x0F)
            text = f"{kind} of {size} bytes" if kind == "str" else f"{kind} of {size}"
            yield first, what + text
        else:
            low = max(code for code in _SIZED if code <= byte)
            kind = _SIZED[low]
            size_bytes = self.take((2 if kind in ("array", "map") else 1) << byte - low)
            size = int.from_bytes(size_bytes, "big")
            yield first, f"{what}{kind} {8 * len(size_bytes)}"
            yield size_bytes, f"its length: {size}"
        yield from self._content(kind, size, names)

    def _content(self, kind: str, size: int, names: list[str]) -> Iterator[Field]:
        if kind == "array":
            for at in range(size):
                yield from self.value(f"{names[at]}: " if at < len(names) else "", [])
        elif kind == "map":
            for _ in range(size):
                yield from self.value("", [])
                yield from self.value("", [])
        else:
            if kind == "ext":
                yield self.take(1), "its type"
            content = self.take(size)
            if content:
                yield content, f'"{content.decode()}"' if kind == "str" else f"{size} bytes"
