"""One worker's place in the primary: turns the moments of its life into events.

Runs in: primary
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar, final

import trio

from .._worker.exit import ExitStatus
from .._worker.life import Life
from .._worker.worker import Worker
from ..wire import events as wire_events
from ..wire.connection import Connection
from . import events
from .events import EventHub
from .ports import Ports
from .relay import Relay

__all__ = ["Seat"]

E = TypeVar("E", bound=events.Event)


@final
class Seat:
    """A worker, its life, and what happened in it so far."""

    def __init__(self, hub: EventHub, ports: Ports, forget: Callable[[Seat], None]) -> None:
        self._hub = hub
        self._ports = ports
        self._forget = forget
        self.worker: Worker
        self.life: Life
        self.relay: Relay
        self.history: dict[type[events.Event], events.Event] = {}
        self.happened = trio.Event()

    def is_in(self, hub: EventHub) -> bool:
        """Whether it is a seat of the primary with that hub."""
        return hub is self._hub

    def emit(self, event: events.Event) -> None:
        """Remember and tell."""
        self.history.setdefault(type(event), event)
        self.wake()
        self._hub.emit(event)

    def wake(self) -> None:
        """Let those who wait for something look again."""
        happened, self.happened = self.happened, trio.Event()
        happened.set()

    def find(self, kind: type[E]) -> E | None:
        """Give the first event of a kind that has happened so far."""
        return next((event for event in self.history.values() if isinstance(event, kind)), None)

    def may_still(self, kind: type[events.Event]) -> bool:
        """Whether an event of a kind can still happen."""
        if events.Exit in self.history:
            return False
        return events.Disconnect not in self.history or issubclass(events.Exit, kind)

    def forked(self) -> None:
        """Its life begins."""
        self.emit(events.Fork(worker=self.worker))

    # what the life tells (see Moments)

    def online(self) -> None:
        self.emit(events.Online(worker=self.worker))

    def draining(self) -> None:
        self._ports.retire(self)
        self.emit(events.Draining(worker=self.worker))

    def disconnected(self) -> None:
        self._ports.forget(self)
        self.relay.gone()
        self.emit(events.Disconnect(worker=self.worker))

    def exited(self, status: ExitStatus) -> None:
        self._forget(self)
        self.emit(events.Exit(worker=self.worker, status=status))

    def failed(self, error: Exception) -> None:
        self.emit(events.Error(worker=self.worker, error=error))

    def port(self, event: wire_events.Event) -> None:
        self._ports.on_event(self, event)

    def mail(self, event: wire_events.TellReceived | wire_events.CallReceived) -> None:
        self.relay.mail(event)

    def bounced(self, event: wire_events.Undeliverable) -> bool:
        return self.relay.bounced(event)

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
            self.life.channel.flush_once()

    def listening(self, address: tuple[str, int] | str) -> None:
        self.life.set_listening()
        self.emit(events.Listening(worker=self.worker, address=address))
