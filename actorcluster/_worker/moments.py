"""What a life is made with, and what it tells its owner.

Runs in: primary
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol, final

import attrs

from .._link.adapter import Adapter
from .._link.tracing import Tracing
from ..wire import events
from .exit import ExitStatus
from .ref import Ref

__all__ = ["LifeOptions", "LifeState", "Moments"]

LifeState = Literal["none", "online", "listening", "disconnecting", "disconnected", "dead"]


class Moments(Protocol):
    """What a life tells its owner; every method is synchronous and must not raise."""

    def now(self) -> float: ...
    def address(self) -> Ref: ...
    def online(self) -> None: ...
    def ready(self) -> None: ...
    def draining(self) -> None: ...
    def disconnected(self) -> None: ...
    def reported(self, status: ExitStatus) -> ExitStatus: ...
    def exited(self, status: ExitStatus) -> None: ...
    def failed(self, error: Exception) -> None: ...
    def port(self, event: events.Event) -> None: ...
    def listening(self, address: tuple[str, int] | str) -> None: ...
    def mail(self, event: events.TellReceived | events.CallReceived) -> None: ...
    def monitor(self, event: events.Monitored | events.Demonitored) -> None: ...
    def bounced(self, event: events.Undeliverable) -> bool: ...
    def heartbeat_changed(self) -> None: ...


@final
@attrs.frozen(kw_only=True)
class LifeOptions:
    """What one life needs to know.

    Attributes:
        worker_id: never reused within a primary; 0 where several lives share these.
        name: the place in the tree.
        config: for the worker's WELCOME; body values.
        ready: ``"online"``, ``"listening"`` or ``"called"``.
        start_timeout: seconds until it must be ready, ``inf`` for no limit.
        shutdown: seconds from Stop to cancelling main, ``inf``, or ``"brutal_kill"``.
        heartbeat: seconds of silence in which it counts as stuck, ``inf`` for none.
        hung_after: seconds without an answer until it is killed, or None.
        cluster: 16 bytes that tell one primary's life from another's.
        limits: what this side receives, see the registry.
        adapter: for a process that speaks another protocol; None: it speaks ours.
        tracing: writes down what is said; None: nobody does.
    """

    worker_id: int
    name: str
    config: Mapping[str, Any]
    ready: Literal["online", "listening", "called"] = "online"
    start_timeout: float = 30.0
    shutdown: float | Literal["brutal_kill"] = 5.0
    heartbeat: float = 5.0
    hung_after: float | None = None
    cluster: bytes = bytes(16)
    limits: Mapping[str, int] = attrs.Factory(dict)
    adapter: Adapter | None = None
    tracing: Tracing | None = None
