"""The one place that imports pyzmq, and says what to do where it is missing."""

from __future__ import annotations

import sys
from typing import Any, Final

try:
    import zmq
except ImportError:
    sys.exit("pyzmq is not installed: pip install 'actorcluster[bench]'")

_ROOM: Final = 4 * 1024 * 1024  # what a mailbox of ours holds by default
_MOST_QUEUED: Final = 1000  # what pyzmq holds by default


class Pair:
    """One end of a PAIR, with bounds like those of the others.

    Args:
        address: where the two meet.
        size: of the messages; fewer of the large ones are queued.
        bind: which end it is.
    """

    def __init__(self, address: str, size: int, *, bind: bool) -> None:
        socket: Any = zmq.Context.instance().socket(zmq.PAIR)
        socket.set_hwm(max(4, min(_MOST_QUEUED, _ROOM // size)))
        socket.linger = 0
        if bind:
            socket.bind(address)
        else:
            socket.connect(address)
        self.send = socket.send
        self.recv = socket.recv
