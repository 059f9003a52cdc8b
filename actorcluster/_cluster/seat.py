"""One worker's place in the primary: turns the moments of its life into events.

Runs in: primary
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import final

import trio

from .._worker.exit import ExitStatus
from .._worker.life import Life
from .._worker.worker import Worker
from ..wire import events as wire_events
from ..wire.connection import Connection
from . import events
from .events import EventHub
from .ports import Ports

__all__ = ["Seat"]


@final
class Seat:
    """A worker, its life, and what happened in it so far."""

    def __init__(self, hub: EventHub, ports: Ports, forget: Callable[[Seat], None]) -> None:
        self._hub = hub
        self._ports = ports
        self._forget = forget
        self.worker: Worker
        self.life: Life
        self.history: dict[type[events.Event], events.Event] = {}
        self.happened = trio.Event()

    def emit(self, event: events.Event) -> None:
        """Remember and tell."""
        self.history.setdefault(type(event), event)
        self.happened.set()
        self.happened = trio.Event()
        self._hub.emit(event)

    # what the life tells (see Moments)

    def forked(self) -> None:
        self.emit(events.Fork(worker=self.worker))

    def online(self) -> None:
        self.emit(events.Online(worker=self.worker))

    def draining(self) -> None:
        self._ports.retire(self)
        self.emit(events.Draining(worker=self.worker))

    def disconnected(self) -> None:
        self._ports.forget(self)
        self.emit(events.Disconnect(worker=self.worker))

    def exited(self, status: ExitStatus) -> None:
        self._forget(self)
        self.emit(events.Exit(worker=self.worker, status=status))

    def failed(self, error: Exception) -> None:
        self.emit(events.Error(worker=self.worker, error=error))

    def port(self, event: wire_events.Event) -> None:
        self._ports.on_event(self, event)

    # what the ports need (see PortClient)

    @property
    def id(self) -> int:
        return self.worker.id

    @property
    def connection(self) -> Connection:
        return self.life.connection

    @property
    def listen_fds(self) -> Mapping[str, int] | tuple[int, ...]:
        return self.worker.settings.listen_fds

    def flush(self) -> None:
        if self.life.channel is not None:
            self.life.channel.flush()

    def listening(self, address: tuple[str, int] | str) -> None:
        self.life.set_listening()
        self.emit(events.Listening(worker=self.worker, address=address))
