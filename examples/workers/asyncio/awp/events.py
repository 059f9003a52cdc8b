"""What the primary said, as `Connection.receive` tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .handles import Handle


@dataclass(frozen=True, slots=True)
class Welcome:
    """The primary takes the worker in."""

    version: tuple[int, int]
    worker: int
    cluster: bytes
    capabilities: frozenset[str]
    handles: frozenset[str]
    heartbeat: float
    config: Mapping[str, object]
    name: str | None


@dataclass(frozen=True, slots=True)
class Stop:
    """Drain, then leave. `deadline` is in seconds; None: there is none."""

    deadline: float | None
    reason: int


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The primary sends nothing more."""

    reason: int
    received: int
    detail: str | None


@dataclass(frozen=True, slots=True)
class Aborted:
    """The primary gave the connection up."""

    code: int
    detail: str | None


@dataclass(frozen=True, slots=True)
class Violated:
    """The primary broke the protocol, and gets ABORT; the connection is to be closed."""

    code: int
    detail: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The stream ended; `orderly` unless nobody had said that it would."""

    orderly: bool


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a PING."""

    body: bytes


@dataclass(frozen=True, slots=True)
class SettingsChanged:
    """The primary changed what it had said in WELCOME."""

    settings: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Unimplemented:
    """The primary does not know a kind that was sent."""

    kind: int
    channel: int


@dataclass(frozen=True, slots=True)
class TellReceived:
    """A message. `charge` is to be given back when it leaves the mailbox."""

    sender: int | None
    body: object
    handles: Sequence[Handle]
    meta: Mapping[str, object]
    charge: int
    number: int


@dataclass(frozen=True, slots=True)
class CallReceived(TellReceived):
    """A message whose sender waits for an answer on that channel."""

    channel: int


@dataclass(frozen=True, slots=True)
class ReplyReceived:
    """The answer to a call."""

    channel: int
    body: object
    handles: Sequence[Handle]


@dataclass(frozen=True, slots=True)
class ErrorReceived:
    """A call, or a LISTEN, failed."""

    channel: int
    error: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The caller no longer waits; the call is still to be answered."""

    channel: int
    reason: object


@dataclass(frozen=True, slots=True)
class Undeliverable:
    """The worker's message of that number reached nobody."""

    number: int
    to: int | str | None
    error: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Listening:
    """The port is bound."""

    channel: int
    mode: str
    address: object
    data: object
    handle: Handle | None


@dataclass(frozen=True, slots=True)
class Connections:
    """Connections to take or to reject, numbered from `first`; closed ones are rejected."""

    channel: int
    first: int
    handles: Sequence[Handle]
    meta: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ListenClosed:
    """The primary is done with that listener."""

    channel: int


Event = (
    Welcome
    | Stop
    | Goodbye
    | Aborted
    | Violated
    | Ended
    | Pong
    | SettingsChanged
    | Unimplemented
    | TellReceived
    | ReplyReceived
    | ErrorReceived
    | Cancelled
    | Undeliverable
    | Listening
    | Connections
    | ListenClosed
)
