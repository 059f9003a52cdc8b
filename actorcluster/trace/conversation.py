"""One worker's conversation as a trace has it, and what of it has to come again. Pure.

Runs in: both

Theory of operation
===================

*What is said again.* Everything that the primary said, but PONG, which answers what the program
asks this time. What was left out of a frame is not there: keys of `masked` are missing, and a
message without its body cannot be said at all.

*What has to be equal.* The kinds, the channels, the order on each channel, and the codes of ERROR,
UNDELIVERABLE and ABORT; with payloads, those of answers and messages as well. Urgent kinds may
overtake others, so each has an order of its own. A message in pieces counts once, and on no
channel of its own (`Answer.place`). What a program may gather, or say whenever it likes, is not
compared (`_FREE`): CREDIT, ACK, LOG and so on. Nor are times.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, TypeAlias, final

import attrs

from .._counted import counted
from ..conform.diagnostic import same, to_diagnostic
from ..conform.frames import HEADER, frame, kind_name, pack, unpack_all
from ..wire._generated import FLAG_FRAG, FLAG_LANE, FLAG_MORE, FLAG_OPTIONAL, KINDS, AbortCode, Kind
from .tracefile import FROM_WORKER, Begin, Broken, Exit, Frame, Record, Shut, Spawn, Trace

__all__ = [
    "Answer",
    "CannotReplay",
    "Conversation",
    "Said",
    "Step",
    "answer_of",
    "conversation",
    "granting",
]

_FREE: Final = frozenset(
    {
        Kind.CREDIT, Kind.ACK, Kind.HANDLE_ACK, Kind.CONN_CREDIT, Kind.CONN_REPLY, Kind.LOG,
        Kind.EXIT_INFO, Kind.PING,
    }
)  # fmt: skip
_MESSAGES: Final = frozenset({Kind.TELL, Kind.CALL})
_SAID_WITH_PAYLOAD: Final = frozenset({Kind.REPLY, Kind.TELL, Kind.CALL})
_CODED: Final = frozenset({Kind.ERROR, Kind.UNDELIVERABLE, Kind.ABORT})
_LEAST_COST: Final = 256

Place: TypeAlias = tuple[int, int]
"""Channel, and the kind where that has an order of its own."""


class CannotReplay(Exception):
    """The trace does not have what it takes."""


@final
@attrs.frozen
class Answer:
    """What a worker has said, as far as it has to come again.

    Attributes:
        kind: its code.
        channel: 0 for a message in pieces.
        code: of an error, else None.
        payload: its diagnostic form, where it is compared, else None.
    """

    kind: int
    channel: int
    code: Any = None
    payload: Any = None

    @property
    def place(self) -> Place:
        """What it has an order with."""
        known = KINDS.get(self.kind)
        return self.channel, self.kind if known is not None and known.urgent else 0

    def is_like(self, other: Answer) -> bool:
        """Whether another one is as good."""
        if (self.kind, self.channel, self.code) != (other.kind, other.channel, other.code):
            return False
        return self.payload is None or other.payload is None or same(self.payload, other.payload)

    def __str__(self) -> str:
        where = f" on channel {self.channel}" if self.channel else ""
        code = "" if self.code is None else f"({_code_name(self.kind, self.code)})"
        return f"{kind_name(self.kind)}{code}{where}"


def _code_name(kind: int, code: Any) -> str:
    if kind == Kind.ABORT and code in set(AbortCode):
        return AbortCode(code).name.lower()
    return str(code)


@final
@attrs.frozen(kw_only=True)
class Said:
    """A frame that the primary has said.

    Attributes:
        data: its bytes, as they can be said again.
        fds: kinds of the descriptors that go with it.
        cost: of a message, at most.
    """

    kind: int
    channel: int
    data: bytes
    fds: tuple[int, ...]
    cost: int = 0


@final
@attrs.frozen(kw_only=True)
class Step:
    """Something that happened, in the order of the trace.

    Attributes:
        number: of the record in the trace, from 1.
        time: in seconds.
        what: a frame of the primary's, an answer, or the end of a side's stream.
        credit: bytes of credit that the worker had given so far, all together.
        before: of an answer, how many there were in its place before it.
    """

    number: int
    time: float
    what: Said | Answer | Shut
    credit: int = 0
    before: int = 0


@final
@attrs.define(kw_only=True)
class Conversation:
    """What there was between the primary and one worker.

    Attributes:
        worker: its id.
        steps: in order.
        limits: what it announced.
        exit: how it ended, if it did.
        lane: whether its handles went by a side lane.
    """

    worker: int
    steps: list[Step] = attrs.Factory(list)
    limits: dict[str, int] = attrs.Factory(dict)
    exit: Exit | None = None
    lane: bool = False

    @property
    def answers(self) -> int:
        """How many have to come again."""
        return sum(isinstance(step.what, Answer) for step in self.steps)

    @property
    def ends_by_itself(self) -> bool:
        """Whether the worker's process had ended without violence."""
        return self.exit is not None and self.exit.code is not None and self._has_shut

    @property
    def _has_shut(self) -> bool:
        shuts = (step.what for step in self.steps if isinstance(step.what, Shut))
        return any(shut.direction == FROM_WORKER for shut in shuts)


def conversation(trace: Trace, worker: int | None, *, payloads: bool) -> Conversation:
    """Put together what was said to a worker and by it.

    Args:
        trace: where it is.
        worker: its id; None: the first that was started.
        payloads: whether these are compared.

    Raises:
        CannotReplay: it is not in the trace, or not as a whole.
    """
    spawn = _spawn(trace, worker)
    if spawn.protocol != "awp":
        raise CannotReplay(
            f"worker {spawn.worker} is spoken to in the protocol of {spawn.protocol}"
        )
    if any(isinstance(record, Begin) and not record.bodies for record in trace.records):
        # Though nothing was said that has one: what a client had said first is left out, too.
        raise CannotReplay("it was written without bodies; record it with trace_bodies=True")
    made = Conversation(worker=spawn.worker, lane=spawn.lane)
    credit = 0
    places: Counter[Place] = Counter()
    for number, record in enumerate(trace.records, 1):
        if getattr(record, "worker", None) != spawn.worker:
            continue
        if isinstance(record, Exit):
            made.exit = record
        elif isinstance(record, Broken):
            raise CannotReplay(f"worker {spawn.worker} did not speak in frames")
        elif isinstance(record, Shut):
            made.steps.append(_step(number, record, record, credit))
        elif isinstance(record, Frame) and record.direction == FROM_WORKER:
            credit += _credit(record)
            _note_limits(record, made)
            answer = _answer(record, payloads=payloads)
            if answer is not None:
                step = _step(number, record, answer, credit)
                made.steps.append(attrs.evolve(step, before=places[answer.place]))
                places[answer.place] += 1
        elif isinstance(record, Frame) and record.header[7] != Kind.PONG:
            made.steps.append(_step(number, record, _said(number, record), credit))
    if not any(isinstance(step.what, Said) for step in made.steps):
        raise CannotReplay(f"nothing was said to worker {spawn.worker}")
    return made


def _spawn(trace: Trace, worker: int | None) -> Spawn:
    for record in trace.records:
        if isinstance(record, Spawn) and worker in (None, record.worker):
            return record
    if worker is None:
        raise CannotReplay("no worker was started in it")
    early = (one.lives for one in trace.records if isinstance(one, Begin))
    if any(worker == life[0] for lives in early for life in lives):
        raise CannotReplay(f"worker {worker} was started before the trace that is left begins")
    raise CannotReplay(f"there is no worker {worker} in it; {trace.who_is_there()}")


def _step(number: int, record: Record, what: Said | Answer | Shut, credit: int) -> Step:
    return Step(number=number, time=record.time / 1e6, what=what, credit=credit)


def _credit(record: Frame) -> int:
    if record.header[7] != Kind.CREDIT or _channel(record):
        return 0
    envelope = _value(record.envelope)
    is_there = isinstance(envelope, list) and envelope and isinstance(envelope[0], int)
    return int(envelope[0]) if is_there else 0


def _note_limits(record: Frame, made: Conversation) -> None:
    if record.header[7] == Kind.HELLO:
        said = _value(record.payload)
        limits = said.get("limits") if isinstance(said, dict) else None
        if isinstance(limits, dict):
            made.limits = {key: value for key, value in limits.items() if isinstance(value, int)}


# ---- what the worker said -------------------------------------------------------------------


def _answer(record: Frame, *, payloads: bool) -> Answer | None:
    header = record.header
    payload = _value(record.payload) if header[7] not in (Kind.PING, Kind.PONG) else None
    is_there = record.payload is not None
    return answer_of(
        header[7], header[8], _channel(record), payload, payloads=payloads and is_there
    )


def answer_of(
    kind: int, flags: int, channel: int, payload: Any, *, payloads: bool
) -> Answer | None:
    """Say what has to come again of a frame; None: nothing of it."""
    if kind in _FREE or flags & FLAG_MORE or (kind not in KINDS and flags & FLAG_OPTIONAL):
        return None
    code = payload.get("code") if kind in _CODED and isinstance(payload, dict) else None
    is_piece = bool(flags & FLAG_FRAG)
    form = None
    if payloads and kind in _SAID_WITH_PAYLOAD and not is_piece:
        form = to_diagnostic(payload)
    is_message = is_piece and kind == Kind.TELL
    return Answer(kind, 0 if is_message else channel, code, form)


# ---- what the primary said ------------------------------------------------------------------


def _said(number: int, record: Frame) -> Said:
    header = record.header
    kind, flags, nfds = header[7], header[8] & ~FLAG_LANE, header[9]
    size = int.from_bytes(header[2:6], "big")
    fds = _kinds(record)
    if len(fds) != nfds:
        raise CannotReplay(
            f"record {number}: {kind_name(kind)} had {counted(nfds, 'descriptor')}, not all known"
        )
    if kind in (Kind.PING, Kind.PONG):
        body = record.payload if record.payload is not None else b"\xc0\xc0"
        data = frame(kind, channel=_channel(record), flags=flags, body=body)
        return Said(kind=kind, channel=_channel(record), data=data, fds=())
    if record.envelope is None or record.payload is None:
        raise CannotReplay(
            f"record {number}: the body of {kind_name(kind)}, {counted(size, 'byte')}, is not in"
            " the trace: of a frame there is 1 MiB at most, or an eighth of trace_size"
        )
    if _is_elsewhere(kind, record.envelope):
        raise CannotReplay(f"record {number}: {kind_name(kind)} had its payload in a memory file")
    payload = _without_time(kind, record.payload)
    data = frame(
        kind, channel=_channel(record), flags=flags, nfds=nfds, body=record.envelope + payload
    )
    cost = max(_LEAST_COST, size) if kind in _MESSAGES else 0
    return Said(kind=kind, channel=_channel(record), data=data, fds=fds, cost=cost)


def _kinds(record: Frame) -> tuple[int, ...]:
    """The kinds of its descriptors, as they were declared, else as they were."""
    known = KINDS.get(record.header[7])
    envelope = _value(record.envelope)
    if known is not None and "handles" in known.fields and isinstance(envelope, list):
        at = known.fields.index("handles")
        entries = envelope[at] if at < len(envelope) else None
        if isinstance(entries, list) and all(isinstance(one, list) and one for one in entries):
            return tuple(one[0] for one in entries)
    return tuple(kind for _, kind in record.fds)


def _is_elsewhere(kind: int, envelope: bytes) -> bool:
    known = KINDS.get(kind)
    said = _value(envelope)
    if known is None or "meta" not in known.fields or not isinstance(said, list):
        return False
    at = known.fields.index("meta")
    return at < len(said) and isinstance(said[at], dict) and "bulk" in said[at]


def granting(welcome: bytes, offered: frozenset[str]) -> bytes:
    """Say WELCOME to somebody who offers something else than the worker in the trace did."""
    _, payload = unpack_all(welcome[HEADER:])
    caps = [name for name in payload.get("caps") or () if name in offered]
    return frame(Kind.WELCOME, None, {**payload, "caps": caps})


def _without_time(kind: int, payload: bytes) -> bytes:
    """WELCOME without a heartbeat: PINGs come at other times than they did."""
    if kind != Kind.WELCOME:
        return payload
    said = _value(payload)
    has_one = isinstance(said, dict) and said.get("heartbeat")
    return pack({**said, "heartbeat": 0}) if has_one else payload


def _channel(record: Frame) -> int:
    return int.from_bytes(record.header[12:16], "big")


def _value(data: bytes | None) -> Any:
    try:
        (value,) = unpack_all(data or b"")
    except ValueError:
        return None
    return value
