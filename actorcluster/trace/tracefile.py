"""The bytes of a trace file, and the records that they say. Pure.

Runs in: both

Theory of operation
===================

A file is a signature of 16 bytes and then records. Each has a length and a checksum before it, so
that what was cut off, at whatever byte, is seen to be: all records before that are whole. The first
record says what the file is, the last one why it ends; a file without that was cut, or is being
written.

A record is a msgpack array that begins with its type and its time. A reader passes over types that
it does not know, and over elements behind those that it knows: so both may be added without another
major version.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, final

import attrs
import msgpack

__all__ = [
    "FROM_WORKER",
    "OPENING",
    "TO_WORKER",
    "BadTrace",
    "Begin",
    "Broken",
    "Closed",
    "End",
    "Exit",
    "Frame",
    "Lane",
    "Other",
    "Record",
    "Shut",
    "Spawn",
    "Trace",
    "encode",
    "frame_bytes",
    "is_trace",
    "read_trace",
]

MAJOR: Final = 1
MINOR: Final = 0
_NAME: Final = b"AWPTRACE"
#: name, major and minor version, and six bytes that mean nothing so far.
OPENING: Final = _NAME + bytes((MAJOR, MINOR)) + bytes(6)
_BEFORE: Final = struct.Struct(">II")
_LONGEST: Final = 16 * 1024 * 1024
"""No record is longer: what says so is damaged."""

TO_WORKER: Final = 0
FROM_WORKER: Final = 1
Direction: TypeAlias = Literal[0, 1]

_BEGIN, _SPAWN, _FRAME, _SHUT, _BROKEN, _CLOSED, _EXIT, _END, _LANE = range(9)


class BadTrace(Exception):
    """It is no trace, or one of a version that is not known."""


@final
@attrs.frozen(kw_only=True)
class Begin:
    """The first record of a file.

    Attributes:
        time: of all records: microseconds since the trace began.
        part: counts the files of one trace from 1.
        began: when the trace did, in microseconds since 1970-01-01 UTC.
        primary: its process id.
        bodies: whether bodies are in it.
        size: bytes that this file has at most.
        lives: id, pid, name of the workers that live now.
    """

    time: int
    part: int
    began: int
    primary: int
    bodies: bool
    size: int
    lives: tuple[tuple[int, int, str], ...] = ()


@final
@attrs.frozen(kw_only=True)
class Spawn:
    """A worker process is there.

    Attributes:
        method: how it was started.
        protocol: ``awp``, or ``node`` for a program that is spoken to in another one.
        channel: ``fd``, ``unix`` or ``memory``.
    """

    time: int
    worker: int
    pid: int
    name: str
    method: str
    protocol: str
    channel: str
    lane: bool


@final
@attrs.frozen(kw_only=True)
class Frame:
    """A frame has gone to a worker, or come from it.

    Attributes:
        header: its 16 bytes, as they were.
        envelope: encoded; None: it is not in the trace.
        payload: encoded; of PING and PONG the body. None: it is not in the trace.
        payload_size: how long it was on the wire.
        fds: number in the primary, and kind, of each descriptor that went with it.
        masked: what was left out of envelope and payload.
    """

    time: int
    worker: int
    direction: int
    header: bytes
    envelope: bytes | None
    payload: bytes | None
    payload_size: int
    fds: tuple[tuple[int, int], ...] = ()
    masked: tuple[str, ...] = ()


@final
@attrs.frozen(kw_only=True)
class Shut:
    """That side says nothing more; the end of its stream."""

    time: int
    worker: int
    direction: int


@final
@attrs.frozen(kw_only=True)
class Broken:
    """What comes from here on is no frames, and not in the trace.

    Attributes:
        first: the 16 bytes in place of a header.
    """

    time: int
    worker: int
    direction: int
    first: bytes


@final
@attrs.frozen(kw_only=True)
class Closed:
    """The primary has closed the connection.

    Attributes:
        unsent: bytes that were written and never left.
        unfinished: bytes that came of a frame without its end.
        unclaimed: descriptors that came and no frame had declared.
    """

    time: int
    worker: int
    unsent: int
    unfinished: int
    unclaimed: tuple[tuple[int, int], ...] = ()


@final
@attrs.frozen(kw_only=True)
class Exit:
    """A worker's process has ended; without pid there never was one."""

    time: int
    worker: int
    pid: int | None
    code: int | None
    signal: str | None
    reason: str


@final
@attrs.frozen(kw_only=True)
class End:
    """The last record of a file.

    Attributes:
        why: ``closed`` with the primary, or ``full``: another file goes on.
    """

    time: int
    why: str


@final
@attrs.frozen(kw_only=True)
class Lane:
    """A line has gone over a side lane, or come by it.

    Attributes:
        what: ``handle``, ``ack`` or ``nack`` of one, ``other``; ``end`` of that side's, or
            ``broken`` for what is no line, behind which nothing is in the trace.
        number: of the handle; 0: it has none.
        fds: what came with it; of ``end`` and ``broken``, what no line had named.
    """

    time: int
    worker: int
    direction: int
    what: str
    number: int
    fds: tuple[tuple[int, int], ...] = ()


@final
@attrs.frozen(kw_only=True)
class Other:
    """A record of a type that is not known."""

    time: int
    type: int
    fields: tuple[Any, ...]


Record: TypeAlias = Begin | Spawn | Frame | Shut | Broken | Closed | Exit | End | Lane | Other


# ---- writing --------------------------------------------------------------------------------


def encode(record: Record) -> bytes:
    """Write a record with what stands before it."""
    body: bytes = msgpack.packb(_array(record), use_bin_type=True)
    return _BEFORE.pack(len(body), zlib.crc32(body)) + body


def frame_bytes(fields: Sequence[Any]) -> bytes:
    """Write the record of a frame, of its fields in order, with all of them in a list."""
    body: bytes = msgpack.packb((_FRAME, *fields), use_bin_type=True)
    return _BEFORE.pack(len(body), zlib.crc32(body)) + body


def _array(record: Record) -> tuple[Any, ...]:
    if isinstance(record, Other):
        return (record.type, record.time, *record.fields)
    values = tuple(getattr(record, name) for name in _NAMES[type(record)])
    return (_CODES[type(record)], *values)


# ---- reading --------------------------------------------------------------------------------


@final
@attrs.define
class Trace:
    """What a file says.

    Attributes:
        version: of the format.
        records: all that are whole.
        left: bytes behind them.
        fault: why these are no record; empty: there are none, or their end is missing.
    """

    version: tuple[int, int] = (MAJOR, MINOR)
    records: list[Record] = attrs.Factory(list)
    left: int = 0
    fault: str = ""

    @property
    def has_end(self) -> bool:
        """Whether the last record says that it is the last."""
        return bool(self.records) and isinstance(self.records[-1], End)

    @property
    def workers(self) -> list[int]:
        """The ids of all that something is said of, or that lived when a file began."""
        named = {getattr(record, "worker", 0) for record in self.records} - {0}
        begins = (record for record in self.records if isinstance(record, Begin))
        return sorted(named.union(*([life[0] for life in begin.lives] for begin in begins)))

    def who_is_there(self) -> str:
        """Say the same for people, in few words."""
        spans: list[list[int]] = []
        for worker in self.workers:
            if spans and spans[-1][-1] + 1 == worker:
                spans[-1][1:] = [worker]
            else:
                spans.append([worker])
        ids = ", ".join("-".join(map(str, span)) for span in spans)
        return f"there are {ids}" if len(self.workers) > 1 else f"there is {ids or 'none'}"


def is_trace(opening: bytes) -> bool:
    """Whether a file that begins so is a trace, of whatever version, or the beginning of one."""
    return _NAME.startswith(opening[: len(_NAME)])


def read_trace(data: bytes) -> Trace:
    """Read a file, or as much of one as there is.

    Raises:
        BadTrace: it is none, or of another major version.
    """
    if not is_trace(data):
        raise BadTrace("this is no trace: it does not begin with AWPTRACE")
    if len(data) > len(_NAME) and data[len(_NAME)] != MAJOR:
        raise BadTrace(f"a trace of version {data[len(_NAME)]}, and only {MAJOR} is known here")
    if len(data) < len(OPENING):
        return Trace(left=len(data))
    trace = Trace((data[len(_NAME)], data[len(_NAME) + 1]))
    at = len(OPENING)
    try:
        for record, end in _records(data, at):
            trace.records.append(record)
            at = end
    except ValueError as exc:
        trace.fault = str(exc)
    trace.left = len(data) - at
    return trace


def _records(data: bytes, at: int) -> Iterator[tuple[Record, int]]:
    while at + _BEFORE.size <= len(data):
        size, checksum = _BEFORE.unpack_from(data, at)
        if size > _LONGEST:
            raise ValueError(f"no record has {size} bytes")
        begin, end = at + _BEFORE.size, at + _BEFORE.size + size
        if end > len(data):
            return
        body = data[begin:end]
        if zlib.crc32(body) != checksum:
            raise ValueError("the checksum of a record is wrong")
        yield _record(body), end
        at = end


def _record(body: bytes) -> Record:
    try:
        values = msgpack.unpackb(body, raw=False, use_list=False)
        code, time, *rest = values
        kind = _TYPES.get(code)
        if kind is None:
            return Other(time=time, type=code, fields=tuple(rest))
        said = dict(zip(_NAMES[kind], (time, *rest), strict=False))
        made: Record = kind(**said)
        for name, value in said.items():
            if not isinstance(value, _CLASSES[name]):
                raise TypeError(f"{name} is {value!r:.40}")
    except (ValueError, TypeError, msgpack.UnpackException) as exc:
        raise ValueError(f"a record that says nothing: {exc}") from exc
    return made


_TYPES: Final[Mapping[int, type[Any]]] = {
    _BEGIN: Begin,
    _SPAWN: Spawn,
    _FRAME: Frame,
    _SHUT: Shut,
    _BROKEN: Broken,
    _CLOSED: Closed,
    _EXIT: Exit,
    _END: End,
    _LANE: Lane,
}
_TEXT_OR_NONE: Final = (str, type(None))
_CLASSES: Final[Mapping[str, Any]] = {
    **dict.fromkeys("time part began primary size worker direction payload_size".split(), int),
    **dict.fromkeys("unsent unfinished number".split(), int),
    **dict.fromkeys("bodies lane".split(), bool),
    **dict.fromkeys("lives fds masked unclaimed".split(), tuple),
    **dict.fromkeys("name method protocol channel reason why what".split(), str),
    **dict.fromkeys("header first".split(), bytes),
    **dict.fromkeys("envelope payload".split(), (bytes, type(None))),
    "pid": (int, type(None)),
    "code": (int, type(None)),
    "signal": _TEXT_OR_NONE,
}
_CODES: Final = {kind: code for code, kind in _TYPES.items()}
_NAMES: Final = {kind: tuple(one.name for one in attrs.fields(kind)) for kind in _CODES}
