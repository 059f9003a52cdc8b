"""What stands between a channel and a process that speaks another protocol than ours.

Runs in: primary
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Protocol

from .carrier import Carrier

__all__ = ["Adapted", "Adapter"]


class Adapted(Protocol):
    """One such process, as whoever serves its channel has it.

    Attributes:
        carrier: for that channel.
    """

    carrier: Carrier

    async def run(self) -> None:
        """Translate until either side ends.

        Raises:
            RemoteProtocolError: the process broke its protocol.

        Cancellation:
            All is closed.
        """

    def finish(self) -> None:
        """The process is gone: what it has left is still translated. Never waits."""


class Adapter(Protocol):
    """One such protocol, for all the processes of one primary that speak it."""

    def environment(self, worker_id: int, fd: int) -> dict[str, str]:
        """Tell a new process who it is, and which descriptor is its channel."""

    def adapt(
        self, sock: socket.socket, *, pid: int, name: str, worker_id: int, limits: Mapping[str, int]
    ) -> Adapted:
        """Take over our end of its channel.

        Args:
            sock: that.
            pid: of the process.
            name: of the worker.
            worker_id: of the worker.
            limits: what the primary receives from it.
        """
