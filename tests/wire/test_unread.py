"""What a peer provokes and does not read is bounded; who reads is never taken for such a one."""

from __future__ import annotations

from typing import Any

import pytest

from actorcluster.wire import events
from actorcluster.wire._generated import AbortCode, Kind, State
from actorcluster.wire.connection import Connection
from tests.wire.pair import ConnectionPair, introduced, joined
from tests.wire.talk import breaks, frame

#: Twice what a peer may have open: calls and listeners.
MOST = 2 * (4 + 2)
SMALL: dict[str, Any] = {"limits": {"max_calls": 4, "max_listeners": 2}}


def call(number: int) -> bytes:
    return frame(Kind.CALL, [None], "hi", channel=1 + 2 * number)


def answer(connection: Connection, number: int) -> None:
    """As the shell does it, in one of two ways."""
    (event,) = connection.receive(call(number))
    assert isinstance(event, events.CallReceived)
    if number % 2:
        connection.send_error(event.channel, {"code": "app"})
    else:
        connection.send_reply(event.channel, connection.encode(bytes(20_000)))


def test_answers_to_calls_that_nobody_reads() -> None:
    primary = introduced("primary", **SMALL)
    for number in range(MOST + 1):
        answer(primary, number)
    breaks(primary, call(MOST + 1), "AWP-LM-2", AbortCode.LIMIT_EXCEEDED)


def test_answers_to_calls_that_somebody_reads() -> None:
    primary = introduced("primary", **SMALL)
    for number in range(10 * MOST):
        answer(primary, number)
        if number % 4 == 3:
            joined(primary)
    assert State.ACTIVE is primary.state


def test_messages_of_our_own_are_no_answers() -> None:
    primary = introduced("primary", **SMALL)
    for number in range(MOST):
        primary.send_tell(primary.encode("hi"))
        answer(primary, number)
    joined(primary)
    for _ in range(10 * MOST):
        primary.send_tell(primary.encode("hi"))
    for number in range(MOST):
        answer(primary, number)
    assert State.ACTIVE is primary.state


def test_bounces_of_the_shell_that_nobody_reads(pair: ConnectionPair) -> None:
    primary = pair.primary
    error = {"code": "no_such_actor", "message": "x" * 1000}
    while primary._outbox.answers <= 4 << 20:
        (event,) = primary.receive(frame(Kind.TELL, ["nobody"], "hi"))
        assert isinstance(event, events.TellReceived)
        primary.send_undeliverable(event.number, event.to, error)
        primary.grant(event.charge)
    data = frame(Kind.TELL, ["nobody"], "hi")
    breaks(primary, data, "AWP-LM-2", AbortCode.LIMIT_EXCEEDED)


def test_credit_and_acknowledgements_wait_for_a_peer_that_does_not_read() -> None:
    primary = introduced("primary", limits={"window": 65_536})
    sent = 0
    while not primary._outbox.is_jammed:
        sent += give_credit(primary)
    jam = len(primary._outbox._urgent)
    for _ in range(100):
        sent += give_credit(primary)
        assert primary.due()
    assert jam == len(primary._outbox._urgent)
    joined(primary)
    primary.flush_grants()
    assert not primary.due()
    assert 2 == len(primary._outbox._urgent)
    assert sent == primary._arrivals.acknowledged


def give_credit(connection: Connection) -> int:
    """Receive one message, read it, and say so, if that can be said."""
    connection._inbound_window.available = 65_536  # as if it had been told, and had not read it
    (event,) = connection.receive(frame(Kind.TELL, [None], bytes(20_000)))
    assert isinstance(event, events.TellReceived)
    connection.arrived(event.number)
    connection.grant(event.charge)
    connection.flush_grants()
    return 1


@pytest.mark.parametrize("times", [1, 2])
def test_no_more_messages_come_back_than_were_sent(pair: ConnectionPair, times: int) -> None:
    primary = pair.primary
    for _ in range(times):
        primary.send_tell(primary.encode("hi"))
    data = frame(Kind.UNDELIVERABLE, [1, None], {"code": "no_such_actor"})
    assert times == len(primary.receive(data * times))
    breaks(primary, data, "AWP-MS-6", AbortCode.PROTOCOL_ERROR)
