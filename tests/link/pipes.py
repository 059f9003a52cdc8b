"""What tests of the pipe ask of a channel and of its socket."""

from __future__ import annotations

import contextlib
import os

from actorcluster._link.handles import Handle
from actorcluster.wire._generated import BUILT_CAPABILITIES, Capability
from tests.link.pair import End

WITHOUT_HANDLE_ACK = {"capabilities": BUILT_CAPABILITIES - {Capability.HANDLE_ACK}}


def size_of(handle: Handle) -> int:
    """Which `memfd` it is; closes it."""
    with contextlib.closing(handle):
        return os.fstat(handle.fileno()).st_size


def fill(end: End, size: int = 100_000) -> int:
    """Send until the socket takes no more; returns how many messages were queued."""
    count = 0
    while not end.channel._socket.unsent:
        end.channel.send_nowait(bytes(size))
        count += 1
        end.channel._push()
    return count


def writes(end: End) -> int:
    return end.channel._socket.sends
