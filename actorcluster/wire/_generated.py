"""Numbers, names, limits and state tables of the protocol: generated, do not edit.

Runs in: both

Written by protocol/generate.py from protocol/awp.v1.toml.
"""

# ruff: noqa: E501  (a row of a table is a line)

from __future__ import annotations

import enum

import attrs

NAME = "awp"
MAJOR = 1
MINOR = 0
COMPATIBLE_SINCE = 0

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
    PROGRESS = 0x25
    UNDELIVERABLE = 0x26
    MAILBOX = 0x27
    OPEN = 0x30
    ITEM = 0x31
    END = 0x32
    ACTOR_UP = 0x40
    ACTOR_DOWN = 0x41
    MONITOR = 0x42
    DEMONITOR = 0x43
    DOWN = 0x44
    LINK = 0x45
    UNLINK = 0x46
    UNLINK_ACK = 0x47
    EXIT = 0x48
    EXIT_INFO = 0x49
    LOG = 0x50
    STATS = 0x51
    NOTICE = 0x52


class AbortCode(enum.IntEnum):
    """Why a connection was given up."""

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
    """Why a side stops or leaves."""

    NORMAL = 0
    SCALE_DOWN = 1
    RELOAD = 2
    MAX_AGE = 3
    MAX_REQUESTS = 4
    SHUTDOWN = 5
    IDLE = 6
    REPLACED = 7
    UNHEALTHY = 8


class ErrorCode(enum.StrEnum):
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


class Capability(enum.StrEnum):
    """What two peers agree to use; not all is built."""

    MSG = "msg"
    CALL = "call"
    FRAG = "frag"
    ACK = "ack"
    LOG = "log"
    HANDLE = "handle"
    HANDLE_SEND = "handle.send"
    HANDLE_ACK = "handle.ack"
    HANDLE_HEAD = "handle.head"
    LISTEN_HANDOFF = "listen.handoff"
    LISTEN_SHARED = "listen.shared"
    LISTEN_REUSEPORT = "listen.reuseport"
    LISTEN_INHERITED = "listen.inherited"
    NAMES = "names"
    GROUPS = "groups"
    MONITOR = "monitor"
    STREAM = "stream"
    PROGRESS = "progress"
    MAILBOX = "mailbox"
    LINK = "link"
    SPAWN = "spawn"
    BULK_MEMFD = "bulk.memfd"
    PEER = "peer"
    TRACE = "trace"
    STATS = "stats"


class HandleKind(enum.IntEnum):
    """What a descriptor is."""

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
    AWP_PEER = 15
    OPAQUE = 127


class Ext(enum.IntEnum):
    """msgpack extension types in bodies."""

    TIMESTAMP = -1
    HANDLE = 1
    REF = 2
    BIGINT = 3
    UUID = 4
    DECIMAL = 5
    ERROR = 6


class State(enum.Enum):
    """Where a connection stands."""

    HANDSHAKE = "handshake"
    STARTING = "starting"
    ACTIVE = "active"
    STOPPING = "stopping"
    CLOSING = "closing"
    CLOSED = "closed"


class Action(enum.Enum):
    """What becomes of an arriving frame."""

    DELIVER = "deliver"
    IGNORE = "ignore"
    ABORT = "abort"
    REFUSE = "refuse"


@attrs.frozen(eq=False)
class KindInfo:
    """One row of the registry of kinds.

    Attributes:
        code: the number in the frame header.
        name: as in `Kind`.
        direction: who sends it: "W>P", "P>W" or "both".
        urgent: it may overtake frames that are not urgent.
        charged: it costs window bytes.
        level: the conformance level it belongs to.
        capability: must be in force for its use, if any.
        channel: "zero", "opens", "uses", "optional" (0 unless in fragments) or "any".
        handles: its envelope may carry handles.
        fields: names of the envelope's elements, in order.
        status: "built", or "reserved": a receiver treats it as unknown.
    """

    code: int
    name: str
    direction: str
    urgent: bool
    charged: bool
    level: int
    capability: str | None
    channel: str
    handles: bool
    fields: tuple[str, ...]
    status: str


_Row = tuple[int, str, str, int, str, str | None, str, str]


def _kind_info(row: _Row, status: str) -> KindInfo:
    code, name, direction, level, channel, capability, words, marks = row
    fields = tuple(words.split())
    return KindInfo(
        code=code,
        name=name,
        direction=direction,
        urgent="urgent" in marks,
        charged="charged" in marks,
        level=level,
        capability=capability,
        channel=channel,
        handles="handles" in fields,
        fields=fields,
        status=status,
    )


# code, name, direction, level, channel, capability, envelope, marks
_BUILT: tuple[_Row, ...] = (
    (0x01, "HELLO", "W>P", 0, "zero", None, "", ""),
    (0x02, "WELCOME", "P>W", 0, "zero", None, "", ""),
    (0x03, "READY", "W>P", 0, "zero", None, "", ""),
    (0x04, "GOODBYE", "both", 0, "zero", None, "", ""),
    (0x05, "ABORT", "both", 0, "zero", None, "", ""),
    (0x06, "PING", "both", 0, "any", None, "", "urgent"),
    (0x07, "PONG", "both", 0, "any", None, "", "urgent"),
    (0x08, "SETTINGS", "both", 1, "zero", None, "", ""),
    (0x09, "SETTINGS_ACK", "both", 1, "zero", None, "", ""),
    (0x0A, "CREDIT", "both", 1, "any", None, "n", "urgent"),
    (0x0B, "ACK", "both", 1, "zero", "ack", "n", "urgent"),
    (0x0C, "UNIMPLEMENTED", "both", 0, "any", None, "kind", ""),
    (0x0D, "STOP", "P>W", 0, "zero", None, "", ""),
    (0x0E, "LEAVE", "W>P", 0, "zero", None, "", ""),
    (0x0F, "SERVING", "W>P", 1, "zero", None, "", ""),
    (0x10, "LISTEN", "W>P", 2, "opens", None, "", ""),
    (0x11, "LISTENING", "P>W", 2, "uses", None, "handles", ""),
    (0x12, "CONN", "P>W", 2, "uses", "listen.handoff", "first handles meta", ""),
    (0x13, "CONN_REPLY", "W>P", 2, "uses", "listen.handoff", "upto rejected", "urgent"),
    (0x14, "CONN_CREDIT", "W>P", 2, "uses", "listen.handoff", "n closed dropped", "urgent"),
    (0x15, "LISTEN_CLOSE", "both", 2, "uses", None, "", ""),
    (0x16, "HANDLE_ACK", "both", 2, "zero", "handle.ack", "upto lost", "urgent"),
    (0x20, "TELL", "both", 1, "optional", "msg", "to from handles meta", "charged"),
    (0x21, "CALL", "both", 1, "opens", "call", "to from handles meta", "charged"),
    (0x22, "REPLY", "both", 1, "uses", "call", "handles meta", ""),
    (0x23, "ERROR", "both", 1, "uses", None, "", ""),
    (0x24, "CANCEL", "both", 1, "uses", None, "reason", "urgent"),
    (0x26, "UNDELIVERABLE", "both", 1, "zero", "msg", "n to", ""),
    (0x42, "MONITOR", "W>P", 3, "zero", "monitor", "ref target", ""),
    (0x43, "DEMONITOR", "W>P", 3, "zero", "monitor", "ref", ""),
    (0x44, "DOWN", "P>W", 3, "zero", "monitor", "ref target reason", ""),
    (0x49, "EXIT_INFO", "W>P", 1, "zero", None, "", ""),
    (0x50, "LOG", "W>P", 1, "zero", "log", "level time logger", ""),
)
_RESERVED: tuple[_Row, ...] = (
    (0x25, "PROGRESS", "both", 3, "uses", "progress", "", ""),
    (0x27, "MAILBOX", "both", 3, "zero", "mailbox", "aid state", "urgent"),
    (0x30, "OPEN", "both", 3, "opens", "stream", "to from handles meta credit", "charged"),
    (0x31, "ITEM", "both", 3, "uses", "stream", "handles", ""),
    (0x32, "END", "both", 3, "uses", "stream", "", ""),
    (0x40, "ACTOR_UP", "both", 3, "zero", "names", "aid name meta", ""),
    (0x41, "ACTOR_DOWN", "both", 3, "zero", "names", "aid reason", ""),
    (0x45, "LINK", "both", 4, "zero", "link", "from to", ""),
    (0x46, "UNLINK", "both", 4, "zero", "link", "id from to", ""),
    (0x47, "UNLINK_ACK", "both", 4, "zero", "link", "id from to", ""),
    (0x48, "EXIT", "both", 4, "zero", "link", "from to reason", ""),
    (0x51, "STATS", "W>P", 1, "zero", "stats", "", ""),
    (0x52, "NOTICE", "P>W", 1, "zero", None, "name", ""),
)
KINDS: dict[int, KindInfo] = {
    row[0]: _kind_info(row, status)
    for status, rows in (("built", _BUILT), ("reserved", _RESERVED))
    for row in rows
}


# What is specified and implemented now.
BUILT_CAPABILITIES: frozenset[str] = frozenset(
    {
        "msg",
        "call",
        "frag",
        "ack",
        "log",
        "handle",
        "handle.send",
        "handle.ack",
        "handle.head",
        "listen.handoff",
        "listen.shared",
        "monitor",
        "bulk.memfd",
    }
)
BUILT_HANDLE_NAMES: frozenset[str] = frozenset(
    {
        "tcp-socket",
        "tcp-listener",
        "udp-socket",
        "unix-stream",
        "unix-listener",
        "unix-dgram",
        "unix-seqpacket",
        "pipe-read",
        "pipe-write",
        "file",
        "memfd",
        "tty",
        "eventfd",
        "pidfd",
        "opaque",
    }
)

# Handle kinds as HELLO and WELCOME name them.
HANDLE_NAMES: dict[int, str] = {
    1: "tcp-socket",
    2: "tcp-listener",
    3: "udp-socket",
    4: "unix-stream",
    5: "unix-listener",
    6: "unix-dgram",
    7: "unix-seqpacket",
    8: "pipe-read",
    9: "pipe-write",
    10: "file",
    11: "memfd",
    12: "tty",
    13: "eventfd",
    14: "pidfd",
    15: "awp-peer",
    127: "opaque",
}

# A receiver's limits unless it says otherwise, and what it must support.
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


_Cell = tuple[Action, State | None]


def _by_state(
    rows: dict[int, tuple[_Cell, ...]],
) -> dict[State, dict[int, tuple[Action, State]]]:
    return {
        state: {kind: (cells[at][0], cells[at][1] or state) for kind, cells in rows.items()}
        for at, state in enumerate(State)
    }


_NO: _Cell = (Action.ABORT, State.CLOSED)
_OK: _Cell = (Action.DELIVER, None)
_TO_ACTIVE: _Cell = (Action.DELIVER, State.ACTIVE)
_TO_CLOSED: _Cell = (Action.DELIVER, State.CLOSED)
_TO_STARTING: _Cell = (Action.DELIVER, State.STARTING)
_TO_STOPPING: _Cell = (Action.DELIVER, State.STOPPING)
_SKIP: _Cell = (Action.IGNORE, None)
_REFUSE: _Cell = (Action.REFUSE, None)

# Frames that the worker receives: table[state][kind] = (action, state afterwards).
WORKER_TABLE: dict[State, dict[int, tuple[Action, State]]] = _by_state(
    {
        0x01: (_NO, _NO, _NO, _NO, _NO, _SKIP),
        0x02: (_TO_STARTING, _NO, _NO, _NO, _NO, _SKIP),
        0x03: (_NO, _NO, _NO, _NO, _NO, _SKIP),
        0x04: (_NO, _TO_STOPPING, _TO_STOPPING, _OK, _OK, _SKIP),
        0x05: (_TO_CLOSED, _TO_CLOSED, _TO_CLOSED, _TO_CLOSED, _TO_CLOSED, _SKIP),
        0x06: (_NO, _OK, _OK, _OK, _OK, _SKIP),
        0x07: (_NO, _NO, _OK, _OK, _SKIP, _SKIP),
        0x08: (_NO, _OK, _OK, _OK, _SKIP, _SKIP),
        0x09: (_NO, _NO, _OK, _OK, _SKIP, _SKIP),
        0x0A: (_NO, _NO, _OK, _OK, _SKIP, _SKIP),
        0x0B: (_NO, _NO, _OK, _OK, _SKIP, _SKIP),
        0x0C: (_NO, _OK, _OK, _OK, _SKIP, _SKIP),
        0x0D: (_NO, _TO_STOPPING, _TO_STOPPING, _OK, _SKIP, _SKIP),
        0x0E: (_NO, _NO, _NO, _NO, _NO, _SKIP),
        0x0F: (_NO, _NO, _NO, _NO, _NO, _SKIP),
        0x10: (_NO, _NO, _NO, _NO, _NO, _SKIP),
        0x11: (_NO, _NO, _OK, _OK, _SKIP, _SKIP),
        0x12: (_NO, _NO, _OK, _REFUSE, _SKIP, _SKIP),
        0x13: (_NO, _NO, _NO, _NO, _NO, _SKIP),
        0x14: (_NO, _NO, _NO, _NO, _NO, _SKIP),
        0x15: (_NO, _NO, _OK, _OK, _SKIP, _SKIP),
        0x16: (_NO, _NO, _OK, _OK, _SKIP, _SKIP),
        0x20: (_NO, _NO, _OK, _OK, _SKIP, _SKIP),
        0x21: (_NO, _NO, _OK, _REFUSE, _SKIP, _SKIP),
        0x22: (_NO, _NO, _OK, _OK, _SKIP, _SKIP),
        0x23: (_NO, _NO, _OK, _OK, _SKIP, _SKIP),
        0x24: (_NO, _NO, _OK, _OK, _SKIP, _SKIP),
        0x26: (_NO, _NO, _OK, _OK, _SKIP, _SKIP),
        0x42: (_NO, _NO, _NO, _NO, _NO, _SKIP),
        0x43: (_NO, _NO, _NO, _NO, _NO, _SKIP),
        0x44: (_NO, _NO, _OK, _OK, _SKIP, _SKIP),
        0x49: (_NO, _NO, _NO, _NO, _NO, _SKIP),
        0x50: (_NO, _NO, _NO, _NO, _NO, _SKIP),
        UNKNOWN_KIND: (_NO, _OK, _OK, _OK, _SKIP, _SKIP),
        EOF: (_NO, _NO, _NO, _TO_CLOSED, _TO_CLOSED, _SKIP),
    }
)

# Frames that the primary receives: table[state][kind] = (action, state afterwards).
PRIMARY_TABLE: dict[State, dict[int, tuple[Action, State]]] = _by_state(
    {
        0x01: (_TO_STARTING, _NO, _NO, _NO, _NO, _SKIP),
        0x02: (_NO, _NO, _NO, _NO, _NO, _SKIP),
        0x03: (_NO, _TO_ACTIVE, _NO, _SKIP, _SKIP, _SKIP),
        0x04: (_NO, _TO_STOPPING, _TO_STOPPING, _OK, _OK, _SKIP),
        0x05: (_TO_CLOSED, _TO_CLOSED, _TO_CLOSED, _TO_CLOSED, _TO_CLOSED, _SKIP),
        0x06: (_NO, _NO, _OK, _OK, _OK, _SKIP),
        0x07: (_NO, _OK, _OK, _OK, _OK, _SKIP),
        0x08: (_NO, _NO, _OK, _OK, _SKIP, _SKIP),
        0x09: (_NO, _OK, _OK, _OK, _SKIP, _SKIP),
        0x0A: (_NO, _NO, _OK, _OK, _SKIP, _SKIP),
        0x0B: (_NO, _NO, _OK, _OK, _OK, _SKIP),
        0x0C: (_NO, _OK, _OK, _OK, _SKIP, _SKIP),
        0x0D: (_NO, _NO, _NO, _NO, _NO, _SKIP),
        0x0E: (_NO, _OK, _OK, _SKIP, _SKIP, _SKIP),
        0x0F: (_NO, _NO, _OK, _OK, _SKIP, _SKIP),
        0x10: (_NO, _NO, _OK, _REFUSE, _SKIP, _SKIP),
        0x11: (_NO, _NO, _NO, _NO, _NO, _SKIP),
        0x12: (_NO, _NO, _NO, _NO, _NO, _SKIP),
        0x13: (_NO, _NO, _OK, _OK, _OK, _SKIP),
        0x14: (_NO, _NO, _OK, _OK, _OK, _SKIP),
        0x15: (_NO, _NO, _OK, _OK, _OK, _SKIP),
        0x16: (_NO, _NO, _OK, _OK, _OK, _SKIP),
        0x20: (_NO, _NO, _OK, _OK, _SKIP, _SKIP),
        0x21: (_NO, _NO, _OK, _OK, _SKIP, _SKIP),
        0x22: (_NO, _NO, _OK, _OK, _OK, _SKIP),
        0x23: (_NO, _NO, _OK, _OK, _OK, _SKIP),
        0x24: (_NO, _NO, _OK, _OK, _SKIP, _SKIP),
        0x26: (_NO, _NO, _OK, _OK, _OK, _SKIP),
        0x42: (_NO, _NO, _OK, _OK, _SKIP, _SKIP),
        0x43: (_NO, _NO, _OK, _OK, _SKIP, _SKIP),
        0x44: (_NO, _NO, _NO, _NO, _NO, _SKIP),
        0x49: (_NO, _OK, _OK, _OK, _OK, _SKIP),
        0x50: (_NO, _OK, _OK, _OK, _OK, _SKIP),
        UNKNOWN_KIND: (_NO, _OK, _OK, _OK, _SKIP, _SKIP),
        EOF: (_NO, _NO, _NO, _TO_CLOSED, _TO_CLOSED, _SKIP),
    }
)

# Kinds that the worker may send.
WORKER_SENDS: dict[State, frozenset[int]] = {
    State.HANDSHAKE: frozenset({0x01, 0x05}),
    State.STARTING: frozenset({0x03, 0x04, 0x05, 0x07, 0x09, 0x0C, 0x49, 0x50}),
    State.ACTIVE: frozenset(
        {
            0x04,
            0x05,
            0x06,
            0x07,
            0x08,
            0x09,
            0x0A,
            0x0B,
            0x0C,
            0x0E,
            0x0F,
            0x10,
            0x13,
            0x14,
            0x15,
            0x16,
            0x20,
            0x21,
            0x22,
            0x23,
            0x24,
            0x26,
            0x42,
            0x43,
            0x49,
            0x50,
        }
    ),
    State.STOPPING: frozenset(
        {
            0x04,
            0x05,
            0x06,
            0x07,
            0x08,
            0x09,
            0x0A,
            0x0B,
            0x0C,
            0x0F,
            0x13,
            0x14,
            0x15,
            0x16,
            0x20,
            0x21,
            0x22,
            0x23,
            0x24,
            0x26,
            0x42,
            0x43,
            0x49,
            0x50,
        }
    ),
    State.CLOSING: frozenset({0x05, 0x07}),
    State.CLOSED: frozenset(),
}
# The worker's state after sending; other kinds change nothing.
WORKER_AFTER_SENDING: dict[int, State] = {
    0x03: State.ACTIVE,
    0x04: State.CLOSING,
    0x05: State.CLOSED,
}

# Kinds that the primary may send.
PRIMARY_SENDS: dict[State, frozenset[int]] = {
    State.HANDSHAKE: frozenset({0x05}),
    State.STARTING: frozenset({0x02, 0x05, 0x06, 0x08, 0x0C, 0x0D}),
    State.ACTIVE: frozenset(
        {
            0x04,
            0x05,
            0x06,
            0x07,
            0x08,
            0x09,
            0x0A,
            0x0B,
            0x0C,
            0x0D,
            0x11,
            0x12,
            0x15,
            0x16,
            0x20,
            0x21,
            0x22,
            0x23,
            0x24,
            0x26,
            0x44,
        }
    ),
    State.STOPPING: frozenset(
        {
            0x04,
            0x05,
            0x06,
            0x07,
            0x08,
            0x09,
            0x0A,
            0x0B,
            0x0C,
            0x0D,
            0x11,
            0x15,
            0x16,
            0x22,
            0x23,
            0x24,
            0x26,
            0x44,
        }
    ),
    State.CLOSING: frozenset({0x05, 0x07}),
    State.CLOSED: frozenset(),
}
# The primary's state after sending; other kinds change nothing.
PRIMARY_AFTER_SENDING: dict[int, State] = {
    0x0D: State.STOPPING,
    0x04: State.CLOSING,
    0x05: State.CLOSED,
}

# The testable sentences of protocol/SPEC.md.
REQUIREMENTS: dict[str, str] = {
    "AWP-TR-1": "The primary MUST set `ACTORCLUSTER_CHANNEL` and `ACTORCLUSTER_WORKER_ID` in the worker's environment; the id is decimal, 1 or more, and never used twice in the life of a primary.",
    "AWP-TR-2": "A worker MUST remove `ACTORCLUSTER_CHANNEL`, `ACTORCLUSTER_WORKER_ID`, `ACTORCLUSTER_LIMITS`, `ACTORCLUSTER_TOKEN` and `ACTORCLUSTER_LANE` from its environment, and set close-on-exec on its end of the connection, before it starts another program.",
    "AWP-TR-3": "A program that finds no `ACTORCLUSTER_CHANNEL` is not a worker; it SHOULD run by itself, or print a message and exit with status 2.",
    "AWP-TR-4": "Over `unix:` the primary MUST check the peer's user id and compare the token in constant time, and the socket MUST live in a directory of mode 0700.",
    "AWP-TR-6": "ECONNRESET and EPIPE on the connection MUST be treated as end of file, after all input received so far was taken in; what would answer it goes nowhere. At an end of file without them what came before MUST be taken in likewise, and its answers written: the peer may have ended its own direction only.",
    "AWP-TR-7": "A primary MUST NOT let anybody but the worker keep the worker's end, nor let a worker inherit an end of another worker's connection: the death of either side shows at once as end of file.",
    "AWP-TR-8": "A worker SHOULD announce in HELLO the limits that `ACTORCLUSTER_LIMITS` names, a list of `name=value` separated by spaces, e.g. `window=65536 max_message=1048576`: they are what the primary's user set for this worker. Without the variable it announces its own.",
    "AWP-TR-9": "Over `unix:` the primary MUST set `ACTORCLUSTER_TOKEN` to 128 random bits or more, for this worker alone, and take the first connection whose first frame is a HELLO with that `token` and no other `worker` than its own; one that says anything else, or nothing for 10 s, it MUST answer by ABORT(`auth`), and go on waiting.",
    "AWP-TR-10": "Over `unix:` a worker MUST connect once, and send HELLO with the value of `ACTORCLUSTER_TOKEN` as `token` within 10 s.",
    "AWP-TR-11": "Once the worker has connected, or has ended without, the primary MUST NOT let anybody connect, and MUST remove the socket and its directory.",
    "AWP-FR-1": "A sender MUST write byte 0 as `95` and the three header integers in the five-byte `CE` form, however small they are, and byte 10 as 0; a receiver MUST ignore the value of byte 10.",
    "AWP-FR-2": "Envelope and payload MUST each be exactly one well-formed msgpack object, and together fill exactly `length` bytes.",
    "AWP-FR-3": "A receiver MAY find frames by offset, with a streaming msgpack decoder, or both; one that decodes a body MUST check that its two objects end exactly at 16 + `length`, and answer ABORT(`bad_length`) if they end before it or would end behind it.",
    "AWP-FR-4": "A header whose bytes 0, 1, 6 and 11 are not `95 CE CE CE` MUST be answered by ABORT(`bad_signature`); a receiver MUST NOT look for the next frame behind it.",
    "AWP-FR-5": "A `length` above the receiver's `max_frame` MUST be answered by ABORT(`frame_too_large`) as soon as the header is there, before any of the body is kept.",
    "AWP-FR-6": "A body that holds what msgpack does not know, breaks the value profile, or is not shaped as its kind demands, within a right `length`, MUST be an error of that one message (`bad_payload`) where the kind's body is *data*, and ABORT(`protocol_error`) where it is *control*.",
    "AWP-FR-7": "A receiver MUST process frames in the order of their arrival, and accept every way of splitting and gluing the stream of bytes.",
    "AWP-FR-8": "A sender MUST leave flags that are not specified 0; a receiver MUST ignore them.",
    "AWP-CH-1": "A side that opens a channel MUST take an id that is not open, odd if it is the worker, even and not 0 if it is the primary.",
    "AWP-CH-2": "A frame that opens a channel with an id of the wrong parity or of a channel that is open, and a frame on a channel where its kind has none, or on channel 0 where its kind needs one, MUST be answered by ABORT(`protocol_error`); so MUST a TELL without FRAG on another channel than 0.",
    "AWP-CH-3": "A frame of a kind that uses a channel MUST be ignored, and its descriptors closed, when that channel is not open any more; it may have crossed the frame that ended the channel; but CONN is rejected, see AWP-LI-3. Where the channel is open for something else, the receiver MAY answer ABORT(`protocol_error`) instead.",
    "AWP-CH-4": "A side SHOULD take its ids in ascending order, and after the highest go on with the lowest that is not open: what is still on its way for a channel that has ended then finds none of the same id.",
    "AWP-FD-1": "All `nfds` descriptors of a frame MUST be sent in one SCM_RIGHTS message of one `sendmsg` whose first byte of data is the frame's first byte; that `sendmsg` MUST NOT carry descriptors of another frame, while bytes of later frames without descriptors MAY follow in it.",
    "AWP-FD-2": "Where `sendmsg` took only part of the bytes, the rest MUST be sent without the descriptors.",
    "AWP-FD-3": "A receiver MUST queue received descriptors in groups, one group for each `recvmsg` that brought SCM_RIGHTS or was flagged MSG_CTRUNC, and give the oldest group to the next frame whose `nfds` is not 0, wherever the bytes of either stood; one that cannot tell groups apart MUST announce a `max_fds` of 1.",
    "AWP-FD-4": "A receiver that takes handles MUST offer room for 253 descriptors in every `recvmsg`, make them close-on-exec as they arrive, and look at every control message.",
    "AWP-FD-5": "A group smaller than the frame's `nfds`, or flagged MSG_CTRUNC, is lost: the receiver MUST close what arrived of it, MUST NOT use another group in its place, and MUST answer by kind: TELL with UNDELIVERABLE `handle_lost`, CALL with ERROR `handle_lost`, CONN with CONN_REPLY naming all its connections rejected, while a REPLY or LISTENING is taken as if it were ERROR `handle_lost`.",
    "AWP-FD-6": "An `nfds` above the receiver's `max_fds`, descriptors before READY or without the capability for their direction, a group larger than its frame's `nfds`, `nfds` on a kind whose envelope has no handles, and more than 4 times `max_fds` descriptors that no frame has claimed MUST be answered by ABORT(`fd_violation`), all of them closed.",
    "AWP-FD-7": "Descriptors of frames that are ignored, unknown, refused or undeliverable MUST be closed, and count as arrived in HANDLE_ACK.",
    "AWP-FD-8": 'A sender MUST take ETOOMANYREFS as "again, later", and SHOULD, where `handle.ack` is in force, keep the number of descriptors sent and not acknowledged within the receiver\'s `fds_in_flight`.',
    "AWP-FD-9": "Sockets MUST be passed in non-blocking mode; a receiver MUST NOT change the blocking mode of a handle marked `shared`, of whatever kind: it is that of all who have it.",
    "AWP-VA-1": "Invalid UTF-8 in a str, a map key that is not a str or is there twice, an unknown index in a handle extension, a timestamp in none of msgpack's three forms, a `ref` that is no such array, and nesting deeper than the receiver's `max_depth` break the profile; a receiver MUST survive each of them and go on with the next frame.",
    "AWP-VA-2": "A receiver MUST NOT allocate memory by a length that a str, bin, array, map or ext header states and the frame does not hold.",
    "AWP-VA-3": "A receiver MUST NOT import code or construct application objects because a value names them.",
    "AWP-HS-1": "The worker's first frame MUST be HELLO, and the primary's first frame WELCOME or ABORT, both on channel 0 and HELLO and WELCOME only once.",
    "AWP-HS-2": "The primary MUST choose the highest major version that both speak, and the lower of the two minor versions; if there is none it MUST answer ABORT(`version`) with a detail that lists its own versions.",
    "AWP-HS-3": "A side MUST NOT use what needs a capability that is not in the `caps` of WELCOME, which hold nothing that HELLO did not offer; from READY on a kind whose capability is not in force MUST be answered by ABORT(`protocol_error`) wherever its cell in section 18 does not say *ignore*.",
    "AWP-HS-4": "Before READY either side MUST send only what the tables of section 18 allow in HANDSHAKE and STARTING.",
    "AWP-HS-5": "The framing of section 3, the kinds HELLO, WELCOME and ABORT, and their keys `versions`, `version` and `code` MUST stay as they are in all future major versions.",
    "AWP-HS-6": "If a capability in the `require` of HELLO is not granted, the primary MUST answer ABORT(`required_capability`).",
    "AWP-SE-1": "Each SETTINGS MUST be answered by one SETTINGS_ACK, in order, once it is in force at its receiver; unknown keys are ignored. A SETTINGS_ACK for which there is no SETTINGS is ABORT(`protocol_error`).",
    "AWP-SE-2": "A side that raises one of its receive limits other than `window` MUST apply it from sending SETTINGS on, and one that lowers it not before SETTINGS_ACK; a new `window`, higher or lower, counts for the messages whose first frame is behind SETTINGS_ACK and for no others: there both sides add the difference to the credit, which may become negative, and CREDIT returns for each message what it has cost, whatever the window is by then.",
    "AWP-ST-1": "After STOP a worker MUST reject connections handed to it, finish or fail the calls it has, and send GOODBYE within `deadline`.",
    "AWP-ST-2": "After its GOODBYE a side MUST send nothing but PONG or ABORT, and shut down its sending direction once all is written; one that receives GOODBYE MUST answer with GOODBYE once its own output is done.",
    "AWP-ST-3": "End of file without STOP, GOODBYE or ABORT means that the primary is gone: the worker's process MUST have ended within 2 s, with status 0, whatever its code is doing.",
    "AWP-ST-4": "The sender of ABORT MUST close the connection once it is written; its receiver MUST close at once and send nothing more; either way a worker's process MUST have ended within 2 s, with any status.",
    "AWP-ST-5": "`recv` of GOODBYE MUST be the number of the other side's messages that were put into a mailbox, bounced or answered, which is taken as an ACK, and the sender MUST NOT take another one after it; one that counts messages which were not sent is ABORT(`protocol_error`).",
    "AWP-ST-6": "A worker MUST take a second STOP; the earlier of the two deadlines holds.",
    "AWP-ST-7": "The primary MUST answer LEAVE with STOP, unless it has sent STOP already, and MUST count the worker's end as voluntary.",
    "AWP-ST-8": "A frame that its receiver's table in section 18 answers with *abort* MUST end the connection with ABORT(`state_violation`).",
    "AWP-PI-1": "PING MUST be answered by PONG on the same channel with an identical body, byte for byte, whatever that body is; the answer SHOULD come from the loop that reads the connection, not from an actor.",
    "AWP-PI-2": "The primary SHOULD send PING every `heartbeat` ms, and take a worker from which no frame at all came for three of them as unresponsive.",
    "AWP-MS-1": "`from` MUST be nil or an actor of the sending process, or of the worker whose message the primary passes on; the primary MUST answer another worker's id with ABORT(`spoofed_sender`).",
    "AWP-MS-2": "Messages from one actor to one address MUST enter its mailbox in the order of sending.",
    "AWP-MS-3": "While messages arrive and `ack` is in force, a receiver MUST send ACK at least every 1000 messages and at least once a second.",
    "AWP-MS-4": "An urgent frame MUST NOT overtake HELLO, WELCOME or READY, nor the frame that opened its channel; but a PONG MAY stand before READY or behind it.",
    "AWP-MS-5": "A message that reaches the process and no mailbox MUST be answered: TELL with UNDELIVERABLE, CALL with ERROR; nothing is dropped in silence while the connection lives, except in CLOSING, where `recv` of GOODBYE tells.",
    "AWP-MS-6": "Both sides MUST number the TELLs and CALLs of a direction 1, 2, 3 ... in the order in which they are complete on the wire: one in fragments counts with its last fragment, an abandoned one not at all, a refused or bounced one like any other.",
    "AWP-MS-7": "A REPLY or ERROR on a call's channel MUST be taken as an ACK of that CALL and of every message with a lower number.",
    "AWP-MS-8": "ACK[n] MUST NOT be sent before messages 1 to n were put into a mailbox, bounced or answered; one that speaks of messages which were not sent is ABORT(`protocol_error`), as is such an UNDELIVERABLE.",
    "AWP-MS-9": "A receiver MUST take a `to` of nil as its main actor, and a `from` of nil as the main actor of the sending process.",
    "AWP-MS-10": "The primary MUST pass a message that is addressed to another worker on to it, with `to` nil, `from` the sender's id, the sender's name as `name`, what is left of `ttl`, and the other keys of the meta map as they are; messages of one sender to one worker keep their order, and wait, holding up nobody else, while that worker starts or has no credit.",
    "AWP-MS-11": "The primary MUST answer a message to a name or id that it never gave with `no_such_actor`, to a worker that has ended with `connection_lost`, and to one that was told to stop with `stopping`; an UNDELIVERABLE that the worker answers MUST go back to the sender under the sender's own number.",
    "AWP-MS-12": "A message that the primary has taken to pass it on counts as put into a mailbox; its cost MUST NOT be returned before it was sent on or given up.",
    "AWP-MS-13": "A CALL to another worker with `find` true MUST NOT be passed on: the primary answers it with the aid that its `to` means, as soon as that actor takes messages, or with an error of AWP-MS-11.",
    "AWP-MS-14": "A CALL to another worker with `room` true MUST NOT be passed on: the primary answers it with nil once every message that its sender sent to the same address before has been sent on or given up, whoever bears that address, and if anybody does.",
    "AWP-MS-15": "A worker SHOULD NOT let its messages to one address, of which it does not know by AWP-MS-14 that they were sent on, cost more than half of the primary's `window`, but for a single one that costs more.",
    "AWP-CA-1": "The callee MUST end a call with exactly one REPLY or ERROR, also after CANCEL; after CANCEL normally with ERROR `cancelled`.",
    "AWP-CA-2": "After CANCEL the caller MUST keep the channel open until the REPLY or ERROR arrives, which it then drops, closing its descriptors.",
    "AWP-CA-3": "A CALL beyond the callee's `max_calls`, or in a state that refuses it, MUST be answered with ERROR `refused`, which promises that nothing of it was executed.",
    "AWP-CA-4": "The callee SHOULD stop its work when `ttl` is over and answer ERROR `deadline_exceeded`; the caller goes by its own clock and SHOULD send CANCEL.",
    "AWP-CA-5": "A callee that took a CALL out of its mailbox and disposed of it without an answer MUST send ERROR `not_handled` at once.",
    "AWP-CA-6": "When the connection ends, every call that is open MUST fail at its caller with `connection_lost`.",
    "AWP-CA-7": "The primary MUST end a CALL that it passed on with the answer of its own CALL to the target, adding its own id in front of the `path` of an ERROR, and MUST send CANCEL to the target when its caller cancels or ends.",
    "AWP-LG-1": "A message whose frame would exceed the receiver's `max_frame` MUST be sent in fragments, and one above the sender's fragment size SHOULD be: frames of the same kind on the message's own channel with FRAG set, MORE on all but the last, each payload a bin in its shortest form with the next piece of the encoded payload, envelope and handles with the first, envelope nil and `nfds` 0 afterwards.",
    "AWP-LG-2": "Fragments MAY alternate with any other frames, but an actor's next message to the same address MUST NOT begin before the previous one is complete.",
    "AWP-LG-3": "A message that grows beyond the receiver's `max_message`, or the unfinished ones beyond its `max_partial`, or whose envelope is larger than its `max_meta`, MUST be answered with UNDELIVERABLE or ERROR `too_large`, its pieces dropped as they come.",
    "AWP-LG-4": "The receiver of a payload in a memory file MUST check, before it reads or maps it, that it is a regular file of the stated size and sealed against shrinking, growing and writing; one that is not is `unsupported_handle`, and closed.",
    "AWP-LG-9": "Where `bulk.memfd` is in force, a TELL, CALL or REPLY in one frame MAY have its payload in a memory file, which MUST be the last of its handles and of kind `memfd`, with its size in `bulk` of the meta map and nil as the frame's own payload; anything else beside `bulk` breaks the body, and so does a handle extension that means the file.",
    "AWP-LG-10": "A message whose payload is in a memory file MUST cost, and count against `max_message`, as if that were in the frame in place of the nil; its receiver MUST NOT read more of the file than is allowed to be there.",
    "AWP-LG-5": "What the state table says of a message in fragments MUST be decided at its first fragment, and what is wrong with it answered with its last, as only then it has a number; in CLOSING the rest is ignored.",
    "AWP-LG-6": "CANCEL on the channel of a TELL or CALL that is not complete abandons it: the receiver MUST drop its pieces and handles, and answer a CALL with ERROR `cancelled`. Its sender MUST NOT send more of it behind that: a fragment there begins another message. An abandoned message was never charged at the receiver; its sender takes the charge back by itself.",
    "AWP-LG-7": "MORE without FRAG, FRAG on a known kind other than TELL, CALL and REPLY, and one of these that is not the next fragment on the channel of an unfinished message, or has an `nfds` there, MUST be answered by ABORT(`protocol_error`); a fragment whose payload is not a bin is a broken body.",
    "AWP-LG-8": "A sender SHOULD begin no more messages in fragments than fit into the receiver's `max_partial` together; a receiver MAY answer more unfinished ones than a 256th of it, however small they are, by ABORT(`limit_exceeded`).",
    "AWP-FC-1": "A sender MUST NOT begin a charged message that costs more than the credit it holds; the cost is min(`window`, max(256, 16 + size of envelope + size of the whole encoded payload)), paid once before the first byte leaves, fragments being free.",
    "AWP-FC-2": "REPLY and ERROR, CONN, and every kind that is not marked as charged MUST be sent without regard to the window.",
    "AWP-FC-3": "A process MUST go on reading and handling frames at all times; it holds senders back by credit, never by not reading.",
    "AWP-FC-4": "A receiver MUST return a message's cost by CREDIT when the message leaves its mailbox, is bounced or refused, no sooner and only once; nothing for one abandoned before it was complete (AWP-LG-6).",
    "AWP-FC-5": "A receiver MAY gather credit, but MUST return all that is due within 1 s: a sender may be waiting for the whole window.",
    "AWP-FC-6": "A message that costs more than the credit that is out MUST be answered by ABORT(`flow_violation`); so MUST a CREDIT that returns more than was spent.",
    "AWP-LM-1": "A limit that is not announced has its default; a receiver MUST NOT announce less than the floor, and a sender MAY count less as the floor.",
    "AWP-LM-2": "A receiver MUST enforce its limits itself, before it allocates, and MUST bound what it keeps of answers to a peer that does not read them, by ABORT(`limit_exceeded`).",
    "AWP-HA-1": "A sender MUST NOT send a handle of a kind that the receiver did not list in its `handles`.",
    "AWP-HA-2": "A receiver MUST verify what a descriptor is before it uses it, and treat a mismatch with its stated kind as `unsupported_handle`.",
    "AWP-HA-3": "The sender of a handle MUST keep its own copy until `sendmsg` succeeded, and until HANDLE_ACK, or a CONN_REPLY that speaks of it, where `handle.ack` is in force; then it closes that copy unless the handle is `shared`.",
    "AWP-HA-4": "Where `handle.ack` is in force a receiver MUST acknowledge every frame with descriptors by HANDLE_ACK, counting them 1, 2, 3 ... for each direction and naming the lost ones; one that speaks of frames which were not sent is ABORT(`protocol_error`).",
    "AWP-HA-5": "`handles` in an envelope MUST have one entry `[kind, meta]` for each descriptor, in order; another number than `nfds` breaks the body.",
    "AWP-HA-6": "A `head` MUST be bin, of a `tcp-socket` or `unix-stream`; anything else breaks the body. Whoever reads from that socket MUST be given the head first, and who passes it on MUST pass on what is left of it.",
    "AWP-HA-7": "The heads of a message MUST be counted as part of its payload against `max_message`, and not against `max_meta`; one that exceeds `max_message` with them is `too_large` (AWP-LG-3).",
    "AWP-HA-8": "A TELL or CALL with a handle of a kind that its receiver did not list in its `handles`, whether it knows that kind or not, MUST be answered with `unsupported_handle`, and a REPLY or LISTENING with one be taken as if it were ERROR `unsupported_handle`; all descriptors of the frame are closed.",
    "AWP-LI-1": "The primary MUST NOT hand over more connections than the listener's `credit` and its CONN_CREDITs allow; a worker answers more by ABORT(`flow_violation`).",
    "AWP-LI-2": "A worker MUST have written the CONN_REPLY that takes a connection before it reads from or writes to it, and MUST send it only when its application takes the connection.",
    "AWP-LI-3": "A worker MUST reject connections that arrive after its LISTEN_CLOSE, after STOP, or on a listener it does not have.",
    "AWP-LI-4": "The primary MUST keep a duplicate of each connection until it is taken, and give one that was rejected or lost, or whose worker ended first, to another worker; it closes it only when there is none, or the listener's `wait` is over before there is one, or each is at its `limit` and `full` is `drop`.",
    "AWP-LI-5": "The primary MUST answer LISTEN with exactly one LISTENING or ERROR; the mode of a socket is chosen for the first worker that asks for it, and LISTENING MUST name a mode that the worker takes and whose capability is in force.",
    "AWP-LI-6": "Connections of a listener channel MUST be numbered 1, 2, 3 ... without gaps, and the primary MUST NOT read from or write to them; to look at what has arrived without consuming it is allowed.",
    "AWP-LI-7": "A worker that listens on a socket of its own SHOULD say so by SERVING with its `address`, which says nothing else: the primary then counts the worker as listening, but not as one that called itself ready.",
    "AWP-LI-8": "Where a CONN_CREDIT has `closed`, that MUST be how many of the connections that the worker took from this listener, counted from the first, its application has closed or given away, and `dropped` how many of these it never saw; the primary MUST NOT take either for credit.",
    "AWP-LI-9": "A CONN_REPLY that speaks of connections which were not handed over, or of which an earlier one spoke, MUST be answered by ABORT(`protocol_error`).",
    "AWP-EV-1": "A receiver MUST ignore unknown map keys and additional trailing elements of an envelope, and take missing trailing elements as nil.",
    "AWP-EV-2": "A frame of an unknown kind MUST be ignored if OPTIONAL is set, and otherwise answered by UNIMPLEMENTED with its kind on its channel; the receiver goes on either way, and MAY end the connection after 100 unknown frames without OPTIONAL, by ABORT(`limit_exceeded`).",
    "AWP-EV-3": "Unknown handle kinds, extension types, meta keys, error codes, reasons and log levels MUST NOT be treated as violations of the protocol; unknown extension values are handed on unchanged.",
    "AWP-EV-4": "Either side MAY send grease once READY was sent: kinds F0 to FE with OPTIONAL, keys that begin with `grease.`, unknown capabilities in HELLO.",
    "AWP-EV-5": "A sender MUST treat UNIMPLEMENTED on a channel that it opened as ERROR `unimplemented`.",
    "AWP-SU-1": "MONITOR MUST be answered by exactly one DOWN, unless a DEMONITOR or the end of the connection comes first: when the life that its `target` means has ended, or at once when there is none and none is to come.",
    "AWP-SU-2": "A worker MUST give each MONITOR a `ref` that is not open, which it is from MONITOR to DOWN or DEMONITOR, and SHOULD take them in ascending order; one that is open MUST be answered by ABORT(`protocol_error`).",
    "AWP-SU-3": "A DEMONITOR or DOWN whose `ref` is not open MUST be ignored: it may have crossed the other.",
    "AWP-SU-4": "A MONITOR beyond the primary's `max_monitors` MUST be answered by ABORT(`limit_exceeded`).",
    "AWP-SU-5": "An aid as `target` MUST mean that life, a name the life that has it when MONITOR arrives, or else the next one if one is to come, and the name of a pool or supervisor all lives below it, of which DOWN tells once there is none and none is to come.",
    "AWP-SU-6": "DOWN MUST NOT overtake a message of the life that ended which the primary has passed on.",
    "AWP-LO-1": "A worker MUST set OPTIONAL in LOG, and SHOULD NOT send one whose level is below the `log_level` of the primary's SETTINGS.",
    "AWP-LO-2": "A worker MUST bound the LOG frames that wait to be sent, dropping records rather than waiting, and SHOULD say by one more LOG how many were dropped.",
    "AWP-LO-3": "The primary MUST bound what it does for the LOG frames of one worker, and MUST NOT give up the connection for a level, time, logger, text or attribute, whatever it is.",
    "AWP-LN-1": "Where a lane is in force, every frame with handles MUST have the flag LANE, its `nfds` being their number as ever; descriptors that come beside the bytes all the same MUST be closed, and belong to no frame.",
    "AWP-LN-2": "Both sides MUST number the handles that the frames of a direction declare 1, 2, 3 ... in the order of the frames, and send each of them on the lane with its number, at any time before or after its frame.",
    "AWP-LN-3": "A receiver MUST NOT act on a frame with LANE before its handles are there or lost, and MAY hold back what comes behind it for as long; a handle that has not come 5 s after its frame, or when the lane ends, is lost as AWP-FD-5 says, and is closed if it comes later.",
    "AWP-LN-4": "A receiver MUST close a handle whose number is none, is taken, or is more than 1024 ahead of what was declared, and MUST bound those that no frame has declared yet, for which it MAY stop reading the lane; none of this ends the connection.",
    "AWP-LN-5": "On a lane of form `node` the primary MUST NOT send a handle of a kind that has no type in section 25, whatever the worker lists, nor more than one descriptor in one `sendmsg`, and MUST send each line whole.",
    "AWP-LN-6": "A lane that ends while the connection goes on, or says what its form does not allow, MUST be taken as ended for good; a primary that has a handle to send then MUST end the connection as if the worker had.",
}
