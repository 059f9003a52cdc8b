"""Acknowledgements and credit, as two connections keep them."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from actorcluster.errors import (
    LocalProtocolError,
)
from actorcluster.wire import events
from actorcluster.wire._generated import (
    LIMIT_DEFAULTS,
    AbortCode,
    Kind,
)
from actorcluster.wire.frames import encode_frame
from tests.wire.pair import ConnectionPair, introduced
from tests.wire.talk import (
    MIB,
    NIL,
    PROTOCOL,
    breaks,
    frame,
)

SMALL_WINDOW = {"limits": {"window": 65536}}


# ---- acknowledgements --------------------------------------------------------------------------
def test_acknowledgement(pair: ConnectionPair) -> None:
    for _ in range(3):
        pair.send(pair.primary)
    pair.run()
    assert 3 == pair.primary.unacknowledged
    assert not pair.worker.due()
    pair.worker.arrived(1)
    pair.worker.arrived(2)
    assert pair.worker.due()
    pair.worker.flush_grants()
    assert not pair.worker.due()
    assert [events.Acknowledged(2)] == pair.run()
    assert 1 == pair.primary.unacknowledged


def test_every_thousandth_message_is_acknowledged_at_once(pair: ConnectionPair) -> None:
    pair.worker._arrivals.received = 1000
    pair.primary._deliveries.sent = 1000
    pair.worker.arrived(999)
    assert not pair.worker.wants_to_send()
    pair.worker.arrived(1000)
    assert [events.Acknowledged(1000)] == pair.run()


@pytest.mark.parametrize("fails", [False, True])
def test_an_answer_acknowledges_everything_before_its_call(
    pair: ConnectionPair, fails: bool
) -> None:
    pair.send(pair.primary)
    channel = pair.ask(pair.primary)
    pair.send(pair.primary)
    pair.run()
    if fails:
        pair.worker.send_error(channel, {"code": "app"})
    else:
        pair.worker.send_reply(channel, pair.worker.encode(1))
    pair.run()
    assert 1 == pair.primary.unacknowledged
    assert not pair.worker.due()


def test_acknowledging_what_was_never_sent(pair: ConnectionPair) -> None:
    pair.send(pair.primary)
    assert [events.Acknowledged(1)] == pair.primary.receive(frame(Kind.ACK, [1]))
    breaks(pair.primary, frame(Kind.ACK, [2]), "AWP-MS-8", PROTOCOL)


@pytest.mark.parametrize("envelope", [None, [], ["1"], [-1], [True], [1.0], {"n": 1}])
@pytest.mark.parametrize("kind", [Kind.ACK, Kind.CREDIT, Kind.HANDLE_ACK])
def test_malformed_control_frames(pair: ConnectionPair, kind: Kind, envelope: Any) -> None:
    breaks(pair.primary, frame(kind, envelope), "AWP-FR-6", PROTOCOL)


def test_a_control_frame_that_is_no_msgpack(pair: ConnectionPair) -> None:
    data = encode_frame(Kind.ACK, 0, NIL, b"\xa1\xff")
    breaks(pair.primary, data, "AWP-FR-6", PROTOCOL)


# ---- credit ------------------------------------------------------------------------------------
def test_a_message_costs_credit_until_it_has_left_the_mailbox() -> None:
    pair = ConnectionPair(worker=SMALL_WINDOW)
    pair.start()
    body = bytes(20_000)
    encoded = pair.primary.encode(body)
    cost = pair.primary.charge(encoded, pair.primary.envelope(encoded))
    assert 16 + 2 + len(msgpack.packb(body)) == cost
    for _ in range(3):
        assert pair.primary.has_room(cost)
        pair.primary.send_tell(encoded)
    assert not pair.primary.has_room(cost)
    with pytest.raises(LocalProtocolError, match="no room: the message costs 20021"):
        pair.primary.send_tell(encoded)
    with pytest.raises(LocalProtocolError, match="no room"):
        pair.primary.send_call(encoded)
    arrived = [event for event in pair.run() if isinstance(event, events.TellReceived)]
    assert [cost] * 3 == [event.charge for event in arrived]
    pair.worker.grant(cost)
    assert [events.CreditGranted(65536 - 2 * cost)] == pair.run()
    pair.primary.send_tell(encoded)


@pytest.mark.parametrize(
    "address",
    [
        {},
        {"to": "somebody"},
        {"to": 5, "sender": 7},
        {"meta": {"handle": 0}},
        {"ttl": 0.001},
        {"ttl": 12345.6, "meta": {"k": "v" * 300}, "to": "x" * 40},
    ],
)
@pytest.mark.parametrize("size", [0, 500, 100_000, MIB])
def test_the_charge_is_exact(pair: ConnectionPair, address: dict[str, Any], size: int) -> None:
    encoded = pair.primary.encode(bytes(size))
    cost = pair.primary.charge(encoded, pair.primary.envelope(encoded, **address))
    before = pair.primary.available
    pair.primary.send_call(encoded, **address)
    assert cost == before - pair.primary.available
    (event,) = pair.run()
    assert isinstance(event, events.CallReceived)
    assert cost == event.charge


def test_a_message_larger_than_the_window_waits_for_all_of_it() -> None:
    pair = ConnectionPair(worker=SMALL_WINDOW)
    pair.start()
    large = pair.primary.encode(bytes(300_000))
    pair.send(pair.primary)
    assert 65536 == pair.primary.charge(large, pair.primary.envelope(large))
    assert not pair.primary.has_room(65536)
    (event,) = pair.run()
    assert isinstance(event, events.TellReceived)
    pair.worker.grant(event.charge)
    pair.worker.flush_grants()
    pair.run()
    assert pair.primary.has_room(65536)
    pair.primary.send_tell(large)
    assert 0 == pair.primary.available
    (event,) = pair.run()
    assert isinstance(event, events.TellReceived)
    assert 65536 == event.charge
    pair.worker.grant(event.charge)
    assert [events.CreditGranted(65536)] == pair.run()


def test_credit_is_gathered(pair: ConnectionPair) -> None:
    for _ in range(10):
        pair.send(pair.primary)
    arrived = [event for event in pair.run() if isinstance(event, events.TellReceived)]
    for event in arrived:
        pair.worker.grant(event.charge)
    assert pair.worker.due()
    assert not pair.worker.wants_to_send()
    pair.worker.flush_grants()
    assert not pair.worker.due()
    assert [events.CreditGranted(LIMIT_DEFAULTS["window"])] == pair.run()


@pytest.mark.parametrize("size", [30_000, 100_000])
def test_more_than_the_credit_is_a_violation(size: int) -> None:
    worker = introduced("worker", **SMALL_WINDOW)
    data = frame(Kind.TELL, [None], bytes(30_000))
    worker.receive(data * 2)
    breaks(worker, frame(Kind.TELL, [None], bytes(size)), "AWP-FC-6", AbortCode.FLOW_VIOLATION)
    worker = introduced("worker", **SMALL_WINDOW)
    worker.receive(data * 2)
    call = frame(Kind.CALL, ["x"], bytes(size), channel=2)
    breaks(worker, call, "AWP-FC-6", AbortCode.FLOW_VIOLATION)


@pytest.mark.parametrize(("kind", "channel"), [(Kind.TELL, 0), (Kind.CALL, 2)])
def test_many_small_messages_are_too_many_in_the_end(kind: Kind, channel: int) -> None:
    worker = introduced("worker", **SMALL_WINDOW)
    assert 256 == len(worker.receive(frame(Kind.TELL, [None], 1) * 256))
    one_more = frame(kind, [None], 1, channel=channel)
    breaks(worker, one_more, "AWP-FC-6", AbortCode.FLOW_VIOLATION)


def test_more_credit_than_was_spent(pair: ConnectionPair) -> None:
    pair.send(pair.primary)
    assert 1 == len(pair.primary.receive(frame(Kind.CREDIT, [256])))
    breaks(pair.primary, frame(Kind.CREDIT, [1]), "AWP-FC-6", AbortCode.FLOW_VIOLATION)


def test_credit_of_streams_means_nothing_yet(pair: ConnectionPair) -> None:
    assert [] == pair.primary.receive(frame(Kind.CREDIT, [5], channel=3))


def test_answers_cost_nothing() -> None:
    pair = ConnectionPair(primary=SMALL_WINDOW)
    pair.start()
    channel = pair.ask(pair.primary)
    pair.run()
    pair.send(pair.worker, bytes(70_000))
    assert 0 == pair.worker.available
    pair.worker.send_reply(channel, pair.worker.encode(bytes(500_000)))
    kinds = [type(event) for event in pair.run()]
    assert {events.TellReceived, events.ReplyReceived} == set(kinds)
