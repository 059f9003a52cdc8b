"""What a peer said: one class per fact that ``Connection.receive`` reports.

Runs in: both

PING, CREDIT, SETTINGS and the unknown are answered or applied by the connection itself; what
remains of them is reported only where somebody above may act on it. Not frozen: a frozen attrs
class costs three times as much to build, and a mailbox builds one of these per message. Those with
handles are equal to nothing but themselves.
"""

from __future__ import annotations

from typing import Any

import attrs

from .fact import Fact, Shown

__all__ = [
    "Aborted",
    "Acknowledged",
    "CallReceived",
    "CallsReceived",
    "Cancelled",
    "ConnCredit",
    "ConnReply",
    "Connections",
    "CreditGranted",
    "Demonitored",
    "Down",
    "ErrorReceived",
    "Event",
    "ExitInfo",
    "Goodbye",
    "HandlesAcknowledged",
    "Hello",
    "Leave",
    "Listen",
    "ListenClosed",
    "Listening",
    "Log",
    "Monitored",
    "Pong",
    "Ready",
    "RepliesReceived",
    "ReplyReceived",
    "Serving",
    "SettingsChanged",
    "Stop",
    "TellReceived",
    "TellsReceived",
    "Undeliverable",
    "Unimplemented",
    "Welcome",
]


@attrs.define(eq=False, repr=False)
class Hello(Fact):
    """HELLO: the worker introduces itself. Versions and capabilities are checked already.

    Attributes:
        version: (major, minor) chosen from the offer.
        capabilities: what the worker offered, unfiltered.
        limits: what the worker can receive, defaults filled in.
        handles: names of the handle kinds the worker takes.
        pid: as the worker states it, or None.
        worker: id as the worker states it, or None.
        token: for listening transports, or None.
        implementation: free map, e.g. name, version, lang.
    """

    version: tuple[int, int]
    capabilities: frozenset[str]
    limits: dict[str, int]
    handles: frozenset[str]
    pid: int | None = None
    worker: int | None = None
    token: str | None = None
    implementation: dict[str, Any] = attrs.Factory(dict)


@attrs.define(eq=False, repr=False)
class Welcome(Fact):
    """WELCOME: the primary took the worker in; capabilities are now in force."""

    version: tuple[int, int]
    worker: int
    cluster: bytes
    capabilities: frozenset[str]
    limits: dict[str, int]
    handles: frozenset[str]
    heartbeat: float
    config: dict[str, Any]
    name: str


@attrs.define(eq=False, repr=False)
class Ready(Fact):
    """READY: the worker's runtime is up."""

    info: dict[str, Any]


@attrs.define(eq=False, repr=False)
class Serving(Fact):
    """SERVING: the worker called itself ready, or listens at ``address`` by a socket of its own."""

    info: dict[str, Any]
    address: Any = None


@attrs.define(eq=False, repr=False)
class Stop(Fact):
    """STOP: drain, then leave. ``deadline`` in seconds from now, None for no limit."""

    deadline: float | None
    reason: int


@attrs.define(eq=False, repr=False)
class Leave(Fact):
    """LEAVE: the worker wants to go and waits for STOP."""

    reason: int


@attrs.define(eq=False, repr=False)
class Goodbye(Fact):
    """GOODBYE: the peer sends nothing more. ``received``: our messages it put into a mailbox."""

    reason: int
    received: int
    detail: str | None = None


@attrs.define(eq=False, repr=False)
class Aborted(Fact):
    """ABORT: the peer gave up on this connection, which is closed now."""

    code: int
    detail: str | None = None


@attrs.define(eq=False, repr=False)
class Pong(Fact):
    """PONG with the encoded body of the PING it answers."""

    body: bytes


@attrs.define(eq=False, repr=False)
class SettingsChanged(Fact):
    """SETTINGS, already applied and acknowledged."""

    settings: dict[str, Any]


@attrs.define(eq=False, repr=False)
class CreditGranted(Fact):
    """CREDIT: the window is larger now; whoever waits for room may look again."""

    available: int


@attrs.define(eq=False, repr=False)
class Acknowledged(Fact):
    """ACK: messages 1..upto of ours are in a mailbox, bounced, or answered."""

    upto: int


@attrs.define(eq=False, repr=False)
class Unimplemented(Fact):
    """UNIMPLEMENTED: the peer does not know a kind that we sent on this channel."""

    kind: int
    channel: int


@attrs.define(eq=False, repr=False)
class TellReceived(Shown):
    """TELL: a message for an actor.

    Attributes:
        to: None for the process's main actor, else an actor id or a name.
        sender: None for the peer's main actor, else an actor id.
        body: the decoded value; handles and refs in place.
        handles: every handle of the message, in order, as built by the handle adapter.
        meta: the envelope's map.
        charge: window bytes to give back once it left the mailbox.
        number: position among the sequenced messages of this direction, from 1.
    """

    to: int | str | None
    sender: int | None
    body: Any
    handles: tuple[Any, ...]
    meta: dict[str, Any]
    charge: int
    number: int


@attrs.define(eq=False, repr=False)
class TellsReceived(Shown):
    """A run of TELLs from main actor to main actor without handles and meta.

    Only who asked for it with ``gather=True`` gets these; others get each as a `TellReceived`.

    Attributes:
        bodies: of each, in order.
        charges: of each, see `TellReceived`.
        number: of the last.
    """

    bodies: list[Any]
    charges: list[int]
    number: int


@attrs.define(eq=False, repr=False)
class CallReceived(Shown):
    """CALL: a message whose sender waits for an answer on ``channel``. See `TellReceived`."""

    to: int | str | None
    sender: int | None
    body: Any
    handles: tuple[Any, ...]
    meta: dict[str, Any]
    charge: int
    number: int
    channel: int


@attrs.define(eq=False, repr=False)
class CallsReceived(Shown):
    """A run of `CallReceived`, from main actor to main actor, without handles and deadlines.

    ``number`` is that of the last one.
    """

    bodies: list[Any]
    charges: list[int]
    number: int
    channels: list[int]


@attrs.define(eq=False, repr=False)
class ReplyReceived(Shown):
    """REPLY: the answer to our call on ``channel``."""

    channel: int
    body: Any
    handles: tuple[Any, ...]
    meta: dict[str, Any]


@attrs.define(eq=False, repr=False)
class RepliesReceived(Shown):
    """A run of `ReplyReceived`, none with handles."""

    channels: list[int]
    bodies: list[Any]


@attrs.define(eq=False, repr=False)
class ErrorReceived(Shown):
    """ERROR: our call or listen on ``channel`` failed; ``error`` is the error map."""

    channel: int
    error: dict[str, Any]


@attrs.define(eq=False, repr=False)
class Cancelled(Fact):
    """CANCEL: the caller no longer waits for our answer on ``channel``."""

    channel: int
    reason: Any = None


@attrs.define(eq=False, repr=False)
class Undeliverable(Fact):
    """UNDELIVERABLE: our message ``number`` reached the process but no mailbox."""

    number: int
    to: int | str | None
    error: dict[str, Any]


@attrs.define(eq=False, repr=False)
class HandlesAcknowledged(Fact):
    """HANDLE_ACK: our frames with handles up to number ``upto`` arrived, except ``lost``."""

    upto: int
    lost: tuple[int, ...]


@attrs.define(eq=False, repr=False)
class Listen(Fact):
    """LISTEN: the worker wants a shared port; answer on ``channel``."""

    channel: int
    request: dict[str, Any]


@attrs.define(eq=False, repr=False)
class Listening(Shown):
    """LISTENING: the port is bound. ``handle`` is the shared socket, None in handoff mode."""

    channel: int
    mode: str
    address: Any
    data: Any
    handle: Any
    policy: str | None = None


@attrs.define(eq=False, repr=False)
class Connections(Shown):
    """CONN: accepted connections, numbered from ``first`` upward on this listener."""

    channel: int
    first: int
    handles: tuple[Any, ...]
    meta: dict[str, Any]


@attrs.define(eq=False, repr=False)
class ConnReply(Fact):
    """CONN_REPLY: connections up to ``upto`` are taken, except ``rejected``.

    Those of a listener that were read at once, and reject none, are one event.
    """

    channel: int
    upto: int
    rejected: tuple[int, ...]


@attrs.define(eq=False, repr=False)
class ConnCredit(Fact):
    """CONN_CREDIT: the worker takes ``count`` more connections on this listener.

    Of those that it took ``closed`` are not open any more, and ``dropped`` of these never were its
    application's; None: it did not say.
    """

    channel: int
    count: int
    closed: int | None = None
    dropped: int | None = None


@attrs.define(eq=False, repr=False)
class ListenClosed(Fact):
    """LISTEN_CLOSE: this side of the listener channel is done."""

    channel: int


@attrs.define(eq=False, repr=False)
class ExitInfo(Fact):
    """EXIT_INFO: why the worker is about to end."""

    info: dict[str, Any]


@attrs.define(eq=False, repr=False)
class Log(Fact):
    """LOG: one record of the worker's log. ``time`` in seconds since the epoch."""

    level: int
    time: float
    logger: str
    message: str
    attributes: dict[str, Any]


@attrs.define(eq=False, repr=False)
class Monitored(Fact):
    """MONITOR: the worker wants to be told how the life that ``target`` means ends."""

    number: int
    target: int | str


@attrs.define(eq=False, repr=False)
class Demonitored(Fact):
    """DEMONITOR: the worker does not want it any more."""

    number: int


@attrs.define(eq=False, repr=False)
class Down(Fact):
    """DOWN: our monitor ``number`` has its answer.

    Attributes:
        number: of the monitor.
        aid: of the life that ended; None when nobody knows of one.
        reason: in a word.
        detail: the payload map.
    """

    number: int
    aid: int | None
    reason: str
    detail: dict[str, Any]


Event = (
    Hello
    | Welcome
    | Ready
    | Serving
    | Stop
    | Leave
    | Goodbye
    | Aborted
    | Pong
    | SettingsChanged
    | CreditGranted
    | Acknowledged
    | Unimplemented
    | TellReceived
    | TellsReceived
    | CallReceived
    | CallsReceived
    | RepliesReceived
    | ReplyReceived
    | ErrorReceived
    | Cancelled
    | Undeliverable
    | HandlesAcknowledged
    | Listen
    | Listening
    | Connections
    | ConnReply
    | ConnCredit
    | ListenClosed
    | ExitInfo
    | Log
    | Monitored
    | Demonitored
    | Down
)
