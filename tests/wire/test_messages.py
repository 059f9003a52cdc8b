"""Messages and calls: what arrives, what is bounced, what is answered."""

from __future__ import annotations

import math
from typing import Any

import attrs
import msgpack
import pytest

from actorcluster.errors import (
    LocalProtocolError,
    MessageTooLarge,
)
from actorcluster.wire import events
from actorcluster.wire._generated import (
    LIMIT_DEFAULTS,
    AbortCode,
    ErrorCode,
    Kind,
)
from actorcluster.wire.frames import encode_frame
from actorcluster.wire.state import Role
from tests.wire.pair import ConnectionPair, introduced, joined
from tests.wire.talk import (
    MIB,
    NIL,
    PROTOCOL,
    breaks,
    frame,
    kinds_said,
    said,
)


# ---- messages ----------------------------------------------------------------------------------
def test_a_message(pair: ConnectionPair) -> None:
    assert 1 == pair.send(pair.primary, {"op": "inc"})
    (event,) = pair.run()
    assert isinstance(event, events.TellReceived)
    assert attrs.astuple(event) == (None, None, {"op": "inc"}, (), {}, 256, 1)


def test_an_addressed_message(pair: ConnectionPair) -> None:
    sender = 1 << 32 | 5
    pair.send(pair.worker, "hi", to="log", sender=sender, meta={"k": 1})
    pair.send(pair.worker, "hi", to=7)
    first, second = pair.run()
    assert attrs.astuple(first) == ("log", sender, "hi", (), {"k": 1}, 256, 1)
    assert attrs.astuple(second) == (7, None, "hi", (), {}, 256, 2)


def test_the_first_messages_of_a_batch_survive_a_fault(pair: ConnectionPair) -> None:
    data = frame(Kind.TELL, [None], "good") + b"\x00" * 16 + frame(Kind.TELL, [None], "lost")
    breaks(pair.worker, data, "AWP-FR-4", AbortCode.BAD_SIGNATURE)
    (event,) = pair.worker.take_events()
    assert isinstance(event, events.TellReceived)
    assert "good" == event.body
    assert [] == pair.worker.receive(frame(Kind.TELL, [None], "late"))


@pytest.mark.parametrize(
    "envelope",
    [["to", "from"], [1.5], [None, -1], [None, None, {}], [None, None, None, []], "x", {"to": 1}],
)
def test_a_malformed_envelope_spoils_its_message_only(pair: ConnectionPair, envelope: Any) -> None:
    data = frame(Kind.TELL, envelope, 1) + frame(Kind.CALL, envelope, 1, channel=2)
    assert [] == pair.worker.receive(data)
    bounced, failed = said(pair.worker)
    assert (Kind.UNDELIVERABLE, "bad_payload") == (bounced.kind, bounced.payload["code"])
    assert (Kind.ERROR, "bad_payload", 2) == (failed.kind, failed.payload["code"], failed.channel)


@pytest.mark.parametrize("envelope", [None, [], [None, None, None, None, "new"], [None] * 9])
def test_missing_and_additional_elements_are_no_offence(
    pair: ConnectionPair, envelope: Any
) -> None:
    (event,) = pair.worker.receive(frame(Kind.TELL, envelope, 1))
    assert isinstance(event, events.TellReceived)
    assert (None, 1, {}) == (event.to, event.body, event.meta)


def test_a_broken_body_is_bounced_and_counts(pair: ConnectionPair) -> None:
    broken = encode_frame(Kind.TELL, 0, msgpack.packb(["log"]), b"\xa1\xff")
    assert [] == pair.worker.receive(broken)
    (bounced,) = said(pair.worker)
    assert ([1, "log"], "bad_payload") == (bounced.envelope, bounced.payload["code"])
    (event,) = pair.worker.receive(frame(Kind.TELL, [None], "good"))
    assert isinstance(event, events.TellReceived)
    assert 2 == event.number


def test_a_bounced_message_does_not_acknowledge_those_before_it(pair: ConnectionPair) -> None:
    """They are events by now, and in a mailbox when the shell says so."""
    broken = encode_frame(Kind.TELL, 0, msgpack.packb([None]), b"\xa1\xff")
    assert 1 == len(pair.worker.receive(frame(Kind.TELL, [None], "good") + broken))
    pair.worker.flush_grants()
    assert Kind.ACK not in kinds_said(pair.worker)
    pair.worker.arrived(1)
    pair.worker.flush_grants()
    assert [[2]] == [one.envelope for one in said(pair.worker) if one.kind == Kind.ACK]


def test_a_broken_body_comes_back_to_its_sender(pair: ConnectionPair) -> None:
    pair.send(pair.primary, "x" * 10, to="log")
    pair.ask(pair.primary, "x" * 10)
    broken = b"".join(data for data, _, _ in joined(pair.primary)).replace(b"x" * 10, b"\xff" * 10)
    pair.worker.receive(broken)
    bounced, failed = pair.run()
    assert isinstance(bounced, events.Undeliverable)
    assert isinstance(failed, events.ErrorReceived)
    assert (1, "log", "bad_payload") == (bounced.number, bounced.to, bounced.error["code"])
    assert (2, "bad_payload") == (failed.channel, failed.error["code"])
    assert 0 == pair.primary.unacknowledged
    pair.worker.flush_grants()
    pair.run()
    assert LIMIT_DEFAULTS["window"] == pair.primary.available


def test_a_very_long_name_is_not_repeated(pair: ConnectionPair) -> None:
    name = "n" * 5000
    pair.worker.receive(encode_frame(Kind.TELL, 0, msgpack.packb([name]), b"\xa1\xff"))
    (bounced,) = said(pair.worker)
    assert [1, None] == bounced.envelope


def test_a_sender_must_be_of_the_sending_process(pair: ConnectionPair) -> None:
    pair.worker.receive(frame(Kind.TELL, [None, 9 << 32], 1))  # a primary may relay
    spoofed = frame(Kind.TELL, [None, 9 << 32 | 1], 1)
    breaks(pair.primary, spoofed, "AWP-MS-1", AbortCode.SPOOFED_SENDER)


def test_bodies_that_cannot_be_sent(pair: ConnectionPair) -> None:
    with pytest.raises(TypeError, match="set"):
        pair.primary.encode({1, 2})
    assert not pair.primary.wants_to_send()


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({"limits": {"max_message": 65536}}, 65536),
        ({"limits": {"max_message": 200_000, "max_partial": 100_000}}, 100_000),
        ({"limits": {"max_message": 40 * MIB}}, 40 * MIB),
        ({"capabilities": ["msg"]}, MIB // 2),
    ],
)
def test_the_largest_message(options: dict[str, Any], limit: int) -> None:
    pair = ConnectionPair(worker=options)
    pair.start()
    fits = bytes(limit - (5 if limit > 65540 else 3))
    pair.send(pair.primary, fits)
    (event,) = pair.run()
    assert isinstance(event, events.TellReceived)
    assert fits == event.body
    with pytest.raises(MessageTooLarge) as caught:
        pair.primary.encode(fits + b"1")
    assert (limit + 1, limit) == (caught.value.size, caught.value.limit)


@pytest.mark.parametrize("meta", [{}, {"k": "x" * 9000}])
def test_what_is_too_large_is_bounced(meta: dict[str, Any]) -> None:
    worker = introduced("worker", limits={"max_message": 65536})
    size = 1 if meta else 65536
    worker.receive(frame(Kind.TELL, [None, None, None, meta], bytes(size)))
    (bounced,) = said(worker)
    assert ErrorCode.TOO_LARGE == bounced.payload["code"]
    worker.receive(frame(Kind.TELL, [None, None, None, {"k": 1}], bytes(65536 - 5)))
    assert 2 == worker.statistics().received


def test_an_envelope_that_the_peer_does_not_take(pair: ConnectionPair) -> None:
    encoded = pair.primary.encode(1)
    with pytest.raises(MessageTooLarge) as caught:
        pair.primary.send_tell(encoded, meta={"k": "x" * 9000})
    assert 8192 == caught.value.limit
    with pytest.raises(TypeError):
        pair.primary.send_tell(encoded, meta={"k": object()})
    pair.primary.send_tell(encoded, meta={"k": 1})
    (event,) = pair.run()
    assert isinstance(event, events.TellReceived)
    assert ({"k": 1}, 1) == (event.meta, event.number)


def test_undeliverable(pair: ConnectionPair) -> None:
    pair.send(pair.primary, 1, to="nobody")
    (event,) = pair.run()
    assert isinstance(event, events.TellReceived)
    error = {"code": "no_such_actor", "message": "nobody"}
    pair.worker.send_undeliverable(event.number, event.to, error)
    pair.worker.grant(event.charge)
    assert [events.Undeliverable(1, "nobody", error)] == pair.run()
    pair.worker.flush_grants()
    assert [events.Acknowledged(1), events.CreditGranted(LIMIT_DEFAULTS["window"])] == pair.run()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (frame(Kind.UNDELIVERABLE, [1, "x"], {"code": "app"}), {"code": "app"}),
        (frame(Kind.UNDELIVERABLE, [1, "x"], 7), "bad_payload"),
        (encode_frame(Kind.UNDELIVERABLE, 0, msgpack.packb([1]), b"\xa1\xff"), "bad_payload"),
        (frame(Kind.UNDELIVERABLE, ["1"], {"code": "app"}), None),
    ],
)
def test_undeliverable_in_all_states_of_repair(
    pair: ConnectionPair, data: bytes, expected: Any
) -> None:
    pair.send(pair.primary, 1)
    reported = pair.primary.receive(data)
    if expected is None:
        assert [] == reported
    else:
        (event,) = reported
        assert isinstance(event, events.Undeliverable)
        assert expected in (event.error, event.error["code"])


def test_undeliverable_of_what_was_never_sent(pair: ConnectionPair) -> None:
    breaks(
        pair.primary, frame(Kind.UNDELIVERABLE, [1, None], {"code": "app"}), "AWP-MS-6", PROTOCOL
    )


# ---- calls -------------------------------------------------------------------------------------
def test_a_call_and_its_reply(pair: ConnectionPair) -> None:
    assert [2, 4] == [pair.ask(pair.primary, n, ttl=1.5) for n in (1, 2)]
    assert 1 == pair.ask(pair.worker, 3, to=0)
    calls = [event for event in pair.run() if isinstance(event, events.CallReceived)]
    assert [(1, 3, {}), (2, 1, {"ttl": 1500.0}), (4, 2, {"ttl": 1500.0})] == [
        (call.channel, call.body, call.meta) for call in calls
    ]
    pair.worker.send_reply(4, pair.worker.encode("b"))
    pair.worker.send_reply(2, pair.worker.encode("a"), meta={"m": 1})
    replies = pair.run()
    assert [(4, "b", (), {}), (2, "a", (), {"m": 1})] == [attrs.astuple(one) for one in replies]


def test_no_ttl_is_sent_for_eternity(pair: ConnectionPair) -> None:
    pair.ask(pair.primary, 1, ttl=math.inf)
    (call,) = pair.run()
    assert isinstance(call, events.CallReceived)
    assert {} == call.meta


def test_a_call_that_fails(pair: ConnectionPair) -> None:
    channel = pair.ask(pair.primary)
    pair.run()
    error = {"code": "app", "message": "no", "remote": {"type": "ValueError"}}
    pair.worker.send_error(channel, error)
    assert [(channel, error)] == [attrs.astuple(event) for event in pair.run()]


def test_an_error_map_that_does_not_fit_is_cut(pair: ConnectionPair) -> None:
    channel = pair.ask(pair.primary)
    pair.run()
    pair.worker.send_error(channel, {"code": "app", "message": "m" * 10_000, "data": bytes(MIB)})
    (event,) = pair.run()
    assert isinstance(event, events.ErrorReceived)
    assert {"code": "app", "message": "m" * 4096} == event.error


def test_a_call_is_answered_once(pair: ConnectionPair) -> None:
    channel = pair.ask(pair.primary)
    pair.run()
    pair.worker.send_reply(channel, pair.worker.encode(1))
    with pytest.raises(LocalProtocolError, match="nobody waits"):
        pair.worker.send_reply(channel, pair.worker.encode(1))
    with pytest.raises(LocalProtocolError, match="nobody waits"):
        pair.worker.send_error(channel, {"code": "app"})
    assert 1 == len(pair.run())


def test_an_answer_nobody_waits_for_is_ignored(pair: ConnectionPair) -> None:
    data = frame(Kind.REPLY, None, 1, channel=2) + frame(Kind.ERROR, None, {}, channel=2)
    assert [] == pair.primary.receive(data)
    assert [] == pair.primary.receive(frame(Kind.REPLY, [[[1, {}]]], 1, channel=2, nfds=1), [7])
    assert [7] == pair.primary.take_discarded()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (encode_frame(Kind.REPLY, 2, NIL, b"\xa1\xff"), ErrorCode.BAD_PAYLOAD),
        (frame(Kind.REPLY, ["x"], 1, channel=2), ErrorCode.BAD_PAYLOAD),
        (encode_frame(Kind.ERROR, 2, NIL, b"\xa1\xff"), ErrorCode.BAD_PAYLOAD),
        (frame(Kind.ERROR, None, {"code": 1}, channel=2), ErrorCode.BAD_PAYLOAD),
        (frame(Kind.ERROR, None, "no", channel=2), ErrorCode.BAD_PAYLOAD),
        (frame(Kind.REPLY, None, bytes(70_000), channel=2), ErrorCode.TOO_LARGE),
        (frame(Kind.UNIMPLEMENTED, [0x21], None, channel=2), ErrorCode.UNIMPLEMENTED),
    ],
)
def test_a_broken_answer_is_an_answer(data: bytes, code: ErrorCode) -> None:
    pair = ConnectionPair(primary={"limits": {"max_message": 65536}})
    pair.start()
    channel = pair.ask(pair.primary)
    (event,) = pair.primary.receive(data)
    assert isinstance(event, events.ErrorReceived)
    assert (channel, code) == (event.channel, event.error["code"])
    assert 0 == pair.primary.statistics().calls
    assert 0 == pair.primary.unacknowledged


@pytest.mark.parametrize("channel", [0, 3])
def test_a_call_on_a_channel_that_is_not_the_callers_to_open(
    pair: ConnectionPair, channel: int
) -> None:
    breaks(pair.worker, frame(Kind.CALL, [None], 1, channel=channel), "AWP-CH-2", PROTOCOL)


def test_a_call_on_an_open_channel(pair: ConnectionPair) -> None:
    call = frame(Kind.CALL, [None], 1, channel=2)
    assert 1 == len(pair.worker.receive(call))
    breaks(pair.worker, call, "AWP-CH-2", PROTOCOL)


def test_too_many_calls_are_refused() -> None:
    pair = ConnectionPair(worker={"limits": {"max_calls": 2}})
    pair.start()
    channels = [pair.ask(pair.primary, n) for n in range(3)]
    *calls, refused = pair.run()
    assert [events.CallReceived] * 2 == [type(call) for call in calls]
    assert isinstance(refused, events.ErrorReceived)
    assert (channels[2], "refused") == (refused.channel, refused.error["code"])
    pair.worker.send_reply(channels[0], pair.worker.encode(None))
    pair.ask(pair.primary, 3)
    kinds = [type(event) for event in pair.run()]
    assert [events.ReplyReceived, events.CallReceived] == kinds


def test_cancel(pair: ConnectionPair) -> None:
    channel = pair.ask(pair.primary)
    pair.run()
    pair.primary.send_cancel(channel, "bored")
    assert [events.Cancelled(channel, "bored")] == pair.run()
    pair.worker.send_error(channel, {"code": "cancelled"})
    assert 1 == len(pair.run())
    pair.primary.send_cancel(channel)
    assert not pair.primary.wants_to_send()
    assert [] == pair.worker.receive(frame(Kind.CANCEL, None, None, channel=channel))


def test_cancel_does_not_overtake_its_call(pair: ConnectionPair) -> None:
    channel = pair.ask(pair.primary, bytes(MIB))
    pair.primary.send_cancel(channel)
    kinds = [type(event) for event in pair.run()]
    assert [events.CallReceived, events.Cancelled] == kinds


def test_cancel_is_urgent_otherwise(pair: ConnectionPair) -> None:
    channel = pair.ask(pair.primary)
    pair.run()
    pair.primary.send_cancel(channel)
    pair.send(pair.primary)
    assert [Kind.CANCEL, Kind.TELL] == kinds_said(pair.primary)


@pytest.mark.parametrize(
    ("role", "first", "last"), [("worker", 1, 2**32 - 1), ("primary", 2, 2**32 - 2)]
)
def test_channel_ids_begin_again(pair: ConnectionPair, role: Role, first: int, last: int) -> None:
    """And those that are open by then are left out: a call, a listener, a message on its way."""
    side, other = getattr(pair, role), pair.worker if role == "primary" else pair.primary
    taken = [pair.ask(side)]
    if role == "worker":
        taken.append(side.send_listen({"transport": "tcp", "port": 80, "credit": 1}))
    side.send_tell(side.encode(b"x" * 300_000))
    taken.append(side._next_channel - 2)
    assert list(range(first, first + 2 * len(taken), 2)) == taken
    side._next_channel = last
    assert [last, taken[-1] + 2] == [pair.ask(side), pair.ask(side)]
    pair.run()
    assert side._next_channel == taken[-1] + 4
    other.send_reply(first, other.encode("the first"))
    side._next_channel = last - 2
    pair.run()
    assert [last - 2, first] == [pair.ask(side), pair.ask(side)]
