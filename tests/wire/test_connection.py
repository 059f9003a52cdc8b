"""The end of a connection, in order or not, and what holds for every frame."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest

from actorcluster.errors import (
    LocalProtocolError,
)
from actorcluster.wire import events
from actorcluster.wire._generated import (
    BUILT_CAPABILITIES,
    AbortCode,
    Capability,
    Kind,
    Reason,
    State,
)
from actorcluster.wire.connection import Connection
from actorcluster.wire.state import Role
from tests.wire.pair import CLUSTER, ConnectionPair, introduced, joined, raw
from tests.wire.talk import (
    MESSAGE_WITH_HANDLE,
    MIB,
    PROTOCOL,
    breaks,
    frame,
    hello,
    pieces,
    said,
    with_fds,
)


def test_an_orderly_end(pair: ConnectionPair) -> None:
    pair.send(pair.worker)
    pair.run()
    pair.primary.arrived(1)
    pair.worker.send_leave(Reason.IDLE)
    assert [events.Leave(Reason.IDLE)] == pair.run()
    pair.primary.send_stop(2.5, Reason.SCALE_DOWN)
    assert [events.Stop(2.5, Reason.SCALE_DOWN)] == pair.run()
    assert [State.STOPPING] * 2 == [pair.worker.state, pair.primary.state]
    pair.worker.send_goodbye(Reason.SCALE_DOWN, "done")
    assert [events.Goodbye(Reason.SCALE_DOWN, 0, "done")] == pair.run()
    pair.primary.send_goodbye()
    assert [events.Goodbye(Reason.NORMAL, 1)] == pair.run()
    assert [State.CLOSING] * 2 == [pair.worker.state, pair.primary.state]
    assert 0 == pair.worker.unacknowledged
    assert pair.worker.receive_eof()
    assert pair.primary.receive_eof()
    assert [State.CLOSED] * 2 == [pair.worker.state, pair.primary.state]


@pytest.mark.parametrize("deadline", [None, math.inf])
def test_a_stop_without_deadline(pair: ConnectionPair, deadline: float | None) -> None:
    pair.primary.send_stop(deadline)
    assert [events.Stop(None, Reason.NORMAL)] == pair.run()


def test_after_stop_the_primary_sends_no_mail_and_the_worker_does(pair: ConnectionPair) -> None:
    pair.send(pair.primary, "before")
    pair.primary.send_stop()
    with pytest.raises(LocalProtocolError, match="cannot send TELL while stopping"):
        pair.send(pair.primary)
    kinds = [type(event) for event in pair.run()]
    assert [events.TellReceived, events.Stop] == kinds
    pair.ask(pair.worker)
    assert [events.CallReceived] == [type(event) for event in pair.run()]


def test_a_stopping_worker_refuses_what_crossed(pair: ConnectionPair) -> None:
    pair.worker.receive(frame(Kind.STOP, None, {}))
    (event,) = pair.worker.receive(frame(Kind.TELL, [None], 1))
    assert isinstance(event, events.TellReceived)
    whole = frame(Kind.CALL, [None], 1, channel=2)
    first, last = pieces(Kind.CALL, 4, [None], "x" * 20)
    assert [] == pair.worker.receive(whole + first + last)
    assert [(2, "refused"), (4, "refused")] == [
        (one.channel, one.payload["code"]) for one in said(pair.worker) if one.kind == Kind.ERROR
    ]


def test_what_the_state_says_of_a_fragmented_message_is_said_once(pair: ConnectionPair) -> None:
    first, last = pieces(Kind.CALL, 2, [None], "x" * 20)
    _, call = pair.worker.receive(first + frame(Kind.STOP, None, {}) + last)
    assert isinstance(call, events.CallReceived)


def test_the_rest_of_a_message_is_ignored_after_goodbye(pair: ConnectionPair) -> None:
    first, last = pieces(Kind.CALL, 2, [None, None, [[1, {}]]], "x" * 20)
    pair.worker.receive(with_fds(first, 1), [7])
    pair.worker.send_goodbye()
    assert [] == pair.worker.receive(last + frame(Kind.TELL, [None], 1))
    assert [7] == pair.worker.take_discarded()
    assert 0 == pair.worker.statistics().partial


def test_a_stopping_primary_refuses_new_listeners(pair: ConnectionPair) -> None:
    pair.primary.send_stop()
    data = frame(Kind.LISTEN, None, {"transport": "tcp"}, channel=1)
    assert [] == pair.primary.receive(data)
    assert ["refused"] == [
        one.payload["code"] for one in said(pair.primary) if one.kind == Kind.ERROR
    ]


def test_goodbye_leaves_after_everything_else(pair: ConnectionPair) -> None:
    pair.send(pair.worker, bytes(MIB))
    pair.worker.send_goodbye()
    with pytest.raises(LocalProtocolError, match="cannot send TELL while closing"):
        pair.send(pair.worker)
    pair.worker.receive(frame(Kind.PING))
    kinds = [type(event) for event in pair.run()]
    assert [events.Pong, events.TellReceived, events.Goodbye] == kinds


def test_goodbye_speaks_of_messages_that_were_never_sent(pair: ConnectionPair) -> None:
    breaks(pair.primary, frame(Kind.GOODBYE, None, {"recv": 1}), "AWP-ST-5", PROTOCOL)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (Kind.GOODBYE, {}),
        (Kind.GOODBYE, {"recv": "0"}),
        (Kind.LEAVE, {"reason": "x"}),
        (Kind.READY, {"info": 1}),
        (Kind.SERVING, 5),
    ],
)
def test_malformed_lifecycle_frames(pair: ConnectionPair, kind: Kind, payload: Any) -> None:
    connection = Connection("primary")
    connection.receive(hello())
    connection.send_welcome(worker=1, cluster=CLUSTER, name="", config={})
    if kind != Kind.READY:
        connection.receive(frame(Kind.READY))
    breaks(connection, frame(kind, None, payload), "AWP-FR-6", PROTOCOL)


def test_local_abort(pair: ConnectionPair) -> None:
    pair.send(pair.worker, "last words")
    pair.worker.abort(AbortCode.INTERNAL, "b\udcffad" + "x" * 5000)
    pair.worker.abort(AbortCode.INTERNAL)
    tell, aborted = pair.run()
    assert isinstance(tell, events.TellReceived)
    assert isinstance(aborted, events.Aborted)
    assert (AbortCode.INTERNAL, "b?ad" + "x" * 996) == (aborted.code, aborted.detail)
    assert [State.CLOSED] * 2 == [pair.worker.state, pair.primary.state]
    assert pair.primary.receive_eof()


@pytest.mark.parametrize("payload", [None, {}, {"code": "x"}, [1]])
def test_an_abort_counts_whatever_it_says(pair: ConnectionPair, payload: Any) -> None:
    (event,) = pair.worker.receive(frame(Kind.ABORT, None, payload))
    assert isinstance(event, events.Aborted)
    assert State.CLOSED is pair.worker.state


def test_what_follows_an_abort_is_not_looked_at(pair: ConnectionPair) -> None:
    pair.worker.receive(frame(Kind.TELL, MESSAGE_WITH_HANDLE, 1, nfds=1)[:10], [7])
    data = frame(Kind.ABORT, None, {"code": 1}) + frame(Kind.HELLO) + b"\x00" * 20
    pair = ConnectionPair()
    pair.start()
    (event,) = pair.worker.receive(data, [8])
    assert isinstance(event, events.Aborted)
    assert [8] == pair.worker.take_discarded()
    assert not pair.worker.wants_to_send()


@pytest.mark.parametrize("role", ["worker", "primary"])
def test_the_loss_of_the_peer(role: Role) -> None:
    connection = introduced(role)
    connection.receive(frame(Kind.TELL, MESSAGE_WITH_HANDLE, 1, nfds=1)[:10], [7])
    assert not connection.receive_eof()
    assert State.CLOSED is connection.state
    assert [7] == connection.take_discarded()
    with pytest.raises(LocalProtocolError, match="cannot send TELL while closed"):
        connection.send_tell(connection.encode(1))


def test_a_closed_connection_forgives(pair: ConnectionPair) -> None:
    """The shell's mailboxes outlive the connection; what they report then is for nobody."""
    channel = pair.ask(pair.primary)
    pair.send(pair.primary)
    pair.run()
    pair.worker.receive_eof()
    pair.worker.grant(MIB)
    pair.worker.arrived(2)
    pair.worker.flush_grants()
    pair.worker.send_error(channel, {"code": "app"})
    pair.worker.send_error(99, {"code": "app"})
    pair.worker.send_undeliverable(2, None, {"code": "app"})
    pair.worker.send_cancel(5)
    pair.worker.send_listen_close(5)
    pair.worker.send_conn_reply(5, 1, [1])
    assert not pair.worker.due()
    assert not pair.worker.wants_to_send()


@pytest.mark.parametrize("state", ["handshake", "active"])
def test_frames_out_of_state(state: str) -> None:
    primary = Connection("primary") if state == "handshake" else introduced("primary")
    data = frame(Kind.TELL, [None], 1) if state == "handshake" else hello()
    error = breaks(primary, data, "AWP-ST-8", AbortCode.STATE_VIOLATION)
    assert f"arrived while {state}" in str(error)


def test_an_unknown_kind_out_of_state() -> None:
    error = breaks(Connection("worker"), frame(0x60), "AWP-ST-8", AbortCode.STATE_VIOLATION)
    assert "kind 0x60" in str(error)


@pytest.mark.parametrize(
    ("kind", "channel"), [(Kind.STOP, 2), (Kind.REPLY, 0), (Kind.CANCEL, 0), (Kind.ACK, 1)]
)
def test_frames_on_the_wrong_channel(pair: ConnectionPair, kind: Kind, channel: int) -> None:
    breaks(pair.worker, frame(kind, [0], {}, channel=channel), "AWP-CH-2", PROTOCOL)


def test_a_goodbye_does_not_wait_for_handles() -> None:
    pair = ConnectionPair(primary={"limits": {"fds_in_flight": 1}})
    pair.start()
    for fd in (7, 8):
        pair.worker.send_tell(pair.worker.encode(None, raw(fd)))
    assert [[7]] == [fds for _, fds, _ in joined(pair.worker)]
    pair.worker.send_goodbye()
    assert [[8]] == [fds for _, fds, _ in joined(pair.worker)]
    assert not pair.worker.has_unsent()


def test_statistics(pair: ConnectionPair) -> None:
    pair.ask(pair.primary)
    pair.send(pair.primary)
    pair.worker.send_listen({"transport": "tcp"})
    pair.run()
    assert attrs.asdict(pair.primary.statistics()) == {
        "state": State.ACTIVE,
        "sent": 2,
        "unacknowledged": 2,
        "available": 4 * MIB - 512,
        "received": 0,
        "owed": 0,
        "calls": 1,
        "inbound_calls": 1,
        "listeners": 1,
        "partial": 0,
    }
    pair.worker.grant(256)
    assert (2, 256, 1) == (
        pair.worker.statistics().received,
        pair.worker.statistics().owed,
        pair.worker.statistics().inbound_calls,
    )


def test_capabilities_are_strings_of_the_registry() -> None:
    assert set(map(str, Capability)) >= BUILT_CAPABILITIES
