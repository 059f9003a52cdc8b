"""Writing lines to a process of Node's, each with at most one descriptor.

Runs in: both
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, final

import trio

from .._link.fdsocket import FdSocket
from .node_outbox import NodeOutbox

__all__ = ["NodeWriter"]

log = logging.getLogger("actorcluster.node")

_STALLED_SECONDS: Final = 0.01


@final
class NodeWriter:
    """Writes what there is to say, as fast as the kernel takes it.

    Args:
        socket: of the channel; closed by `close`.
        outbox: has the lines, and is told of each descriptor that has left.
        name: what to call the other end in logs.
        release: gives a message's credit back, once the kernel has it.
        give_up: called when the channel cannot be used any more.
    """

    def __init__(
        self,
        socket: FdSocket,
        outbox: NodeOutbox,
        name: str,
        release: Callable[[int], None],
        give_up: Callable[[], None],
    ) -> None:
        self._socket = socket
        self._outbox = outbox
        self._name = name
        self._release = release
        self._give_up = give_up
        self._wake = trio.Event()
        self._owed = 0
        self._is_open = True

    def flush(self) -> None:
        """Write what the kernel takes now; the rest is for `run`."""
        while self._is_open and not self._socket.unsent:
            if self._owed:
                owed, self._owed = self._owed, 0
                self._release(owed)
            out = self._outbox.next_to_send()
            if out is None:
                return
            self._owed += out.charge
            self._send((out.line,), () if out.handle is None else (out.handle,))
        if self._is_open:
            self._wake.set()

    def _send(self, lines: Sequence[bytes], handles: Sequence[Any]) -> None:
        before = self._socket.groups_sent
        try:
            self._socket.send_now(lines, handles)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            self._is_open = False  # what the program has said before that is still to be read
            if not isinstance(exc, trio.BrokenResourceError):
                log.error("%s cannot be written to: %s", self._name, exc)
                self._give_up()
        if self._socket.groups_sent > before:
            self._outbox.sent()

    async def run(self) -> None:
        """Write what was left, whenever there is room again."""
        socket = self._socket
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while socket.unsent and self._is_open:
                if socket.stalled:
                    await trio.sleep(_STALLED_SECONDS)
                else:
                    await socket.wait_writable()
                self._send((), ())
            self.flush()

    def close(self) -> None:
        """Close the socket; what was not written is not."""
        self._is_open = False
        self._socket.close()
