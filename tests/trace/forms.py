"""A secret in any form in which it may get into a file: what a search for it has to know."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Final

import msgpack

__all__ = ["forms", "found_in"]

_PIECE: Final = 16
"""Bytes that are looked for by themselves: a part of the secret is one, too."""


def forms(piece: bytes) -> dict[str, bytes]:
    """Write a secret as bytes, as text and as numbers; what each is called."""
    numbers = list(piece)
    latin = piece.decode("latin-1")
    return {
        "raw": piece,
        "hex": piece.hex().encode(),
        "HEX": piece.hex().upper().encode(),
        "hex with colons": piece.hex(":").encode(),
        "base64": _inside(base64.b64encode(piece)),
        "base64 for addresses": _inside(base64.urlsafe_b64encode(piece)),
        "base64 behind a byte": _inside(base64.b64encode(b"\0" + piece), 4),
        "base64 behind two": _inside(base64.b64encode(b"\0\0" + piece), 4),
        "numbers": json.dumps(numbers, separators=(",", ":"))[1:-1].encode(),
        "numbers with blanks": json.dumps(numbers)[1:-1].encode(),
        "msgpack numbers": b"".join(map(msgpack.packb, numbers)),
        "Latin-1": latin.encode(),
        "escapes of JSON": json.dumps(latin)[1:-1].encode(),
        "escapes of Python": repr(piece)[2:-1].encode(),
    }


def _inside(text: bytes, begin: int = 0) -> bytes:
    """Without what depends on the bytes before it, and behind."""
    return text.rstrip(b"=")[begin:-1]


def found_in(data: bytes, secret: bytes) -> set[str]:
    """Tell in which forms a part of the secret is there."""
    return {
        name for piece in _pieces(secret) for name, form in forms(piece).items() if form in data
    }


def _pieces(secret: bytes) -> Iterator[bytes]:
    """The parts that it has, each with a meaning of its own: name, and two keys."""
    for at in range(0, len(secret), _PIECE):
        yield secret[at : at + _PIECE]
