"""A trace for people, and as JSON: what ``python -m actorcluster trace --decode`` prints.

Runs in: both

Frames have the form that they have in protocol/vectors: a line of JSON whose frame is in the trace
as a whole has ``hex`` and ``frame``, and is a frame vector but for its id.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, Final

import attrs

from .._counted import counted
from ..conform.diagnostic import to_diagnostic
from ..conform.frames import kind_name, unpack_all
from ..wire._generated import (
    FLAG_FRAG,
    FLAG_LANE,
    FLAG_MORE,
    FLAG_OPTIONAL,
    HANDLE_NAMES,
    Kind,
)
from .store import earlier
from .tracefile import (
    FROM_WORKER,
    BadTrace,
    Begin,
    Broken,
    Closed,
    Frame,
    Lane,
    Other,
    Record,
    Shut,
    Spawn,
    Trace,
    read_trace,
)

__all__ = ["BadTrace", "Trace", "as_json", "as_lines", "load", "load_all", "state_of"]

_LONGEST: Final = 400
"""Characters of a body in a line for people."""
_MICROSECONDS: Final = 1_000_000
_FLAGS: Final = {
    FLAG_MORE: "MORE",
    FLAG_FRAG: "FRAG",
    FLAG_LANE: "LANE",
    FLAG_OPTIONAL: "OPTIONAL",
}
_OPAQUE: Final = (Kind.PING, Kind.PONG)


def load(path: str) -> Trace:
    """Read one file.

    Raises:
        BadTrace: it is no trace.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        return read_trace(file.read())


def load_all(path: str) -> Trace:
    """Read a file, and the one before it where that is of the same trace.

    Raises:
        BadTrace: it is no trace.
        OSError: it cannot be read.
    """
    newest = load(path)
    if not newest.records or not isinstance(newest.records[0], Begin):
        return newest
    begin = newest.records[0]
    if begin.part > 1 and os.path.exists(earlier(path)):
        before = load(earlier(path))
        first = before.records[0] if before.records else None
        if (
            isinstance(first, Begin)
            and (first.began, first.primary) == (begin.began, begin.primary)
            and (first.part, before.has_end) == (begin.part - 1, True)
        ):
            return attrs.evolve(newest, records=[*before.records, *newest.records])
    return newest


def state_of(trace: Trace) -> str:
    """Say why a file ends where it does; empty: it says so itself."""
    if trace.fault:
        return f"damaged: {trace.fault}; not shown: {counted(trace.left, 'byte')}"
    if trace.left:
        return f"cut: {counted(trace.left, 'byte')} of a record that is not complete"
    return "" if trace.has_end else "without an end: it is being written, or its primary was killed"


# ---- JSON -----------------------------------------------------------------------------------


def as_json(trace: Trace, worker: int | None = None) -> Iterator[dict[str, Any]]:
    """Give each record as what JSON can say.

    Args:
        trace: with the records.
        worker: id of the one to show; None: all.
    """
    pids: dict[int, int] = {}
    for record in trace.records:
        _note_pids(record, pids)
        if worker not in (None, getattr(record, "worker", worker)):
            continue
        form = {"record": _name_of(record), "time": record.time / _MICROSECONDS}
        number = getattr(record, "worker", None)
        if number is not None:
            form |= {"worker": number, "pid": pids.get(number)}
        yield form | _fields(record)


def _note_pids(record: Record, pids: dict[int, int]) -> None:
    if isinstance(record, Begin):
        pids.update({worker: pid for worker, pid, _ in record.lives})
    elif isinstance(record, Spawn):
        pids[record.worker] = record.pid


def _name_of(record: Record) -> str:
    return "unknown" if isinstance(record, Other) else type(record).__name__.lower()


def _fields(record: Record) -> dict[str, Any]:
    match record:
        case Frame():
            return _frame(record)
        case Broken():
            return {"to": _to(record.direction), "first": record.first.hex()}
        case Shut():
            return {"to": _to(record.direction)}
        case Lane():
            said = {"to": _to(record.direction), "what": record.what, "number": record.number}
            return {**said, "fds": _fds(record.fds)}
        case Other():
            return {"type": record.type, "fields": to_diagnostic(record.fields)}
        case Closed():
            more = {"unsent": record.unsent, "unfinished": record.unfinished}
            return {**more, "unclaimed": _fds(record.unclaimed)}
        case Begin():
            more = attrs.asdict(record, filter=lambda field, _: field.name not in ("time", "lives"))
            return {**more, "lives": [list(life) for life in record.lives]}
        case _:
            return attrs.asdict(
                record, filter=lambda field, _: field.name not in ("time", "worker")
            )


def _to(direction: int) -> str:
    return "primary" if direction == FROM_WORKER else "worker"


def _fds(fds: Sequence[tuple[int, int]]) -> list[list[Any]]:
    return [[number, HANDLE_NAMES.get(kind, f"kind {kind}")] for number, kind in fds]


def _frame(record: Frame) -> dict[str, Any]:
    header = record.header
    frame: dict[str, Any] = {
        "kind": kind_name(header[7]),
        "flags": header[8],
        "nfds": header[9],
        "channel": int.from_bytes(header[12:16], "big"),
    }
    form: dict[str, Any] = {"to": _to(record.direction), "frame": frame}
    if _is_whole(record):
        form["hex"] = (header + (record.envelope or b"") + (record.payload or b"")).hex()
    else:
        form["header"] = header.hex()
        form["payload_size"] = record.payload_size
    if header[7] in _OPAQUE:
        if record.payload is not None:
            frame["body"] = record.payload.hex()
    else:
        for name in ("envelope", "payload"):
            frame |= _value(name, getattr(record, name))
    if record.fds:
        form["fds"] = _fds(record.fds)
    if record.masked:
        form["masked"] = list(record.masked)
    return form


def _is_whole(record: Frame) -> bool:
    if record.payload is None or record.masked:
        return False
    size = len(record.envelope or b"") + len(record.payload)
    return size == int.from_bytes(record.header[2:6], "big")


def _value(name: str, data: bytes | None) -> dict[str, Any]:
    """One value, decoded if that is possible; nothing if it is not in the trace."""
    if data is None:
        return {}
    try:
        (value,) = unpack_all(data)
        return {name: to_diagnostic(value)}
    except (ValueError, TypeError, RecursionError):
        return {f"{name}_hex": data.hex()}


# ---- for people -----------------------------------------------------------------------------


def as_lines(trace: Trace, worker: int | None = None) -> Iterator[str]:
    """Give each record as a line, see `as_json`."""
    for form in as_json(trace, worker):
        where = f"{form['time']:12.6f}"
        if "worker" in form:
            where += f"  {form['worker']} ({form['pid'] or '-'})"
        yield f"{where}  {_words(form)}"


def _words(form: dict[str, Any]) -> str:
    arrow = "->" if form.get("to") == "worker" else "<-"
    match form["record"]:
        case "begin":
            bodies = "with bodies" if form["bodies"] else "without bodies"
            began = _date(form["began"])
            return (
                f"part {form['part']} of the trace of primary {form['primary']}, {began}, {bodies}"
            )
        case "spawn":
            lane = ", with a side lane" if form["lane"] else ""
            how = f"by {form['method']}, {form['protocol']} over {form['channel']}{lane}"
            return f"**  spawn {_text(form['name'])} {how}"
        case "exit":
            how = form["signal"] or ("unknown" if form["code"] is None else f"code {form['code']}")
            return f"**  exit {how}, {form['reason']}"
        case "frame":
            return f"{arrow}  {_frame_words(form)}"
        case "lane":
            return f"{arrow}  lane: {_lane_words(form)}"
        case "shut":
            return f"{arrow}  end of the stream"
        case "broken":
            return f"{arrow}  no frames any more: {form['first']}"
        case "closed":
            left = [f"{name} {form[name]}" for name in ("unsent", "unfinished") if form[name]]
            left += [f"unclaimed {_text(form['unclaimed'])}"] if form["unclaimed"] else []
            return f"**  closed{': ' if left else ''}{', '.join(left)}"
        case "end":
            return f"the end, {form['why']}"
    return _text({key: form[key] for key in ("type", "fields")})


def _frame_words(form: dict[str, Any]) -> str:
    frame = form["frame"]
    words = [frame["kind"]]
    if frame["channel"]:
        words.append(f"ch {frame['channel']}")
    flags = [name for bit, name in _FLAGS.items() if frame["flags"] & bit]
    unknown = frame["flags"] & ~sum(_FLAGS)
    words += [*flags, *([f"flags {unknown:#04x}"] if unknown else [])]
    if frame["nfds"] or "fds" in form:
        words.append(f"fds {_text(form.get('fds', []))}")
    words += [
        _text(frame[name])[:_LONGEST]
        for name in ("envelope", "envelope_hex", "payload", "payload_hex", "body")
        if name in frame
    ]
    if not {"payload", "payload_hex", "body"} & {*frame}:
        words.append(f"... {counted(form['payload_size'], 'byte')}")
    if "masked" in form:
        words.append(f"(without {', '.join(map(_text, form['masked']))})")
    return " ".join(words)


def _lane_words(form: dict[str, Any]) -> str:
    number = f" {form['number']}" if form["number"] else ""
    fds = f" fds {_text(form['fds'])}" if form["fds"] else ""
    return f"{_text(form['what'])[1:-1]}{number}{fds}"


def _text(value: Any) -> str:
    """As JSON, so in ASCII and without control characters."""
    return json.dumps(value, separators=(",", ":"))


def _date(microseconds: int) -> str:
    try:
        at = datetime.datetime.fromtimestamp(microseconds / _MICROSECONDS, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return f"{microseconds} us"
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
