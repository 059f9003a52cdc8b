"""Descriptors beside the bytes, and what becomes of each."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from actorcluster.errors import (
    HandleError,
)
from actorcluster.wire import events
from actorcluster.wire._generated import (
    BUILT_CAPABILITIES,
    FLAG_OPTIONAL,
    AbortCode,
    HandleKind,
    Kind,
)
from actorcluster.wire.connection import Connection
from actorcluster.wire.values import RawHandle
from tests.wire.pair import ConnectionPair, introduced, joined, raw
from tests.wire.talk import (
    FD,
    MESSAGE_WITH_HANDLE,
    MIB,
    PROTOCOL,
    WELCOME,
    breaks,
    frame,
    kinds_said,
    pieces,
    said,
    with_fds,
)


def test_handles_travel(pair: ConnectionPair) -> None:
    one, two = raw(10, HandleKind.TCP_SOCKET, peer=["::1", 5]), raw(11, HandleKind.FILE)
    encoded = pair.primary.encode({"take": two, "again": two}, one)
    number = pair.primary.send_tell(encoded)
    (event, acknowledged) = pair.run()
    assert isinstance(event, events.TellReceived)
    assert number == event.number
    assert (one, two) == event.handles
    assert {"take": two, "again": two} == event.body
    assert events.HandlesAcknowledged(1, ()) == acknowledged


def test_handles_in_calls_replies_and_large_messages(pair: ConnectionPair) -> None:
    channel = pair.primary.send_call(pair.primary.encode([bytes(MIB), raw(10)]))
    call, acknowledged = pair.run()
    assert isinstance(call, events.CallReceived)
    assert (raw(10), (raw(10),)) == (call.body[1], call.handles)
    assert events.HandlesAcknowledged(1, ()) == acknowledged
    pair.worker.send_reply(channel, pair.worker.encode(None, raw(11)), meta={"handle": 0})
    reply, _ = pair.run()
    assert isinstance(reply, events.ReplyReceived)
    assert (None, (raw(11),), {"handle": 0}) == (reply.body, reply.handles, reply.meta)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"handle_names": ["tcp-socket"]}, "no handles of kind file"),
        ({"limits": {"max_fds": 1}}, "2 handles in one message, the peer takes 1"),
        ({"capabilities": BUILT_CAPABILITIES - {"handle"}}, "handle is not in force"),
    ],
)
def test_handles_that_the_peer_does_not_take(options: dict[str, Any], problem: str) -> None:
    pair = ConnectionPair(worker=options)
    pair.start()
    body = [raw(1, HandleKind.FILE), raw(2, HandleKind.FILE)]
    with pytest.raises(HandleError, match=problem):
        pair.primary.encode(body)


def test_a_worker_needs_another_capability_to_send_handles() -> None:
    pair = ConnectionPair(worker={"capabilities": BUILT_CAPABILITIES - {"handle.send"}})
    pair.start()
    with pytest.raises(HandleError, match=r"handle\.send is not in force"):
        pair.worker.encode(None, raw(1))
    pair.primary.encode(None, raw(1))


def test_an_unknown_kind_of_handle_has_no_name(pair: ConnectionPair) -> None:
    with pytest.raises(HandleError, match="no handles of kind 99"):
        pair.primary.encode(None, raw(1, 99))


@pytest.mark.parametrize(
    ("fds", "truncated"), [([], True), ([7], True), ([], False)], ids=["none", "some", "absent"]
)
def test_lost_descriptors(pair: ConnectionPair, fds: list[int], truncated: bool) -> None:
    call_channel = pair.ask(pair.worker)
    data = frame(Kind.TELL, MESSAGE_WITH_HANDLE, 1, nfds=1)
    call = frame(Kind.CALL, MESSAGE_WITH_HANDLE, 1, channel=2, nfds=1)
    reply = frame(Kind.REPLY, [[[1, {}]]], 1, channel=call_channel, nfds=1)
    assert [] == pair.worker.receive(data, fds, truncated)
    assert [] == pair.worker.receive(call, fds, truncated)
    (event,) = pair.worker.receive(reply, fds, truncated)
    assert isinstance(event, events.ErrorReceived)
    assert (call_channel, "handle_lost") == (event.channel, event.error["code"])
    assert fds * 3 == pair.worker.take_discarded()
    pair.worker._calls.clear()
    answers = {one.kind: one for one in said(pair.worker) if one.kind != Kind.CALL}
    assert "handle_lost" == answers[Kind.UNDELIVERABLE].payload["code"]
    assert "handle_lost" == answers[Kind.ERROR].payload["code"]
    assert [3, [3]] == answers[Kind.HANDLE_ACK].envelope


def test_lost_descriptors_of_a_fragmented_message(pair: ConnectionPair) -> None:
    first, last = pieces(Kind.TELL, 2, MESSAGE_WITH_HANDLE, "x" * 20)
    pair.worker.receive(with_fds(first, 1), (), True)
    pair.worker.receive(last)
    bounced = [one for one in said(pair.worker) if one.kind == Kind.UNDELIVERABLE]
    assert ["handle_lost"] == [one.payload["code"] for one in bounced]


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        (None, "bad_payload"),
        ([], "bad_payload"),
        ([[1, {}], [1, {}]], "bad_payload"),
        ([1], "bad_payload"),
        ([[]], "bad_payload"),
        ([["tcp-socket", {}]], "bad_payload"),
        ([[1, []]], "bad_payload"),
        ([[99, {}]], "unsupported_handle"),
    ],
)
@pytest.mark.parametrize("rest", [[], [{"handle": 0}]], ids=["briefly", "with meta"])
def test_handles_that_are_described_wrongly(
    pair: ConnectionPair, rest: list[Any], entries: Any, code: str
) -> None:
    data = frame(Kind.TELL, [None, None, entries, *rest], 1, nfds=1)
    assert [] == pair.worker.receive(data, [7])
    assert [7] == pair.worker.take_discarded()
    acknowledged, bounced = said(pair.worker)
    assert [1] == acknowledged.envelope
    assert code == bounced.payload["code"]


@pytest.mark.parametrize("rest", [[], [{}], [None], [{}, "new"]])
@pytest.mark.parametrize("entry", [[1], [1, None], [1, {}, "new"]])
def test_handles_that_are_described_briefly(
    pair: ConnectionPair, entry: Any, rest: list[Any]
) -> None:
    data = frame(Kind.TELL, [None, None, [entry], *rest], msgpack.ExtType(1, b"\x00"), nfds=1)
    (event,) = pair.worker.receive(data, [7])
    assert isinstance(event, events.TellReceived)
    assert RawHandle(7, 1, {}) == event.body


@pytest.mark.parametrize(
    "envelope",
    [
        [None, None, [[1, {}]], {"handle": 0}],
        ["web", None, [[1, {}]], {"handle": 0}],
        [None, 5, [[1, {}]], {"handle": 0}],
    ],
)
def test_messages_with_handles_are_charged_and_counted(
    pair: ConnectionPair, envelope: list[Any]
) -> None:
    """Whether they go the short way or the long one."""
    before = pair.worker.statistics()
    data = frame(Kind.TELL, envelope, "x" * 1000, nfds=1)
    event, other = pair.worker.receive(data, [7]) + pair.worker.receive(data, [8])
    assert isinstance(event, events.TellReceived)
    assert isinstance(other, events.TellReceived)
    assert [*envelope[:2], {"handle": 0}] == [event.to, event.sender, event.meta]
    assert ((raw(7, 1),), (raw(8, 1),)) == (event.handles, other.handles)
    assert event.charge == len(data)
    assert [before.received + 1, before.received + 2] == [event.number, other.number]


def test_a_handle_that_there_is_no_room_for(pair: ConnectionPair) -> None:
    pair.worker._inbound_window.available = 0
    data = frame(Kind.TELL, [None, None, [[1, {}]], {"handle": 0}], nfds=1)
    breaks(pair.worker, data, "AWP-FC-6", AbortCode.FLOW_VIOLATION, [7])
    assert [7] == pair.worker.take_discarded()


def test_a_handle_that_is_not_there(pair: ConnectionPair) -> None:
    second = msgpack.ExtType(1, b"\x01")
    data = frame(Kind.TELL, MESSAGE_WITH_HANDLE, ["x" * 20, second], nfds=1)
    pair.worker.receive(data, [7])
    first, last = pieces(Kind.TELL, 2, MESSAGE_WITH_HANDLE, ["x" * 20, second])
    pair.worker.receive(with_fds(first, 1), [8])
    pair.worker.receive(last)
    assert [7, 8] == pair.worker.take_discarded()
    bounced = [one for one in said(pair.worker) if one.kind == Kind.UNDELIVERABLE]
    assert ["bad_payload"] * 2 == [one.payload["code"] for one in bounced]


def test_descriptors_where_there_may_be_none(pair: ConnectionPair) -> None:
    breaks(pair.worker, frame(Kind.PING, nfds=1), "AWP-FD-6", FD, [7])
    assert [7] == pair.worker.take_discarded()


def test_descriptors_of_unknown_kinds_are_closed(pair: ConnectionPair) -> None:
    pair.worker.receive(frame(0xF0, nfds=1, flags=FLAG_OPTIONAL), [7])
    pair.worker.receive(frame(Kind.PROGRESS, nfds=1, channel=2), [8])
    assert [7, 8] == pair.worker.take_discarded()
    assert {Kind.UNIMPLEMENTED, Kind.HANDLE_ACK} == set(kinds_said(pair.worker))


def test_descriptors_before_ready() -> None:
    worker = Connection("worker")
    worker.send_hello()
    breaks(worker, b"", "AWP-FD-6", FD, [7])
    assert [7] == worker.take_discarded()
    worker = Connection("worker")
    worker.send_hello()
    breaks(worker, frame(Kind.WELCOME, None, WELCOME, nfds=1), "AWP-FD-6", FD, [7])


def test_more_descriptors_than_declared(pair: ConnectionPair) -> None:
    data = frame(Kind.TELL, MESSAGE_WITH_HANDLE, 1, nfds=1)
    breaks(pair.worker, data, "AWP-FD-6", FD, [7, 8])
    assert [7, 8] == pair.worker.take_discarded()


def test_more_descriptors_than_the_limit() -> None:
    worker = introduced("worker", limits={"max_fds": 1})
    breaks(worker, frame(Kind.TELL, [None], 1, nfds=2), "AWP-FD-6", FD, [7, 8])


def test_descriptors_that_no_frame_claims(pair: ConnectionPair) -> None:
    for fd in range(4):
        assert [] == pair.worker.receive(b"", range(fd * 16, fd * 16 + 16))
    breaks(pair.worker, b"", "AWP-FD-6", FD, [64])
    assert list(range(65)) == pair.worker.take_discarded()


def test_descriptors_without_their_capability() -> None:
    pair = ConnectionPair(worker={"capabilities": ["msg"]})
    pair.start()
    data = frame(Kind.TELL, MESSAGE_WITH_HANDLE, 1, nfds=1)
    error = breaks(pair.primary, data, "AWP-FD-6", FD, [7])
    assert "handle.send is not in force" in str(error)
    error = breaks(pair.worker, data, "AWP-FD-6", FD, [7])
    assert "handle is not in force" in str(error)


def test_descriptors_of_unknown_kinds_without_any_capability_for_them() -> None:
    pair = ConnectionPair(worker={"capabilities": ["msg"]})
    pair.start()
    breaks(pair.worker, frame(0x61, None, None, flags=0x80, nfds=1), "AWP-FD-6", FD, [7])


def test_descriptors_of_a_closed_connection_are_discarded(pair: ConnectionPair) -> None:
    pair.worker.abort(1)
    assert [] == pair.worker.receive(frame(Kind.TELL, MESSAGE_WITH_HANDLE, 1, nfds=1), [7])
    assert [7] == pair.worker.take_discarded()


def test_acknowledging_handles_that_were_never_sent(pair: ConnectionPair) -> None:
    breaks(pair.primary, frame(Kind.HANDLE_ACK, [1]), "AWP-HA-4", PROTOCOL)


def test_no_handle_ack_where_it_is_not_in_force() -> None:
    pair = ConnectionPair(worker={"capabilities": BUILT_CAPABILITIES - {"handle.ack"}})
    pair.start()
    pair.primary.send_tell(pair.primary.encode(None, raw(7)))
    assert [events.TellReceived] == [type(event) for event in pair.run()]
    assert not pair.worker.wants_to_send()


def test_handles_in_flight_are_bounded() -> None:
    pair = ConnectionPair(worker={"limits": {"fds_in_flight": 2}})
    pair.start()
    for fd in range(4):
        pair.primary.send_tell(pair.primary.encode(None, raw(fd)))
    assert [(0,), (1,)] == [tuple(fds) for _, fds, _ in joined(pair.primary)]
    assert not pair.primary.wants_to_send()
    assert pair.primary.has_unsent()
    pair.primary.receive(frame(Kind.HANDLE_ACK, [2, [1]]))
    assert [(2,), (3,)] == [tuple(fds) for _, fds, _ in joined(pair.primary)]
    assert not pair.primary.has_unsent()


def test_handles_that_were_never_sent_come_back(pair: ConnectionPair) -> None:
    channel = pair.ask(pair.primary)
    pair.run()
    pair.worker.send_tell(pair.worker.encode(None, raw(7)))
    pair.worker.receive(frame(Kind.ABORT, None, {"code": 1}))
    assert not pair.worker.wants_to_send()
    pair.worker.send_reply(channel, pair.worker.encode(None, raw(8)))
    assert [raw(7), raw(8)] == pair.worker.take_unsent_handles()
    assert [] == pair.worker.take_unsent_handles()
