"""Two ends in one process come to know each other, before anybody reads or writes them.

Runs in: primary
"""

from __future__ import annotations

from ..wire.connection import Connection

__all__ = ["introduce"]


def introduce(
    worker: Connection,
    primary: Connection,
    *,
    worker_id: int = 1,
    name: str = "primary",
    cluster: bytes = bytes(16),
) -> None:
    """Go through the handshake: afterwards both are active.

    Args:
        worker: one end.
        primary: the other.
        worker_id: what the worker is told about itself.
        name: the same.
        cluster: the same.
    """
    worker.send_hello()
    _carry(worker, primary)
    primary.send_welcome(worker=worker_id, cluster=cluster, name=name, config={})
    _carry(primary, worker)
    worker.send_ready()
    _carry(worker, primary)


def _carry(source: Connection, target: Connection) -> None:
    for batch in source.data_to_send():
        for data in batch.buffers:
            target.receive(data)
