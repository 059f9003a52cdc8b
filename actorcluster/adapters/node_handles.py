"""Which handles go to a process of Node's, and what they are called there.

Runs in: both
"""

from __future__ import annotations

from typing import Final

from .._link import kinds
from .._link.handles import Handle
from .._link.nodelines import KINDS, node_type
from ..errors import HandleError
from ..wire import events

__all__ = ["node_kind"]

#: Pipes it can take too, but makes sockets of them that say nothing of what they are.
_KINDS: Final = KINDS - kinds.PIPES


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
    fd = handle.fileno()
    kind = kinds.real_kind(fd)
    if kind not in _KINDS:
        raise HandleError(f"a Node program takes no handle of kind {handle.kind}")
    return handle, node_type(kind, is_ipv6=kinds.is_udp_ipv6(fd, kind))
