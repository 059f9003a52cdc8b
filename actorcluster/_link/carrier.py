"""What a pipe needs of whatever carries its bytes and descriptors to the other end.

Runs in: both
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .fdsocket import RECEIVE_SIZE, Buffer, Descriptor, Group

__all__ = ["Carrier"]


class Carrier(Protocol):
    """One end; `FdSocket` says what each of these means."""

    stalled: bool
    is_full_read: bool
    sends: int
    receives: int
    groups_sent: int
    unsent: int

    @property
    def is_closed(self) -> bool: ...
    def send_now(self, buffers: Sequence[Buffer], fds: Sequence[Descriptor] = ()) -> bool: ...
    async def wait_writable(self) -> None: ...
    def shutdown_write(self) -> None: ...
    def receive_now(
        self, most: int = RECEIVE_SIZE
    ) -> tuple[memoryview, list[int], bool] | None: ...
    def gather_now(self, most: int = RECEIVE_SIZE) -> tuple[memoryview, list[Group]] | None: ...
    def pending(self) -> int: ...
    async def wait_readable(self) -> None: ...
    def interrupt(self) -> None: ...
    def close(self) -> None: ...
