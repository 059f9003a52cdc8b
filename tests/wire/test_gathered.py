"""Runs of plain messages, calls and answers as one event each: the same as each by itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorcluster.errors import RemoteProtocolError
from actorcluster.wire import events
from actorcluster.wire._generated import AbortCode, Kind, State
from actorcluster.wire.connection import Connection
from actorcluster.wire.credit import ReceiveWindow
from actorcluster.wire.frames import FrameReader
from actorcluster.wire.runs import Run
from actorcluster.wire.state import Role
from actorcluster.wire.values import Values
from tests.wire.pair import joined
from tests.wire.talk import breaks, frame
from tests.wire.test_connection_properties import connection_in, meaningful

NESTED = {"a": [{"b": [1, [2]]}]}


def told(body: Any, envelope: Any = (None,)) -> bytes:
    return frame(Kind.TELL, list(envelope), body)


def called(body: Any, channel: int, envelope: Any = (None,)) -> bytes:
    return frame(Kind.CALL, envelope and list(envelope), body, channel=channel)


def answered(body: Any, channel: int, envelope: Any = None) -> bytes:
    return frame(Kind.REPLY, envelope, body, channel=channel)


def one_by_one(found: Iterable[events.Event]) -> list[tuple[Any, ...]]:
    """Events as data, those of a run as if each had come alone."""
    facts: list[tuple[Any, ...]] = []
    for event in found:
        if isinstance(event, events.TellsReceived):
            first = event.number - len(event.bodies) + 1
            facts += [
                (events.TellReceived, None, None, body, (), {}, charge, number)
                for number, (body, charge) in enumerate(
                    zip(event.bodies, event.charges, strict=True), first
                )
            ]
        elif isinstance(event, events.CallsReceived):
            first = event.number - len(event.bodies) + 1
            runs = zip(event.bodies, event.charges, event.channels, strict=True)
            facts += [
                (events.CallReceived, None, None, body, (), {}, charge, number, channel)
                for number, (body, charge, channel) in enumerate(runs, first)
            ]
        elif isinstance(event, events.RepliesReceived):
            facts += [
                (events.ReplyReceived, channel, body, (), {})
                for channel, body in zip(event.channels, event.bodies, strict=True)
            ]
        else:
            facts.append((type(event), *attrs.astuple(event, recurse=False)))
    return facts


def outcome(connection: Connection, pieces: Iterable[bytes]) -> tuple[Any, ...]:
    """All that comes of some bytes."""
    facts: list[Any] = []
    for piece in pieces:
        try:
            facts += one_by_one(connection.receive(piece))
        except RemoteProtocolError as exc:
            facts += [*one_by_one(connection.take_events()), exc.requirement, exc.code]
    said = b"".join(data for data, _, _ in joined(connection))
    return facts, said, connection.state, connection.statistics()


tells = st.builds(
    told,
    st.sampled_from([None, 1, "x", "y" * 100, b"z" * 700, [], {"a": 1}, NESTED, {"l": "m" * 600}]),
    st.sampled_from([[None], [None], [None], [], [None, 5], [None, None, None, {}], ["a"]]),
)
deep = st.integers(60, 70).map(lambda depth: b"\x91" * depth + b"\xc0")
faulty = st.builds(
    lambda body: frame(Kind.TELL, [None])[:-1] + body,
    st.one_of(
        st.binary(max_size=3), deep, st.just(b"\x82\xa1a\x01\xa1a\x02"), st.just(b"\x81\x01\x01")
    ),
).map(lambda data: data[:2] + (len(data) - 16).to_bytes(4, "big") + data[6:])
bodies = st.sampled_from([None, 1, "x", "y" * 300, NESTED, {"l": "m" * 600}])
#: The same one twice, and those that are taken, or nobody's.
numbers = st.integers(0, 20)
calls = st.builds(called, bodies, numbers, st.sampled_from([[None]] * 3 + [[None, 5], [], None]))
answers = st.builds(answered, bodies, numbers, st.sampled_from([None, None, [[[1, {}]]]]))
rows = st.builds(
    lambda make, first, some: b"".join(make(body, first + 2 * i) for i, body in enumerate(some)),
    st.sampled_from([called, answered]),
    numbers,
    st.lists(bodies, min_size=2, max_size=5),
)
most = st.one_of(tells, tells, calls, answers, rows, rows)
mixes = st.lists(st.one_of(most, most, most, faulty, meaningful()), max_size=12)


def asking(role: Role, state: State, *, gather: bool = False) -> Connection:
    """A connection that got there, with some calls open."""
    connection = connection_in(role, state, gather=gather)
    if state is State.ACTIVE:
        for _ in range(6):
            connection.send_call(connection.encode("y"))
    return connection


@given(
    role=st.sampled_from(["worker", "primary"]),
    state=st.sampled_from(list(State)),
    mix=mixes,
    cut=st.integers(0, 3000),
)
def test_a_run_is_what_its_messages_are(
    role: Role, state: State, mix: list[bytes], cut: int
) -> None:
    data = b"".join(mix)
    pieces = (data[:cut], data[cut:])
    each = outcome(asking(role, state), pieces)
    assert each == outcome(asking(role, state, gather=True), pieces)


def test_a_run_is_one_event() -> None:
    connection = connection_in("primary", State.ACTIVE, gather=True)
    before = connection.statistics()
    bodies = [1, "two", {"three": 3}]
    (event,) = connection.receive(b"".join(map(told, bodies)))
    assert isinstance(event, events.TellsReceived)
    assert (bodies, [256] * 3, before.received + 3) == (event.bodies, event.charges, event.number)


def test_other_frames_divide_runs() -> None:
    """Whatever is not plain comes at its place."""
    connection = connection_in("primary", State.ACTIVE, gather=True)
    data = [told(1), told(2), frame(Kind.PONG), told(3), told(4, ["elsewhere"]), told(5)]
    kinds = [type(event) for event in connection.receive(b"".join(data))]
    run, one = events.TellsReceived, events.TellReceived
    assert [run, events.Pong, run, one, run] == kinds


def test_calls_and_answers_make_runs_of_two_and_more() -> None:
    connection = asking("primary", State.ACTIVE, gather=True)
    before = connection.statistics()
    a, b, c = "a" * 100, "b" * 100, "c" * 100
    data = [called(a, 5), called(b, 7), told(3), called(4, 9)]
    data += [answered(a, 2), answered(b, 8), answered(c, 4)]
    calls, tells, call, answers = connection.receive(b"".join(data))
    assert isinstance(calls, events.CallsReceived)
    assert ([a, b], [5, 7]) == (calls.bodies, calls.channels)
    assert ([256] * 2, before.received + 2) == (calls.charges, calls.number)
    assert isinstance(tells, events.TellsReceived)
    assert isinstance(call, events.CallReceived)
    assert isinstance(answers, events.RepliesReceived)
    assert ([a, b, c], [2, 8, 4]) == (answers.bodies, answers.channels)
    after = connection.statistics()
    assert (before.calls - 3, before.inbound_calls + 3) == (after.calls, after.inbound_calls)


@pytest.mark.parametrize(
    "odd",
    [
        called(1, 5) + called(2, 5),
        called(1, 5) + called(2, 6),
        called(1, 5) + called(2, 0),
        called(1, 5) + called(2, 3),
        called(1, 5) + called(2, 1),
    ],
)
def test_a_run_of_calls_with_one_that_opens_no_channel(odd: bytes) -> None:
    connection = asking("primary", State.ACTIVE, gather=True)
    breaks(connection, odd, "AWP-CH-2", AbortCode.PROTOCOL_ERROR)
    (event,) = connection.take_events()
    assert isinstance(event, events.CallReceived)
    assert 5 == event.channel


def test_answers_that_nobody_waits_for_among_others() -> None:
    connection = asking("primary", State.ACTIVE, gather=True)
    data = b"".join(answered(n, n) for n in (2, 4, 4, 99, 6))
    got = [event.channel for event in connection.receive(data)]  # type: ignore[union-attr]  # answers only
    assert [2, 4, 6] == got


def test_nothing_is_gathered_unasked() -> None:
    connection = asking("primary", State.ACTIVE)
    data = told(1) + told(2) + called(3, 5) + called(4, 7) + answered(5, 2) + answered(6, 4)
    kinds = [type(event) for event in connection.receive(data)]
    wanted = [events.TellReceived, events.CallReceived, events.ReplyReceived]
    assert [kind for kind in wanted for _ in range(2)] == kinds


def test_the_message_that_overruns_the_window_is_found_in_its_run() -> None:
    connection = connection_in("primary", State.ACTIVE, gather=True)
    size = connection.limits["window"] // 256
    breaks(connection, told(None) * (size + 1), "AWP-FC-6", AbortCode.FLOW_VIOLATION)
    received = connection_in("primary", State.ACTIVE).statistics().received
    assert size - received == len(connection.take_events())


def test_a_run_is_as_many_frames() -> None:
    reader = FrameReader(Values(), max_frame=1 << 20, gather=True)
    (run,) = reader.feed(told(1) + told([2]))
    assert isinstance(run, Run)
    assert FrameReader(Values(), max_frame=1 << 20).feed(told(1) + told([2])) == run.frames()


@pytest.mark.parametrize(
    ("lengths", "charges"),
    [
        ([5, 240], [256, 256]),
        ([5, 241], [256, 257]),
        ([984, 5], [1000, 256]),
        ([5000], [1000]),
        ([256] * 3, [272] * 3),
        ([985, 5], None),
        ([5] * 4, None),
    ],
)
def test_a_run_is_charged_as_a_whole(lengths: list[int], charges: list[int] | None) -> None:
    window = ReceiveWindow(1000)
    window.available = 1000 if charges != [1000, 256] else 1256
    before = window.available
    assert charges == window.take_all(lengths, max(lengths))
    assert before - sum(charges or ()) == window.available
