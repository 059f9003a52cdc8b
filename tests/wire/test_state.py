"""The machine over the state tables: it goes where they say, and never back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorcluster.wire._generated import (
    KINDS,
    PRIMARY_TABLE,
    UNKNOWN_KIND,
    WORKER_TABLE,
    Action,
    Kind,
    State,
)
from actorcluster.wire.state import Role, StateMachine

TABLES = {"worker": WORKER_TABLE, "primary": PRIMARY_TABLE}
ORDER = list(State)
roles = st.sampled_from(["worker", "primary"])
kinds = st.one_of(st.sampled_from(list(Kind)), st.integers(0, 255))

#: How each role gets into each state: + is sent, - is received.
WAYS: dict[tuple[Role, State], str] = {
    ("worker", State.HANDSHAKE): "",
    ("worker", State.STARTING): "-WELCOME",
    ("worker", State.ACTIVE): "-WELCOME +READY",
    ("worker", State.STOPPING): "-WELCOME +READY -STOP",
    ("worker", State.CLOSING): "-WELCOME +READY -STOP +GOODBYE",
    ("worker", State.CLOSED): "+ABORT",
    ("primary", State.HANDSHAKE): "",
    ("primary", State.STARTING): "-HELLO",
    ("primary", State.ACTIVE): "-HELLO -READY",
    ("primary", State.STOPPING): "-HELLO -READY +STOP",
    ("primary", State.CLOSING): "-HELLO -READY +STOP -GOODBYE +GOODBYE",
    ("primary", State.CLOSED): "-ABORT",
}


def machine_in(role: Role, state: State) -> StateMachine:
    machine = StateMachine(role)
    for step in WAYS[role, state].split():
        kind = Kind[step[1:]]
        if step.startswith("+"):
            assert machine.may_send(kind), step
            machine.sent(kind)
        else:
            assert Action.DELIVER is machine.received(kind), step
    return machine


@pytest.mark.parametrize(("role", "state"), WAYS)
def test_every_state_is_reached(role: Role, state: State) -> None:
    assert state is machine_in(role, state).state


@pytest.mark.parametrize(("role", "state"), WAYS)
def test_each_kind_does_what_the_table_says(role: Role, state: State) -> None:
    for kind, (action, after) in TABLES[role][state].items():
        if kind < 0:
            continue
        machine = machine_in(role, state)
        assert action is machine.received(kind)
        # To give up is the connection's to do, and to say.
        assert (state if action is Action.ABORT else after) is machine.state


@pytest.mark.parametrize(("role", "state"), WAYS)
def test_unknown_and_reserved_kinds_have_one_row(role: Role, state: State) -> None:
    expected = TABLES[role][state][UNKNOWN_KIND][0]
    for kind in (0x00, Kind.PROGRESS, Kind.LINK, 0x77, 0xFF):
        assert expected is machine_in(role, state).received(kind)


#: What a connection answers by itself, with what.
ANSWERS = {
    Kind.PING: [Kind.PONG],
    Kind.SETTINGS: [Kind.SETTINGS_ACK],
    Kind.TELL: [Kind.UNDELIVERABLE, Kind.CREDIT, Kind.ACK],
    Kind.CALL: [Kind.ERROR, Kind.CREDIT, Kind.ACK],
    Kind.CANCEL: [Kind.ERROR],
    Kind.LISTEN: [Kind.ERROR],
    Kind.LISTENING: [Kind.LISTEN_CLOSE],
    Kind.CONN: [Kind.CONN_REPLY],
    UNKNOWN_KIND: [Kind.UNIMPLEMENTED],
}


@pytest.mark.parametrize(("role", "state"), WAYS)
def test_whatever_is_taken_can_be_answered(role: Role, state: State) -> None:
    for kind, (action, _) in TABLES[role][state].items():
        if action in (Action.DELIVER, Action.REFUSE):
            for answer in ANSWERS.get(kind, ()):
                assert machine_in(role, state).may_send(answer), (kind, answer)


@pytest.mark.parametrize(
    ("role", "state", "orderly"),
    [
        ("worker", State.HANDSHAKE, False),
        ("worker", State.ACTIVE, False),
        ("worker", State.STOPPING, True),
        ("worker", State.CLOSING, True),
        ("primary", State.STARTING, False),
        ("primary", State.ACTIVE, False),
        ("primary", State.CLOSING, True),
        ("primary", State.CLOSED, True),
    ],
)
def test_end_of_stream(role: Role, state: State, orderly: bool) -> None:
    machine = machine_in(role, state)
    assert orderly is machine.received_eof()
    assert State.CLOSED is machine.state


def test_a_withheld_kind_is_not_sendable_and_aborts() -> None:
    machine = machine_in("worker", State.ACTIVE)
    machine.withhold([Kind.TELL, Kind.CONN_REPLY])
    assert not machine.may_send(Kind.TELL)
    assert Kind.TELL not in machine.takes
    assert Action.ABORT is machine.received(Kind.TELL)
    assert Action.DELIVER is machine.received(Kind.CALL)
    machine.withhold([])
    assert machine.may_send(Kind.TELL)
    assert Kind.TELL in machine.takes
    assert Action.DELIVER is machine.received(Kind.TELL)


def test_what_is_ignored_is_ignored_without_its_capability_too() -> None:
    machine = machine_in("worker", State.CLOSING)
    machine.withhold([Kind.TELL])
    assert Action.IGNORE is machine.received(Kind.TELL)


@given(role=roles, steps=st.lists(st.tuples(st.booleans(), kinds), max_size=40))
def test_states_only_advance(role: Role, steps: list[tuple[bool, int]]) -> None:
    machine = StateMachine(role)
    for sends, kind in steps:
        before = machine.state
        if not sends:
            machine.received(kind)
        elif machine.may_send(kind):
            machine.sent(kind)
        assert ORDER.index(machine.state) >= ORDER.index(before)


@given(role=roles, arriving=st.lists(kinds, max_size=40))
def test_a_closed_machine_takes_nothing_and_says_nothing(role: Role, arriving: list[int]) -> None:
    machine = machine_in(role, State.CLOSED)
    assert {Action.IGNORE} >= {machine.received(kind) for kind in arriving}
    assert not any(machine.may_send(kind) for kind in KINDS)
