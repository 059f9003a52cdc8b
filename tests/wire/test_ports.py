"""Listeners, and connections that are handed over."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from actorcluster.errors import (
    HandleError,
    LocalProtocolError,
    RemoteProtocolError,
)
from actorcluster.wire import events
from actorcluster.wire._generated import (
    BUILT_CAPABILITIES,
    AbortCode,
    HandleKind,
    Kind,
    State,
)
from actorcluster.wire.connection import Connection
from tests.wire.pair import ConnectionPair, raw
from tests.wire.talk import (
    FD,
    PROTOCOL,
    breaks,
    frame,
    kinds_said,
    said,
)


@pytest.fixture
def listening(pair: ConnectionPair) -> ConnectionPair:
    """A pair with one listener, on channel 1, that may hand over three connections."""
    assert 1 == pair.worker.send_listen({"transport": "tcp", "port": 0, "credit": 3})
    pair.run()
    pair.primary.send_listening(1, mode="handoff", address=["::1", 80])
    pair.run()
    return pair


def test_a_listener(pair: ConnectionPair) -> None:
    request = {"transport": "tcp", "host": "::1", "port": 80, "credit": 2, "data": [1]}
    channel = pair.worker.send_listen(request)
    assert [events.Listen(channel, request)] == pair.run()
    pair.primary.send_listening(
        channel, mode="handoff", address=["::1", 80], data="d", policy="weighted"
    )
    (event,) = pair.run()
    assert (channel, "handoff", ["::1", 80], "d", None, "weighted") == attrs.astuple(event)
    pair.primary.send_connections(channel, 1, [raw(10), raw(11)], {"m": 1})
    connections, _ = pair.run()
    assert isinstance(connections, events.Connections)
    assert (1, (raw(10), raw(11)), {"m": 1}) == (
        connections.first,
        connections.handles,
        connections.meta,
    )
    pair.worker.send_conn_reply(channel, 2, [1])
    pair.worker.send_conn_credit(channel, 1)
    assert [events.ConnReply(channel, 2, (1,)), events.ConnCredit(channel, 1)] == pair.run()
    pair.primary.send_connections(channel, 3, [raw(12)])
    pair.run()
    pair.worker.send_listen_close(channel)
    assert [events.ListenClosed(channel)] == pair.run()
    assert [0, 0] == [side.statistics().listeners for side in (pair.worker, pair.primary)]


def test_replies_that_are_read_at_once_are_one_event(pair: ConnectionPair) -> None:
    """But for those that refuse something, and those of another listener."""
    one, other = (pair.worker.send_listen({"transport": "tcp", "credit": 5}) for _ in range(2))
    pair.run()
    for channel in (one, other):
        pair.primary.send_listening(channel, mode="handoff", address=["::1", 80])
        pair.primary.send_connections(channel, 1, [raw(10 + index) for index in range(5)])
    pair.run()
    for channel, number, *rejected in [(one, 1), (one, 2), (other, 1), (one, 3, 3), (one, 4)]:
        pair.worker.send_conn_reply(channel, number, rejected)
    pair.worker.send_conn_reply(one, 5)
    assert [
        events.ConnReply(one, 2, ()),
        events.ConnReply(other, 1, ()),
        events.ConnReply(one, 3, (3,)),
        events.ConnReply(one, 5, ()),
    ] == pair.run()


def test_a_shared_socket(pair: ConnectionPair) -> None:
    channel = pair.worker.send_listen({"transport": "tcp"})
    pair.run()
    socket = raw(9, HandleKind.TCP_LISTENER, shared=True)
    pair.primary.send_listening(channel, mode="shared", address=["::1", 80], handle=socket)
    event, _ = pair.run()
    assert isinstance(event, events.Listening)
    assert ("shared", socket) == (event.mode, event.handle)


def test_a_listener_that_is_refused(pair: ConnectionPair) -> None:
    channel = pair.worker.send_listen({"transport": "tcp"})
    pair.run()
    pair.primary.refuse_listen(channel, {"code": "os.EADDRINUSE"})
    (event,) = pair.run()
    assert isinstance(event, events.ErrorReceived)
    assert (channel, {"code": "os.EADDRINUSE"}) == (event.channel, event.error)
    assert [0, 0] == [side.statistics().listeners for side in (pair.worker, pair.primary)]
    with pytest.raises(LocalProtocolError, match="no LISTEN waits"):
        pair.primary.send_listening(channel, mode="handoff", address=None)


def test_a_listener_that_was_closed_meanwhile_is_not_refused(pair: ConnectionPair) -> None:
    """A call on its channel is not answered in its place."""
    channel = pair.worker.send_listen({"transport": "tcp"})
    pair.worker.send_listen_close(channel)
    pair.run()
    call = frame(Kind.CALL, [None], 1, channel=channel)
    assert [events.CallReceived] == [type(one) for one in pair.primary.receive(call)]
    with pytest.raises(LocalProtocolError, match="no LISTEN waits"):
        pair.primary.refuse_listen(channel, {"code": "bad_payload"})
    pair.primary.send_reply(channel, pair.primary.encode(2))


def test_a_listen_is_no_call(pair: ConnectionPair) -> None:
    channel = pair.worker.send_listen({"transport": "tcp"})
    pair.run()
    with pytest.raises(LocalProtocolError, match="waits for a LISTENING"):
        pair.primary.send_reply(channel, pair.primary.encode(1))
    assert [] == pair.worker.receive(frame(Kind.REPLY, None, 1, channel=channel))
    pair.worker.send_cancel(channel)
    assert not pair.worker.wants_to_send()
    assert [] == pair.primary.receive(frame(Kind.CANCEL, None, None, channel=channel))


def test_too_many_listeners() -> None:
    pair = ConnectionPair(primary={"limits": {"max_listeners": 1}})
    pair.start()
    pair.worker.send_listen({"transport": "tcp"})
    second = pair.worker.send_listen({"transport": "tcp"})
    _, event = pair.run()
    assert isinstance(event, events.ErrorReceived)
    assert (second, "refused") == (event.channel, event.error["code"])


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"transport": 1},
        {"transport": "tcp", "port": "80"},
        {"transport": "tcp", "credit": -1},
        {"transport": "tcp", "modes": "handoff"},
        {"transport": "tcp", "v6only": 1},
    ],
)
def test_a_malformed_listen(pair: ConnectionPair, request_: dict[str, Any]) -> None:
    data = frame(Kind.LISTEN, None, request_, channel=1)
    breaks(pair.primary, data, "AWP-FR-6", PROTOCOL)


def test_a_listen_on_an_open_channel(listening: ConnectionPair) -> None:
    data = frame(Kind.LISTEN, None, {"transport": "tcp"}, channel=1)
    breaks(listening.primary, data, "AWP-CH-2", PROTOCOL)


def test_connections_are_not_handed_over_carelessly(listening: ConnectionPair) -> None:
    primary = listening.primary
    for channel, first, fds, problem in [
        (3, 1, [1], "no listener is open on channel 3"),
        (1, 2, [1], "connection 2 follows connection 0"),
        (1, 1, [1, 2, 3, 4], "4 connections, 3 are allowed"),
        (1, 1, [], "no connections can be sent"),
    ]:
        with pytest.raises(LocalProtocolError, match=problem):
            primary.send_connections(channel, first, [raw(fd) for fd in fds])
    with pytest.raises(HandleError, match="17 handles"):
        primary.send_connections(1, 1, [raw(fd) for fd in range(17)])
    assert not primary.wants_to_send()
    pending = listening.worker.send_listen({"transport": "tcp"})
    listening.run()
    with pytest.raises(LocalProtocolError, match="yet"):
        primary.send_connections(pending, 1, [raw(1)])


def test_a_shared_socket_needs_its_capability() -> None:
    pair = ConnectionPair(worker={"capabilities": BUILT_CAPABILITIES - {"listen.shared"}})
    pair.start()
    channel = pair.worker.send_listen({"transport": "tcp"})
    pair.run()
    with pytest.raises(LocalProtocolError, match=r"listen\.shared"):
        pair.primary.send_listening(channel, mode="shared", address=None, handle=raw(1))
    assert 1 == pair.primary.statistics().inbound_calls
    data = frame(Kind.LISTENING, [[[2, {}]]], {"mode": "shared"}, channel=channel, nfds=1)
    breaks(pair.worker, data, "AWP-FD-6", FD, [7])


def connections(first: int, count: int, *, kind: int = 1, channel: int = 1) -> bytes:
    entries = [[kind, {}]] * count
    return frame(Kind.CONN, [first, entries], None, channel=channel, nfds=count)


def replies(connection: Connection) -> list[Any]:
    return [one.envelope for one in said(connection) if one.kind == Kind.CONN_REPLY]


@pytest.mark.parametrize("channel", [1, 5])
def test_connections_on_a_listener_that_is_gone(listening: ConnectionPair, channel: int) -> None:
    worker = listening.worker
    worker.send_listen_close(1)
    worker.send_listen_close(1)
    assert [] == worker.receive(connections(1, 2, channel=channel), [7, 8])
    assert [7, 8] == worker.take_discarded()
    assert [[2, [1, 2]]] == replies(worker)


@pytest.mark.parametrize(
    ("first", "legal"), [(0, False), (1, True), (2**64 - 2, True), (2**64 - 1, False)]
)
@pytest.mark.parametrize("channel", [1, 5])
def test_numbers_that_cannot_be(
    listening: ConnectionPair, channel: int, first: int, legal: bool
) -> None:
    """Nobody can reject what has no number; where no listener is, any other is rejected."""
    worker = listening.worker
    legal = legal and (channel == 5 or first == 1)
    data = connections(first, 2, channel=channel)
    if not legal:
        breaks(worker, data, "AWP-LI-6", PROTOCOL, [7, 8])
    else:
        worker.receive(data, [7, 8])
        assert worker.state is State.ACTIVE


def test_connections_that_are_lost_do_not_take_others_along(listening: ConnectionPair) -> None:
    worker = listening.worker
    (event,) = worker.receive(connections(1, 1), [7])
    assert isinstance(event, events.Connections)
    assert [] == worker.receive(connections(2, 1), [], True)
    assert [] == replies(worker)
    worker.send_conn_reply(1, 1)
    assert [[2, [2]]] == replies(worker)
    assert [] == worker.receive(connections(3, 1), [], True)
    assert [[3, [3]]] == replies(worker)


def test_connections_of_an_unexpected_kind_are_given_back(listening: ConnectionPair) -> None:
    assert [] == listening.worker.receive(connections(1, 1, kind=99), [7])
    assert [7] == listening.worker.take_discarded()
    assert [[1, [1]]] == replies(listening.worker)


def test_a_stopping_worker_takes_no_connections(listening: ConnectionPair) -> None:
    worker = listening.worker
    worker.receive(connections(1, 1), [7])
    worker.receive(frame(Kind.STOP, None, {}))
    assert [] == worker.receive(connections(2, 2), [8, 9])
    assert [8, 9] == worker.take_discarded()
    assert [] == replies(worker)
    worker.send_conn_reply(1, 1, [1])
    assert [[3, [1, 2, 3]]] == replies(worker)
    assert [] == worker.receive(connections(1, 1, channel=7), [10])
    assert [[1, [1]]] == replies(worker)


@pytest.mark.parametrize("entries", [[[1, {}], [1, {}]], [[1, {}, 2], 3], [5], []])
def test_a_stopping_worker_looks_at_what_it_refuses(
    listening: ConnectionPair, entries: list[Any]
) -> None:
    listening.worker.receive(frame(Kind.STOP, None, {}))
    nfds = 1 if entries else 0
    data = frame(Kind.CONN, [1, entries], None, channel=1, nfds=nfds)
    breaks(listening.worker, data, "AWP-FR-6", PROTOCOL, [7][:nfds])


def test_lost_connections_give_their_credit_back(listening: ConnectionPair) -> None:
    """Three may be handed over: the application never saw two of them, so two more may come."""
    listening.primary.send_connections(1, 1, [raw(1)])
    listening.primary.send_connections(1, 2, [raw(2), raw(3)])
    listening.primary.data_to_send()
    listening.worker.receive(connections(1, 1), [7])
    listening.worker.receive(connections(2, 2), [], True)
    assert [events.ConnCredit(1, 2)] == [
        event for event in listening.run() if isinstance(event, events.ConnCredit)
    ]
    listening.primary.send_connections(1, 4, [raw(4), raw(5)])
    with pytest.raises(LocalProtocolError, match="1 connections, 0 are allowed"):
        listening.primary.send_connections(1, 6, [raw(6)])


def test_a_listener_without_credit_gets_one_connection(pair: ConnectionPair) -> None:
    channel = pair.worker.send_listen({"transport": "tcp"})
    pair.run()
    pair.primary.send_listening(channel, mode="handoff", address=["::1", 80])
    with pytest.raises(LocalProtocolError, match="2 connections, 1 are allowed"):
        pair.primary.send_connections(channel, 1, [raw(1), raw(2)])
    pair.primary.send_connections(channel, 1, [raw(1)])
    assert isinstance(pair.run()[1], events.Connections)


@pytest.mark.parametrize(
    ("data", "requirement", "code"),
    [
        (connections(2, 1), "AWP-LI-6", PROTOCOL),
        (connections(1, 4), "AWP-LI-1", AbortCode.FLOW_VIOLATION),
        (frame(Kind.CONN, [1, []], None, channel=1), "AWP-FR-6", PROTOCOL),
        (frame(Kind.CONN, [1, None], None, channel=1), "AWP-FR-6", PROTOCOL),
        (frame(Kind.CONN, [1, [[1, {}], [1, {}]]], None, channel=1), "AWP-FR-6", PROTOCOL),
        (connections(1, 1, channel=0), "AWP-CH-2", PROTOCOL),
    ],
)
def test_connections_out_of_place(
    listening: ConnectionPair, data: bytes, requirement: str, code: AbortCode
) -> None:
    nfds = data[9]
    breaks(listening.worker, data, requirement, code, range(7, 7 + nfds))
    assert nfds == len(listening.worker.take_discarded())


def test_connections_before_the_listener_is_bound(pair: ConnectionPair) -> None:
    channel = pair.worker.send_listen({"transport": "tcp", "credit": 1})
    pair.run()
    assert [] == pair.worker.receive(connections(1, 1, channel=channel), [7])
    assert [[1, [1]]] == replies(pair.worker)


def test_decisions_about_connections(listening: ConnectionPair) -> None:
    worker = listening.worker
    with pytest.raises(LocalProtocolError, match="connection 1 is not to be decided"):
        worker.send_conn_reply(1, 1)
    worker.receive(connections(1, 1), [7])
    worker.send_listen_close(1)
    with pytest.raises(LocalProtocolError, match="no listener is open"):
        worker.send_conn_reply(1, 1)
    worker.send_conn_reply(1, 1, [1])
    assert [Kind.HANDLE_ACK, Kind.LISTEN_CLOSE] == kinds_said(worker)


def test_after_the_end_connections_can_only_be_given_back(listening: ConnectionPair) -> None:
    worker = listening.worker
    worker.receive(connections(1, 2), [7, 8])
    worker.send_goodbye()
    worker.send_conn_reply(1, 2, [2])
    with pytest.raises(LocalProtocolError, match="cannot send CONN_REPLY while closing"):
        worker.send_conn_reply(1, 1)


@pytest.mark.parametrize(
    "envelope", [[4], [0], [1, [2]], [1, [0]], [3, [1, 4]], ["1"], [1, "x"], [1, [-1]], None]
)
def test_a_wrong_conn_reply(listening: ConnectionPair, envelope: Any) -> None:
    listening.primary.send_connections(1, 1, [raw(1), raw(2), raw(3)])
    listening.run()
    with pytest.raises(RemoteProtocolError) as caught:
        listening.primary.receive(frame(Kind.CONN_REPLY, envelope, None, channel=1))
    assert caught.value.requirement in ("AWP-LI-9", "AWP-FR-6")


def test_frames_of_a_listener_that_is_gone_are_ignored(listening: ConnectionPair) -> None:
    listening.primary.send_listen_close(1)
    data = b"".join(
        [
            frame(Kind.CONN_REPLY, [1], None, channel=1),
            frame(Kind.CONN_CREDIT, [1], None, channel=1),
            frame(Kind.LISTEN_CLOSE, None, None, channel=1),
        ]
    )
    assert [] == listening.primary.receive(data)
    assert [events.ListenClosed(1)] == listening.run()
    late = frame(Kind.LISTENING, [[[2, {}]]], {"mode": "shared"}, channel=1, nfds=1)
    assert [] == listening.worker.receive(late, [7])
    assert [7] == listening.worker.take_discarded()


def test_credit_does_not_overtake_its_listen(pair: ConnectionPair) -> None:
    channel = pair.worker.send_listen({"transport": "tcp"})
    pair.worker.send_conn_credit(channel, 5)
    assert [Kind.LISTEN, Kind.CONN_CREDIT] == kinds_said(pair.worker)


@pytest.mark.parametrize(
    ("fds", "truncated", "kind", "code"),
    [([], True, 2, "handle_lost"), ([7], False, 99, "unsupported_handle")],
)
def test_a_shared_socket_that_cannot_be_used(
    pair: ConnectionPair, fds: list[int], truncated: bool, kind: int, code: str
) -> None:
    channel = pair.worker.send_listen({"transport": "tcp"})
    pair.run()
    data = frame(Kind.LISTENING, [[[kind, {}]]], {"mode": "shared"}, channel=channel, nfds=1)
    (event,) = pair.worker.receive(data, fds, truncated)
    assert isinstance(event, events.ErrorReceived)
    assert (channel, code) == (event.channel, event.error["code"])
    assert fds == pair.worker.take_discarded()
    assert Kind.LISTEN_CLOSE in kinds_said(pair.worker)


def test_a_listening_with_two_sockets(pair: ConnectionPair) -> None:
    channel = pair.worker.send_listen({"transport": "tcp"})
    entries = [[2, {}], [2, {}]]
    data = frame(Kind.LISTENING, [entries], {"mode": "shared"}, channel=channel, nfds=2)
    breaks(pair.worker, data, "AWP-FR-6", PROTOCOL, [7, 8])
    assert [7, 8] == pair.worker.take_discarded()


@pytest.mark.parametrize("stopping", [False, True])
def test_a_conn_that_hands_over_nothing(listening: ConnectionPair, stopping: bool) -> None:
    if stopping:
        listening.worker.receive(frame(Kind.STOP, None, {}))
    data = frame(Kind.CONN, [1, []], None, channel=1)
    breaks(listening.worker, data, "AWP-FR-6", PROTOCOL)
