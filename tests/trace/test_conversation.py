"""What of a trace can be said again, and what has to come again; by records made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from actorcluster.conform.frames import HEADER, frame, pack, unpack_all
from actorcluster.trace.conversation import (
    Answer,
    CannotReplay,
    Said,
    answer_of,
    conversation,
    granting,
)
from actorcluster.trace.tracefile import (
    FROM_WORKER,
    TO_WORKER,
    Begin,
    Broken,
    Exit,
    Frame,
    Record,
    Shut,
    Spawn,
    Trace,
)
from actorcluster.wire._generated import FLAG_MORE, FLAG_OPTIONAL, AbortCode, Kind

HELLO = {"versions": [[1, 0]], "limits": {"window": 5000, "odd": "x"}}
UNKNOWN_KIND = 250


def spawn(worker: int = 1, protocol: str = "awp") -> Spawn:
    return Spawn(
        time=1, worker=worker, pid=5, name="w", method="exec", protocol=protocol, channel="fd",
        lane=False,
    )  # fmt: skip


def record(
    kind: int,
    envelope: Any = None,
    payload: Any = None,
    *,
    to_worker: bool = False,
    worker: int = 1,
    fds: tuple[tuple[int, int], ...] = (),
    is_whole: bool = True,
    **head: int,
) -> Frame:
    data = frame(kind, envelope, payload, **head)  # type: ignore[arg-type]  # channel, nfds, flags
    parts = (pack(envelope), pack(payload)) if is_whole else (None, None)
    direction = TO_WORKER if to_worker else FROM_WORKER
    return Frame(
        time=2_500_000, worker=worker, direction=direction, header=data[:HEADER],
        envelope=parts[0], payload=parts[1], payload_size=len(pack(payload)), fds=fds,
    )  # fmt: skip


WELCOME = record(Kind.WELCOME, None, {"caps": ["ack", "call"], "heartbeat": 5}, to_worker=True)


def talk(*records: Record, worker: int | None = None, payloads: bool = False) -> Any:
    return conversation(Trace(records=list(records)), worker, payloads=payloads)


def test_what_was_said_and_what_has_to_come_again() -> None:
    found = talk(
        spawn(),
        record(Kind.HELLO, None, HELLO),
        WELCOME,
        record(Kind.READY, None, {}, worker=2),  # another's
        record(Kind.READY, None, {}),
        record(Kind.CREDIT, [700]),
        record(Kind.CREDIT, ["odd"]),
        record(Kind.CREDIT, [9], channel=4),  # of a stream
        record(Kind.TELL, [0], "hi", to_worker=True),
        record(Kind.PONG, to_worker=True),
        record(Kind.PING, to_worker=True, is_whole=False),
        record(Kind.PONG),
        record(Kind.TELL, [0], "ho"),
        record(Kind.TELL, [0], "hu"),
        Shut(time=3, worker=1, direction=FROM_WORKER),
        Exit(time=4, worker=1, pid=5, code=0, signal=None, reason="normal"),
    )
    assert (1, {"window": 5000}, True, 5) == (
        found.worker, found.limits, found.ends_by_itself, found.answers
    )  # fmt: skip
    said = [step.what for step in found.steps if isinstance(step.what, Said)]
    assert [(Kind.WELCOME, 0), (Kind.TELL, 256), (Kind.PING, 0)] == [
        (one.kind, one.cost) for one in said
    ]
    assert 0 == unpack_all(said[0].data[HEADER:])[1]["heartbeat"]
    assert b"\xc0\xc0" == said[2].data[HEADER:]
    told = [step for step in found.steps if getattr(step.what, "kind", 0) == Kind.TELL]
    assert [(9, 2.5, 700, 0), (13, 2.5, 700, 2), (14, 2.5, 700, 3)] == [
        (step.number, step.time, step.credit, step.before) for step in told
    ]


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([], "no worker was started in it"),
        ([spawn(2)], "there is no worker 1 in it; there is 2"),
        (
            [Begin(time=0, part=2, began=0, primary=1, bodies=True, size=1, lives=((1, 5, "w"),))],
            "worker 1 was started before the trace that is left begins",
        ),
        ([spawn(protocol="node")], "worker 1 is spoken to in the protocol of node"),
        ([spawn(), record(Kind.HELLO, None, HELLO)], "nothing was said to worker 1"),
        (
            [spawn(), Broken(time=2, worker=1, direction=FROM_WORKER, first=b"x" * 16)],
            "worker 1 did not speak in frames",
        ),
        (
            [spawn(), record(Kind.TELL, [0], 1, to_worker=True, is_whole=False)],
            (
                "record 2: the body of TELL, 3 bytes, is not in the trace:"
                " of a frame there is 1 MiB at most, or an eighth of trace_size"
            ),
        ),
        (
            [
                Begin(time=0, part=1, began=0, primary=1, bodies=False, size=1),
                spawn(),
                WELCOME,  # which is there as a whole
            ],
            "it was written without bodies; record it with trace_bodies=True",
        ),
        (
            [spawn(), record(Kind.TELL, [None, None, [], {}], 1, to_worker=True, nfds=1)],
            "record 2: TELL had 1 descriptor, not all known",
        ),
        (
            [spawn(), record(Kind.TELL, [None, None, [], {"bulk": 1}], None, to_worker=True)],
            "record 2: TELL had its payload in a memory file",
        ),
    ],
)
def test_what_cannot_be_said_again(records: list[Record], why: str) -> None:
    with pytest.raises(CannotReplay) as caught:
        talk(*records, worker=1 if records else None)
    assert why == str(caught.value)


def test_descriptors_are_of_the_kinds_that_were_declared_or_found() -> None:
    envelope: list[Any] = [None, None, [[3, {}]], {}]
    declared = record(Kind.TELL, envelope, 1, to_worker=True, nfds=1, fds=((9, 7),))
    found = record(Kind.TELL, [None], 1, to_worker=True, nfds=1, fds=((9, 7),))
    said = [step.what for step in talk(spawn(), declared, found).steps]
    assert [(3,), (7,)] == [one.fds for one in said]


def test_what_is_not_compared() -> None:
    for kind in (Kind.CREDIT, Kind.ACK, Kind.LOG, Kind.PING):
        assert answer_of(kind, 0, 0, None, payloads=True) is None
    assert answer_of(Kind.TELL, FLAG_MORE, 0, None, payloads=True) is None
    assert answer_of(UNKNOWN_KIND, FLAG_OPTIONAL, 0, None, payloads=True) is None
    assert Answer(UNKNOWN_KIND, 3) == answer_of(UNKNOWN_KIND, 0, 3, None, payloads=True)


def test_what_is_equal() -> None:
    one = answer_of(Kind.REPLY, 0, 4, {"a": 1}, payloads=True)
    other = answer_of(Kind.REPLY, 0, 4, {"a": 2}, payloads=True)
    unseen = answer_of(Kind.REPLY, 0, 4, {"a": 2}, payloads=False)
    assert one is not None
    assert other is not None
    assert unseen is not None
    assert (True, False, True) == (one.is_like(one), one.is_like(other), one.is_like(unseen))
    assert not one.is_like(Answer(Kind.REPLY, 5))


def test_answers_are_named() -> None:
    abort = answer_of(Kind.ABORT, 0, 0, {"code": int(AbortCode.LIMIT_EXCEEDED)}, payloads=False)
    assert "ABORT(limit_exceeded)" == str(abort)
    assert "ABORT(999)" == str(answer_of(Kind.ABORT, 0, 0, {"code": 999}, payloads=False))
    error = answer_of(Kind.ERROR, 0, 7, {"code": "app"}, payloads=False)
    assert "ERROR(app) on channel 7" == str(error)


def test_who_offers_less_is_granted_less() -> None:
    welcome = frame(Kind.WELCOME, None, {"caps": ["ack", "call"], "worker": 1})
    _, granted = unpack_all(granting(welcome, frozenset({"call", "more"}))[HEADER:])
    assert {"caps": ["call"], "worker": 1} == granted
