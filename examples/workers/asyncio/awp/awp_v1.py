"""AWP 1.0 for a worker: numbers, names, limits and tables. Generated, do not edit.

Written by protocol/generate.py from protocol/awp.v1.toml.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

MAJOR = 1
MINOR = 0
HEADER_SIZE = 16

FLAG_MORE = 0x01
FLAG_FRAG = 0x02
FLAG_LANE = 0x08
FLAG_OPTIONAL = 0x80

UNKNOWN_KIND = -1
EOF = -2


class Kind(enum.IntEnum):
    """What a frame is for."""

    HELLO = 0x01
    WELCOME = 0x02
    READY = 0x03
    GOODBYE = 0x04
    ABORT = 0x05
    PING = 0x06
    PONG = 0x07
    SETTINGS = 0x08
    SETTINGS_ACK = 0x09
    CREDIT = 0x0A
    ACK = 0x0B
    UNIMPLEMENTED = 0x0C
    STOP = 0x0D
    LEAVE = 0x0E
    SERVING = 0x0F
    LISTEN = 0x10
    LISTENING = 0x11
    CONN = 0x12
    CONN_REPLY = 0x13
    CONN_CREDIT = 0x14
    LISTEN_CLOSE = 0x15
    HANDLE_ACK = 0x16
    TELL = 0x20
    CALL = 0x21
    REPLY = 0x22
    ERROR = 0x23
    CANCEL = 0x24
    UNDELIVERABLE = 0x26
    MONITOR = 0x42
    DEMONITOR = 0x43
    DOWN = 0x44
    EXIT_INFO = 0x49
    LOG = 0x50


class Abort(enum.IntEnum):
    """Why a connection is given up."""

    PROTOCOL_ERROR = 1
    BAD_SIGNATURE = 2
    BAD_LENGTH = 3
    FRAME_TOO_LARGE = 4
    VERSION = 5
    FDS_LOST = 6
    FD_VIOLATION = 7
    AUTH = 8
    STATE_VIOLATION = 9
    FLOW_VIOLATION = 10
    LIMIT_EXCEEDED = 11
    HEARTBEAT_TIMEOUT = 12
    REQUIRED_CAPABILITY = 13
    SPOOFED_SENDER = 14
    INTERNAL = 15


class Reason(enum.IntEnum):
    """Why a side stops."""

    NORMAL = 0
    SCALE_DOWN = 1
    RELOAD = 2
    MAX_AGE = 3
    MAX_REQUESTS = 4
    SHUTDOWN = 5
    IDLE = 6
    REPLACED = 7
    UNHEALTHY = 8


class HandleKind(enum.IntEnum):
    """What a handle is."""

    TCP_SOCKET = 1
    TCP_LISTENER = 2
    UDP_SOCKET = 3
    UNIX_STREAM = 4
    UNIX_LISTENER = 5
    UNIX_DGRAM = 6
    UNIX_SEQPACKET = 7
    PIPE_READ = 8
    PIPE_WRITE = 9
    FILE = 10
    MEMFD = 11
    TTY = 12
    EVENTFD = 13
    PIDFD = 14
    OPAQUE = 127


class Ext(enum.IntEnum):
    """Extension types of values."""

    TIMESTAMP = -1
    HANDLE = 1
    REF = 2


class Code(enum.StrEnum):
    """Why a message failed."""

    NO_SUCH_ACTOR = "no_such_actor"
    NOT_HANDLED = "not_handled"
    REFUSED = "refused"
    STOPPING = "stopping"
    CANCELLED = "cancelled"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    BAD_PAYLOAD = "bad_payload"
    TOO_LARGE = "too_large"
    MAILBOX_FULL = "mailbox_full"
    EXPIRED = "expired"
    CONNECTION_LOST = "connection_lost"
    UNIMPLEMENTED = "unimplemented"
    UNSUPPORTED_HANDLE = "unsupported_handle"
    HANDLE_LOST = "handle_lost"
    PERMISSION = "permission"
    INTERNAL = "internal"
    APP = "app"


class State(enum.Enum):
    """Where the connection stands."""

    HANDSHAKE = "HANDSHAKE"
    STARTING = "STARTING"
    ACTIVE = "ACTIVE"
    STOPPING = "STOPPING"
    CLOSING = "CLOSING"
    CLOSED = "CLOSED"


class Action(enum.Enum):
    """What becomes of an arriving frame."""

    DELIVER = "deliver"
    IGNORE = "ignore"
    ABORT = "abort"
    REFUSE = "refuse"


class Field(NamedTuple):
    """One element of an envelope, or one key of a map: its type is that of SPEC.md."""

    name: str
    type: str
    required: bool


class KindInfo(NamedTuple):
    """What SPEC.md, section 6, says of a kind.

    `direction` is "W>P", "P>W" or "both"; `channel` is "zero", "opens", "uses", "optional" or
    "any"; `body` is "control", "data" or "opaque"; `payload` is "nil", "map", "any" or "error".
    """

    name: str
    direction: str
    channel: str
    body: str
    urgent: bool
    charged: bool
    capability: str | None
    handles: bool
    envelope: tuple[Field, ...]
    payload: str


KINDS: dict[int, KindInfo] = {
    Kind.HELLO: KindInfo(
        "HELLO",
        "W>P",
        "zero",
        "control",
        False,
        False,
        None,
        False,
        (),
        "map",
    ),
    Kind.WELCOME: KindInfo(
        "WELCOME",
        "P>W",
        "zero",
        "control",
        False,
        False,
        None,
        False,
        (),
        "map",
    ),
    Kind.READY: KindInfo(
        "READY",
        "W>P",
        "zero",
        "control",
        False,
        False,
        None,
        False,
        (),
        "map",
    ),
    Kind.GOODBYE: KindInfo(
        "GOODBYE",
        "both",
        "zero",
        "control",
        False,
        False,
        None,
        False,
        (),
        "map",
    ),
    Kind.ABORT: KindInfo(
        "ABORT",
        "both",
        "zero",
        "control",
        False,
        False,
        None,
        False,
        (),
        "map",
    ),
    Kind.PING: KindInfo(
        "PING",
        "both",
        "any",
        "opaque",
        True,
        False,
        None,
        False,
        (),
        "any",
    ),
    Kind.PONG: KindInfo(
        "PONG",
        "both",
        "any",
        "opaque",
        True,
        False,
        None,
        False,
        (),
        "any",
    ),
    Kind.SETTINGS: KindInfo(
        "SETTINGS",
        "both",
        "zero",
        "control",
        False,
        False,
        None,
        False,
        (),
        "map",
    ),
    Kind.SETTINGS_ACK: KindInfo(
        "SETTINGS_ACK",
        "both",
        "zero",
        "control",
        False,
        False,
        None,
        False,
        (),
        "nil",
    ),
    Kind.CREDIT: KindInfo(
        "CREDIT",
        "both",
        "any",
        "control",
        True,
        False,
        None,
        False,
        (Field("n", "u32", True),),
        "nil",
    ),
    Kind.ACK: KindInfo(
        "ACK",
        "both",
        "zero",
        "control",
        True,
        False,
        "ack",
        False,
        (Field("n", "u64", True),),
        "nil",
    ),
    Kind.UNIMPLEMENTED: KindInfo(
        "UNIMPLEMENTED",
        "both",
        "any",
        "control",
        False,
        False,
        None,
        False,
        (Field("kind", "u8", True),),
        "nil",
    ),
    Kind.STOP: KindInfo(
        "STOP",
        "P>W",
        "zero",
        "control",
        False,
        False,
        None,
        False,
        (),
        "map",
    ),
    Kind.LEAVE: KindInfo(
        "LEAVE",
        "W>P",
        "zero",
        "control",
        False,
        False,
        None,
        False,
        (),
        "map",
    ),
    Kind.SERVING: KindInfo(
        "SERVING",
        "W>P",
        "zero",
        "control",
        False,
        False,
        None,
        False,
        (),
        "map",
    ),
    Kind.LISTEN: KindInfo(
        "LISTEN",
        "W>P",
        "opens",
        "control",
        False,
        False,
        None,
        False,
        (),
        "map",
    ),
    Kind.LISTENING: KindInfo(
        "LISTENING",
        "P>W",
        "uses",
        "control",
        False,
        False,
        None,
        True,
        (Field("handles", "array<handle>", False),),
        "map",
    ),
    Kind.CONN: KindInfo(
        "CONN",
        "P>W",
        "uses",
        "control",
        False,
        False,
        "listen.handoff",
        True,
        (
            Field("first", "u64", True),
            Field("handles", "array<handle>", True),
            Field("meta", "map", False),
        ),
        "nil",
    ),
    Kind.CONN_REPLY: KindInfo(
        "CONN_REPLY",
        "W>P",
        "uses",
        "control",
        True,
        False,
        "listen.handoff",
        False,
        (Field("upto", "u64", True), Field("rejected", "array<u64>", False)),
        "nil",
    ),
    Kind.CONN_CREDIT: KindInfo(
        "CONN_CREDIT",
        "W>P",
        "uses",
        "control",
        True,
        False,
        "listen.handoff",
        False,
        (Field("n", "u32", True), Field("closed", "u64", False), Field("dropped", "u64", False)),
        "nil",
    ),
    Kind.LISTEN_CLOSE: KindInfo(
        "LISTEN_CLOSE",
        "both",
        "uses",
        "control",
        False,
        False,
        None,
        False,
        (),
        "nil",
    ),
    Kind.HANDLE_ACK: KindInfo(
        "HANDLE_ACK",
        "both",
        "zero",
        "control",
        True,
        False,
        "handle.ack",
        False,
        (Field("upto", "u64", True), Field("lost", "array<u64>", False)),
        "nil",
    ),
    Kind.TELL: KindInfo(
        "TELL",
        "both",
        "optional",
        "data",
        False,
        True,
        "msg",
        True,
        (
            Field("to", "address", False),
            Field("from", "aid", False),
            Field("handles", "array<handle>", False),
            Field("meta", "map", False),
        ),
        "any",
    ),
    Kind.CALL: KindInfo(
        "CALL",
        "both",
        "opens",
        "data",
        False,
        True,
        "call",
        True,
        (
            Field("to", "address", False),
            Field("from", "aid", False),
            Field("handles", "array<handle>", False),
            Field("meta", "map", False),
        ),
        "any",
    ),
    Kind.REPLY: KindInfo(
        "REPLY",
        "both",
        "uses",
        "data",
        False,
        False,
        "call",
        True,
        (Field("handles", "array<handle>", False), Field("meta", "map", False)),
        "any",
    ),
    Kind.ERROR: KindInfo(
        "ERROR",
        "both",
        "uses",
        "data",
        False,
        False,
        None,
        False,
        (),
        "error",
    ),
    Kind.CANCEL: KindInfo(
        "CANCEL",
        "both",
        "uses",
        "control",
        True,
        False,
        None,
        False,
        (Field("reason", "any", False),),
        "nil",
    ),
    Kind.UNDELIVERABLE: KindInfo(
        "UNDELIVERABLE",
        "both",
        "zero",
        "data",
        False,
        False,
        "msg",
        False,
        (Field("n", "u64", True), Field("to", "address", False)),
        "error",
    ),
    Kind.MONITOR: KindInfo(
        "MONITOR",
        "W>P",
        "zero",
        "control",
        False,
        False,
        "monitor",
        False,
        (Field("ref", "u32", True), Field("target", "address", True)),
        "nil",
    ),
    Kind.DEMONITOR: KindInfo(
        "DEMONITOR",
        "W>P",
        "zero",
        "control",
        False,
        False,
        "monitor",
        False,
        (Field("ref", "u32", True),),
        "nil",
    ),
    Kind.DOWN: KindInfo(
        "DOWN",
        "P>W",
        "zero",
        "control",
        False,
        False,
        "monitor",
        False,
        (Field("ref", "u32", True), Field("target", "aid", False), Field("reason", "str", True)),
        "map",
    ),
    Kind.EXIT_INFO: KindInfo(
        "EXIT_INFO",
        "W>P",
        "zero",
        "data",
        False,
        False,
        None,
        False,
        (),
        "map",
    ),
    Kind.LOG: KindInfo(
        "LOG",
        "W>P",
        "zero",
        "data",
        False,
        False,
        "log",
        False,
        (Field("level", "u8", True), Field("time", "f64", True), Field("logger", "str", True)),
        "[message, attributes?]",
    ),
}

# The keys of a payload that is a map.
KEYS: dict[int, tuple[Field, ...]] = {
    Kind.HELLO: (
        Field("versions", "[[major, minor], ...]", True),
        Field("caps", "[str]", False),
        Field("require", "[str]", False),
        Field("limits", "map", False),
        Field("handles", "[str]", False),
        Field("worker", "int", False),
        Field("token", "str", False),
        Field("pid", "int", False),
        Field("impl", "map", False),
        Field("role", "str", False),
    ),
    Kind.WELCOME: (
        Field("version", "[major, minor]", True),
        Field("worker", "int", True),
        Field("cluster", "bin(16)", True),
        Field("caps", "[str]", False),
        Field("limits", "map", False),
        Field("handles", "[str]", False),
        Field("heartbeat", "number", False),
        Field("config", "map", False),
        Field("name", "str", False),
    ),
    Kind.READY: (Field("info", "map", False),),
    Kind.SERVING: (Field("info", "map", False), Field("address", "[host, port] or str", False)),
    Kind.GOODBYE: (
        Field("reason", "int", False),
        Field("recv", "int", True),
        Field("detail", "str", False),
    ),
    Kind.ABORT: (
        Field("code", "int", True),
        Field("detail", "str", False),
        Field("frame", "bin(16)", False),
    ),
    Kind.STOP: (Field("deadline", "number", False), Field("reason", "int", False)),
    Kind.LEAVE: (Field("reason", "int", False),),
    Kind.SETTINGS: (
        Field("limits", "map", False),
        Field("heartbeat", "number", False),
        Field("log_level", "int", False),
        Field("config", "map", False),
    ),
    Kind.LISTEN: (
        Field("transport", "str", True),
        Field("host", "str", False),
        Field("port", "int", False),
        Field("path", "str", False),
        Field("mode", "int", False),
        Field("backlog", "int", False),
        Field("v6only", "bool", False),
        Field("modes", "[str]", False),
        Field("credit", "int", False),
        Field("key", "str", False),
        Field("data", "any", False),
        Field("name", "str or int", False),
        Field("policy", "str", False),
        Field("wait", "number", False),
        Field("limit", "int", False),
        Field("full", "str", False),
    ),
    Kind.LISTENING: (
        Field("mode", "str", True),
        Field("address", "[host, port] or str", False),
        Field("data", "any", False),
        Field("policy", "str", False),
    ),
    Kind.DOWN: (
        Field("code", "int", False),
        Field("signal", "str", False),
        Field("voluntary", "bool", False),
        Field("type", "str", False),
        Field("text", "str", False),
    ),
}

# What an arriving frame does, by kind and state: what to do, and the state from then on.
RECEIVE: dict[int, dict[State, tuple[Action, State]]] = {
    Kind.HELLO: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.ABORT, State.CLOSED),
        State.STOPPING: (Action.ABORT, State.CLOSED),
        State.CLOSING: (Action.ABORT, State.CLOSED),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.WELCOME: {
        State.HANDSHAKE: (Action.DELIVER, State.STARTING),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.ABORT, State.CLOSED),
        State.STOPPING: (Action.ABORT, State.CLOSED),
        State.CLOSING: (Action.ABORT, State.CLOSED),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.READY: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.ABORT, State.CLOSED),
        State.STOPPING: (Action.ABORT, State.CLOSED),
        State.CLOSING: (Action.ABORT, State.CLOSED),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.GOODBYE: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.DELIVER, State.STOPPING),
        State.ACTIVE: (Action.DELIVER, State.STOPPING),
        State.STOPPING: (Action.DELIVER, State.STOPPING),
        State.CLOSING: (Action.DELIVER, State.CLOSING),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.ABORT: {
        State.HANDSHAKE: (Action.DELIVER, State.CLOSED),
        State.STARTING: (Action.DELIVER, State.CLOSED),
        State.ACTIVE: (Action.DELIVER, State.CLOSED),
        State.STOPPING: (Action.DELIVER, State.CLOSED),
        State.CLOSING: (Action.DELIVER, State.CLOSED),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.PING: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.DELIVER, State.STARTING),
        State.ACTIVE: (Action.DELIVER, State.ACTIVE),
        State.STOPPING: (Action.DELIVER, State.STOPPING),
        State.CLOSING: (Action.DELIVER, State.CLOSING),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.PONG: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.DELIVER, State.ACTIVE),
        State.STOPPING: (Action.DELIVER, State.STOPPING),
        State.CLOSING: (Action.IGNORE, State.CLOSING),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.SETTINGS: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.DELIVER, State.STARTING),
        State.ACTIVE: (Action.DELIVER, State.ACTIVE),
        State.STOPPING: (Action.DELIVER, State.STOPPING),
        State.CLOSING: (Action.IGNORE, State.CLOSING),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.SETTINGS_ACK: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.DELIVER, State.ACTIVE),
        State.STOPPING: (Action.DELIVER, State.STOPPING),
        State.CLOSING: (Action.IGNORE, State.CLOSING),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.CREDIT: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.DELIVER, State.ACTIVE),
        State.STOPPING: (Action.DELIVER, State.STOPPING),
        State.CLOSING: (Action.IGNORE, State.CLOSING),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.ACK: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.DELIVER, State.ACTIVE),
        State.STOPPING: (Action.DELIVER, State.STOPPING),
        State.CLOSING: (Action.IGNORE, State.CLOSING),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.UNIMPLEMENTED: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.DELIVER, State.STARTING),
        State.ACTIVE: (Action.DELIVER, State.ACTIVE),
        State.STOPPING: (Action.DELIVER, State.STOPPING),
        State.CLOSING: (Action.IGNORE, State.CLOSING),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.STOP: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.DELIVER, State.STOPPING),
        State.ACTIVE: (Action.DELIVER, State.STOPPING),
        State.STOPPING: (Action.DELIVER, State.STOPPING),
        State.CLOSING: (Action.IGNORE, State.CLOSING),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.LEAVE: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.ABORT, State.CLOSED),
        State.STOPPING: (Action.ABORT, State.CLOSED),
        State.CLOSING: (Action.ABORT, State.CLOSED),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.SERVING: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.ABORT, State.CLOSED),
        State.STOPPING: (Action.ABORT, State.CLOSED),
        State.CLOSING: (Action.ABORT, State.CLOSED),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.LISTEN: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.ABORT, State.CLOSED),
        State.STOPPING: (Action.ABORT, State.CLOSED),
        State.CLOSING: (Action.ABORT, State.CLOSED),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.LISTENING: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.DELIVER, State.ACTIVE),
        State.STOPPING: (Action.DELIVER, State.STOPPING),
        State.CLOSING: (Action.IGNORE, State.CLOSING),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.CONN: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.DELIVER, State.ACTIVE),
        State.STOPPING: (Action.REFUSE, State.STOPPING),
        State.CLOSING: (Action.IGNORE, State.CLOSING),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.CONN_REPLY: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.ABORT, State.CLOSED),
        State.STOPPING: (Action.ABORT, State.CLOSED),
        State.CLOSING: (Action.ABORT, State.CLOSED),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.CONN_CREDIT: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.ABORT, State.CLOSED),
        State.STOPPING: (Action.ABORT, State.CLOSED),
        State.CLOSING: (Action.ABORT, State.CLOSED),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.LISTEN_CLOSE: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.DELIVER, State.ACTIVE),
        State.STOPPING: (Action.DELIVER, State.STOPPING),
        State.CLOSING: (Action.IGNORE, State.CLOSING),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.HANDLE_ACK: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.DELIVER, State.ACTIVE),
        State.STOPPING: (Action.DELIVER, State.STOPPING),
        State.CLOSING: (Action.IGNORE, State.CLOSING),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.TELL: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.DELIVER, State.ACTIVE),
        State.STOPPING: (Action.DELIVER, State.STOPPING),
        State.CLOSING: (Action.IGNORE, State.CLOSING),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.CALL: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.DELIVER, State.ACTIVE),
        State.STOPPING: (Action.REFUSE, State.STOPPING),
        State.CLOSING: (Action.IGNORE, State.CLOSING),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.REPLY: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.DELIVER, State.ACTIVE),
        State.STOPPING: (Action.DELIVER, State.STOPPING),
        State.CLOSING: (Action.IGNORE, State.CLOSING),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.ERROR: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.DELIVER, State.ACTIVE),
        State.STOPPING: (Action.DELIVER, State.STOPPING),
        State.CLOSING: (Action.IGNORE, State.CLOSING),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.CANCEL: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.DELIVER, State.ACTIVE),
        State.STOPPING: (Action.DELIVER, State.STOPPING),
        State.CLOSING: (Action.IGNORE, State.CLOSING),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.UNDELIVERABLE: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.DELIVER, State.ACTIVE),
        State.STOPPING: (Action.DELIVER, State.STOPPING),
        State.CLOSING: (Action.IGNORE, State.CLOSING),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.MONITOR: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.ABORT, State.CLOSED),
        State.STOPPING: (Action.ABORT, State.CLOSED),
        State.CLOSING: (Action.ABORT, State.CLOSED),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.DEMONITOR: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.ABORT, State.CLOSED),
        State.STOPPING: (Action.ABORT, State.CLOSED),
        State.CLOSING: (Action.ABORT, State.CLOSED),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.DOWN: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.DELIVER, State.ACTIVE),
        State.STOPPING: (Action.DELIVER, State.STOPPING),
        State.CLOSING: (Action.IGNORE, State.CLOSING),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.EXIT_INFO: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.ABORT, State.CLOSED),
        State.STOPPING: (Action.ABORT, State.CLOSED),
        State.CLOSING: (Action.ABORT, State.CLOSED),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    Kind.LOG: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.ABORT, State.CLOSED),
        State.STOPPING: (Action.ABORT, State.CLOSED),
        State.CLOSING: (Action.ABORT, State.CLOSED),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    UNKNOWN_KIND: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.DELIVER, State.STARTING),
        State.ACTIVE: (Action.DELIVER, State.ACTIVE),
        State.STOPPING: (Action.DELIVER, State.STOPPING),
        State.CLOSING: (Action.IGNORE, State.CLOSING),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
    EOF: {
        State.HANDSHAKE: (Action.ABORT, State.CLOSED),
        State.STARTING: (Action.ABORT, State.CLOSED),
        State.ACTIVE: (Action.ABORT, State.CLOSED),
        State.STOPPING: (Action.DELIVER, State.CLOSED),
        State.CLOSING: (Action.DELIVER, State.CLOSED),
        State.CLOSED: (Action.IGNORE, State.CLOSED),
    },
}

# Kinds of handles as HELLO and WELCOME name them.
HANDLE_NAMES: dict[int, str] = {
    HandleKind.TCP_SOCKET: "tcp-socket",
    HandleKind.TCP_LISTENER: "tcp-listener",
    HandleKind.UDP_SOCKET: "udp-socket",
    HandleKind.UNIX_STREAM: "unix-stream",
    HandleKind.UNIX_LISTENER: "unix-listener",
    HandleKind.UNIX_DGRAM: "unix-dgram",
    HandleKind.UNIX_SEQPACKET: "unix-seqpacket",
    HandleKind.PIPE_READ: "pipe-read",
    HandleKind.PIPE_WRITE: "pipe-write",
    HandleKind.FILE: "file",
    HandleKind.MEMFD: "memfd",
    HandleKind.TTY: "tty",
    HandleKind.EVENTFD: "eventfd",
    HandleKind.PIDFD: "pidfd",
    HandleKind.OPAQUE: "opaque",
}

# Limits: that are not announced.
LIMIT_DEFAULTS: dict[str, int] = {
    "max_frame": 1048576,
    "max_message": 16777216,
    "max_partial": 33554432,
    "window": 4194304,
    "max_depth": 64,
    "max_fds": 16,
    "fds_in_flight": 64,
    "max_calls": 1024,
    "max_streams": 256,
    "max_listeners": 64,
    "max_meta": 8192,
    "max_monitors": 4096,
}

# Limits: nobody may announce less.
LIMIT_FLOORS: dict[str, int] = {
    "max_frame": 16384,
    "max_message": 65536,
    "max_partial": 65536,
    "window": 65536,
    "max_depth": 64,
    "max_fds": 1,
    "fds_in_flight": 1,
    "max_calls": 1,
    "max_streams": 0,
    "max_listeners": 0,
    "max_meta": 1024,
    "max_monitors": 1,
}

# Capabilities, and the level of each.
CAPABILITIES: dict[str, int] = {
    "msg": 1,
    "call": 1,
    "frag": 1,
    "ack": 1,
    "log": 1,
    "handle": 2,
    "handle.send": 2,
    "handle.ack": 2,
    "handle.head": 2,
    "listen.handoff": 2,
    "listen.shared": 2,
    "monitor": 3,
    "bulk.memfd": 4,
}
