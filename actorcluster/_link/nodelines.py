"""The lines of a Node IPC channel, as far as a side lane needs them: handles, and that they came.

Runs in: primary

Each line is JSON. A descriptor travels with the first byte of a line that says what it is; Node
makes an object of its own of it, and answers whether it has got it. Our number is in the message
that Node gives its program beside the object. All else that is said on such a channel is not ours.

What Node makes of a descriptor it decides by looking at it, and it ends the process when it finds
what it does not know: a file, for one. So there is a type for each kind that may go, and no other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

from ..wire._generated import HandleKind

__all__ = [
    "ACK",
    "HANDLE",
    "HANDLE_ACK",
    "HANDLE_NACK",
    "KINDS",
    "LONGEST",
    "NACK",
    "Said",
    "handle_line",
    "handle_message",
    "node_type",
    "read_line",
]

_TYPES: Final = {
    HandleKind.TCP_SOCKET: "net.Socket",
    HandleKind.TCP_LISTENER: "net.Server",
    HandleKind.UDP_SOCKET: "dgram.Socket",
    HandleKind.UNIX_STREAM: "net.Socket",
    HandleKind.UNIX_LISTENER: "net.Server",
    HandleKind.PIPE_READ: "net.Socket",
    HandleKind.PIPE_WRITE: "net.Socket",
}
KINDS: Final = frozenset(_TYPES)
"""The kinds of handles that Node can be given."""
LONGEST: Final = 64 * 1024
"""Of a line, in bytes."""

HANDLE: Final = "NODE_HANDLE"
HANDLE_ACK: Final = "NODE_HANDLE_ACK"
HANDLE_NACK: Final = "NODE_HANDLE_NACK"
"""What a line says first: a handle comes with it; the other side has got it; it came without."""
ACK: Final = b'{"cmd":"%s"}\n' % HANDLE_ACK.encode()
NACK: Final = b'{"cmd":"%s"}\n' % HANDLE_NACK.encode()
_ANSWERS: Final[dict[Any, Literal["ack", "nack"]]] = {HANDLE_ACK: "ack", HANDLE_NACK: "nack"}
_KEY: Final = "handle"

Said: TypeAlias = Literal["ack", "nack", "other"] | int
"""What a line says: the number of the handle that comes with it; 0 for one without a number."""


def node_type(kind: int, *, is_ipv6: bool = False) -> dict[str, str]:
    """What Node is to make of a handle, in its own words.

    Raises:
        KeyError: Node cannot be given such a thing.
    """
    kind = HandleKind(kind)
    words = {"type": _TYPES[kind]}
    if kind is HandleKind.UDP_SOCKET:
        words["dgramType"] = "udp6" if is_ipv6 else "udp4"
    return words


def handle_message(message: Any, words: Mapping[str, str]) -> dict[str, Any]:
    """The message that goes with a handle.

    Args:
        message: for the program there, beside the handle.
        words: of `node_type`, or a type of which Node makes nothing of its own.
    """
    return {"cmd": HANDLE, **words, "msg": message}


def handle_line(number: int, kind: int, *, is_ipv6: bool = False) -> bytes:
    """The line that goes with a handle on a lane.

    Raises:
        KeyError: Node cannot be given such a thing.
    """
    message = handle_message({_KEY: number}, node_type(kind, is_ipv6=is_ipv6))
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def read_line(line: bytes | bytearray) -> Said:
    """Read one line.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        said = json.loads(line)
    except RecursionError:
        raise ValueError("nested too deep") from None
    command = said.get("cmd") if isinstance(said, dict) else None
    if command != HANDLE:
        return _ANSWERS.get(command, "other") if isinstance(command, str) else "other"
    message = said.get("msg")
    number = message.get(_KEY) if isinstance(message, dict) else None
    return number if type(number) is int and number > 0 else 0
