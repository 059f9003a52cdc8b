"""The header of a frame, and frames as bytes.

Runs in: both
"""

from __future__ import annotations

import struct
from typing import Final

__all__ = ["HEAD", "HEADER_SIZE", "encode_frame", "encode_head"]

HEADER_SIZE: Final = 16
HEAD: Final = struct.Struct(">HIBIBI")
"""95CE, length, CE, the word of kind, flags and nfds, CE, channel."""


def encode_frame(
    kind: int,
    channel: int,
    envelope: bytes,
    payload: bytes | memoryview,
    *,
    flags: int = 0,
    nfds: int = 0,
) -> bytes:
    """A whole frame. Copies the payload: for a large one see `encode_head`."""
    word = kind << 24 | flags << 16 | nfds << 8
    length = len(envelope) + len(payload)
    return HEAD.pack(0x95CE, length, 0xCE, word, 0xCE, channel) + envelope + payload


def encode_head(kind: int, channel: int, length: int, *, flags: int = 0, nfds: int = 0) -> bytes:
    """The header alone; `length` bytes of envelope and payload must follow it."""
    word = kind << 24 | flags << 16 | nfds << 8
    return HEAD.pack(0x95CE, length, 0xCE, word, 0xCE, channel)
