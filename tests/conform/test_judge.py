"""The judge of the fuzzer against the vectors: what they say must come is what it expects."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from actorcluster.conform.frames import frame as made
from actorcluster.conform.material import STREAM_FILES, preludes, vectors
from actorcluster.conform.primary.judge import Judge
from actorcluster.conform.primary.talk import Frame, Splitter
from actorcluster.conform.primary.terms import Terms
from actorcluster.wire._generated import FLAG_FRAG, FLAG_MORE, LIMIT_DEFAULTS, Kind, State

Vector = dict[str, Any]

VECTORS = [
    vector
    for name in STREAM_FILES
    for vector in vectors(name)
    if vector["prelude"].startswith("primary.")
]


def steps_of(vector: Vector) -> list[dict[str, Any]]:
    return [*preludes()[vector["prelude"]]["steps"], *vector.get("before", ())]


def frames_in(data: bytes) -> list[Frame]:
    return Splitter().feed(data)


def judge_of(vector: Vector) -> Judge:
    """A judge that has been through a vector's prelude."""
    terms, caps, worker = Terms(dict(LIMIT_DEFAULTS), frozenset()), (), 7
    steps = steps_of(vector)
    for step in steps:
        for frame in frames_in(bytes.fromhex(step.get("send", ""))):
            if frame.kind == Kind.WELCOME:
                terms, worker = Terms.of(frame), frame.payload["worker"]
        for frame in frames_in(bytes.fromhex(step.get("receive", ""))):
            if frame.kind == Kind.HELLO:
                caps = tuple(frame.payload.get("caps") or ())
    judge = Judge(terms, worker, caps)
    for step in steps:
        if "receive" in step:
            judge.said(bytes.fromhex(step["receive"]))
        else:
            for frame in frames_in(bytes.fromhex(step["send"])):
                judge.heard(frame)
    assert judge.verdict.may_live, str(judge.verdict)
    judge.begin()
    return judge


@pytest.mark.parametrize("vector", [pytest.param(v, id=v["id"]) for v in VECTORS])
def test_vector(vector: Vector) -> None:
    judge = judge_of(vector)
    for read in vector["reads"]:
        for _ in range(read.get("repeat", 1)):
            judge.said(bytes.fromhex(read["hex"]), len(read.get("fds", ())))
    verdict = judge.verdict
    if "abort" in vector:
        assert vector["abort"]["code"] in verdict.codes, str(verdict)
    else:
        assert verdict.may_live, str(verdict)


#: What the judge finds possible and never certain: it does not follow connections handed over and
#: monitors so far, nor all fields, and where descriptors arrive it cannot know.
LEFT_OPEN = {
    "fd.before-ready",
    "abort.serving-address",
    "abort.required-capability",
    "abort.monitor-twice",
    "abort.monitor-nobody",
    "abort.monitors",
    "abort.conn-reply-ahead",
    "abort.conn-reply-again",
    "abort.conn-reply-others",
}


def test_all_other_violations_are_certain() -> None:
    """A judge that finds everything possible would let everything pass."""
    left = set()
    for vector in VECTORS:
        if "abort" in vector:
            judge = judge_of(vector)
            for read in vector["reads"]:
                for _ in range(read.get("repeat", 1)):
                    judge.said(bytes.fromhex(read["hex"]), len(read.get("fds", ())))
            if judge.verdict.may_live:
                left.add(vector["id"])
    assert left == LEFT_OPEN


def test_a_body_ends_where_its_second_object_does() -> None:
    from actorcluster.conform.primary.bodies import read_body

    data = msgpack.packb([1, {"a": b"x"}]) + msgpack.packb("text")
    assert len(data) == read_body(data).end
    assert len(data) == read_body(data + b"\xc0").end
    assert len(data) == read_body(data[:-1]).end
    assert read_body(b"\xc1\xc0").end is None


def test_credit_counts_before_the_rest_of_its_frame_is_looked_at() -> None:
    """Who reads the envelope alone finds too much credit, whatever the payload is."""
    prelude = next(one for one in VECTORS if one["prelude"] == "primary.active")
    for depth in (0, 64, 100):  # fine, at the limit, beyond it
        judge = judge_of(prelude)
        body = msgpack.packb([1 << 31]) + b"\x91" * depth + b"\xc0"
        judge.said(made(Kind.CREDIT, body=body))
        assert "flow_violation" in judge.verdict.codes, depth
        assert (depth == 64) == judge.verdict.may_live, depth


def test_descriptors_on_a_kind_that_is_not_in_force() -> None:
    """Whatever else is wrong with it, they may be what is named."""
    caps = ("handle.send", "listen.shared")
    judge = Judge(Terms(dict(LIMIT_DEFAULTS), frozenset(caps)), 7, caps)
    judge.states = {State.ACTIVE}
    judge.said(made(Kind.CONN, [1, [[1, {}]]], channel=1, nfds=1), 1)
    assert "fd_violation" in judge.verdict.codes
    assert not judge.verdict.may_live


def test_descriptors_may_be_read_with_what_stands_before_them() -> None:
    """The primary need not have come to ABORT when it has the descriptors of what follows."""
    judge = Judge(Terms(dict(LIMIT_DEFAULTS), frozenset()), 7, ())
    judge.states = {State.STARTING}
    judge.begin()
    judge.said(made(Kind.ABORT, None, {"code": 1}))
    assert "fd_violation" not in judge.verdict.codes
    judge.said(b"\0" * 16, fds=1)
    assert "fd_violation" in judge.verdict.codes


@pytest.mark.parametrize(
    ("between", "lives"),
    [
        pytest.param(made(Kind.CANCEL, [None], channel=3), True, id="its sender gave it up"),
        pytest.param(made(Kind.ERROR, None, {"code": "x"}, channel=3), False, id="an answer"),
        pytest.param(made(Kind.UNIMPLEMENTED, [0x20], channel=3), False, id="not understood"),
    ],
)
def test_what_ends_an_unfinished_message(between: bytes, lives: bool) -> None:
    """What answers a message of the primary's says nothing of one of the worker's own."""
    caps = ("call", "frag", "msg")
    judge = Judge(Terms(dict(LIMIT_DEFAULTS), frozenset(caps)), 7, caps)
    judge.states = {State.ACTIVE}
    flags = FLAG_FRAG | FLAG_MORE
    judge.said(made(Kind.TELL, ["a", None, 1, {}], b"\x93\x01", channel=3, flags=flags))
    judge.begin()
    judge.said(between)
    judge.said(made(Kind.CALL, ["a", None, 1, {}], channel=3))
    assert lives == judge.verdict.may_live
    assert ("" if lives else "CALL on channel 3: not the next fragment") == judge.verdict.why


@pytest.mark.parametrize("state", [State.STARTING, State.ACTIVE])
def test_who_is_told_to_stop_may_ask_for_it_anyhow(state: State) -> None:
    """LEAVE is answered by STOP, and from then on ignored, whatever is wrong with it."""
    judge = Judge(Terms(dict(LIMIT_DEFAULTS), frozenset()), 7, ())
    judge.states = {state}
    judge.begin()
    judge.said(made(Kind.LEAVE, None, {}))
    judge.said(made(Kind.LEAVE, None, {}, channel=1))
    assert judge.verdict.may_live
    assert "protocol_error" in judge.verdict.codes
