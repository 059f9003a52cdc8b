"""What a fork server is asked, and answers, in bytes.

Runs in: both

It stands apart because a server that only guards imports little more than this.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import msgpack

__all__ = ["FAILED", "HEADER", "MAX_FDS", "NO_FORK", "READY", "SLOT", "pack"]

HEADER: Final = struct.Struct("!II")
"""What precedes a request: its size, and the number of its descriptors."""
MAX_FDS: Final = 253
"""The kernel's limit for one message."""
SLOT: Final = struct.Struct("i")
"""Where the pid is found on the shared page."""

READY: Final = b"+"
FAILED: Final = b"-"
NO_FORK: Final = b"!"


def pack(request: dict[str, Any], fds: int) -> bytes:
    """A request as it is sent, with so many descriptors beside it."""
    body: bytes = msgpack.packb(request, unicode_errors="surrogateescape")
    return HEADER.pack(len(body), fds) + body
