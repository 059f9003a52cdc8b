"""Which handles go to a process of Node's, and what they are called there.

Runs in: both
"""

from __future__ import annotations

import socket
from typing import Final

from .._link import kinds
from .._link.handles import Handle
from ..errors import HandleError
from ..wire import events

__all__ = ["node_kind"]

#: What Node can take, by the public name of its kind, and its own name for that.
_TYPES: Final = {
    "tcp_stream": "net.Socket",
    "unix_stream": "net.Socket",
    "tcp_listener": "net.Server",
    "unix_listener": "net.Server",
    "udp_socket": "dgram.Socket",
}


def node_kind(event: events.TellReceived) -> tuple[Handle | None, dict[str, str]]:
    """The handle that goes with a message, and its kind in Node's words.

    Raises:
        HandleError: it is none that a Node program can take.
        OSError: it is not what it was said to be.
    """
    if not event.handles:
        return None, {}
    if event.meta.get("handle") != 0:
        raise HandleError("a Node program takes a handle beside a message, not inside of it")
    handle: Handle = event.handles[0]
    name = handle.kind  # which the kernel tells
    if name not in _TYPES:
        raise HandleError(f"a Node program takes no handle of kind {name}")
    kind = {"type": _TYPES[name]}
    if name == "udp_socket":
        family = kinds.ask_socket(handle.fileno(), lambda sock: sock.family)
        kind["dgramType"] = "udp6" if family == socket.AF_INET6 else "udp4"
    return handle, kind
