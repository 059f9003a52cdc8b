"""What a Node worker says, as events of our protocol, and back; no process is needed for that."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorcluster.adapters.node_queries import Vault
from actorcluster.adapters.node_session import NodeSession
from actorcluster.errors import RemoteProtocolError
from actorcluster.wire.events import (
    ConnCredit,
    ConnReply,
    Leave,
    Listen,
    ListenClosed,
    Ready,
    Serving,
    TellReceived,
    Undeliverable,
)

Said = dict[str, Any]
ONLINE: Said = {"act": "online"}
QUERY: Said = {
    "act": "queryServer", "index": 0, "data": None, "address": "127.0.0.1", "port": 80,
    "addressType": 4, "flags": 0, "backlog": 0,
}  # fmt: skip


class Talk:
    """A session and what its worker says to it."""

    def __init__(self, *said: Said, vault: Vault | None = None) -> None:
        self.session = NodeSession(10_000, vault or Vault())
        self._seq = 0
        for one in said:
            self.says(one)

    def says(self, *said: Said) -> list[Any]:
        """The events of cluster messages."""
        text = b""
        for one in said:
            message = {"cmd": "NODE_CLUSTER", **one, "seq": self._seq}
            self._seq += 1
            text += json.dumps(message).encode() + b"\n"
        return self.session.receive(text)

    def raw(self, value: Any, *fds: int) -> list[Any]:
        """The events of any line."""
        return self.session.receive(json.dumps(value).encode() + b"\n", fds)

    def hears(self) -> list[Any]:
        """What is written to it now: values, or (value, handle)."""
        heard: list[Any] = []
        while (out := self.session.outbox.next_to_send()) is not None:
            value = json.loads(out.line)
            if out.handle is not None:
                self.session.outbox.sent()
            heard.append(value if out.handle is None else (value, out.handle))
        return heard

    def accepted(self, seq: int, is_taken: bool = True) -> list[Any]:
        return self.says({"ack": seq, "accepted": is_taken})


def shape(events: list[Any]) -> list[Any]:
    """Events as what they hold."""
    return [(type(one), *attrs.astuple(one)) for one in events]


def listening(*, vault: Vault | None = None, **query: Any) -> tuple[Talk, str]:
    """A worker that listens on channel 1; the key that it was given."""
    talk = Talk(ONLINE, QUERY | query, vault=vault)
    talk.session.listening(1, address=["127.0.0.1", 80])
    (answer,) = talk.hears()
    return talk, answer["key"]


def refusal(talk: Talk, *said: Said) -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        talk.says(*said)
    return str(caught.value)


# ---- listening -------------------------------------------------------------------------------


def test_online_is_ready() -> None:
    assert [(Ready, {})] == shape(Talk().says(ONLINE))


def test_who_asks_and_does_not_read_the_answers_is_found_out() -> None:
    talk = Talk(ONLINE)
    for channel in range(1, 2001, 2):
        talk.says(QUERY)
        talk.session.refused(channel, {"code": "os.EADDRINUSE"})
    text = "[NODE-1] 1000 answers were provoked and not read"
    assert text == refusal(talk, QUERY)
    assert 1000 == len(talk.hears())
    assert [Listen] == [type(event) for event in talk.says(QUERY)]


REQUESTS = [
    ({}, {"transport": "tcp", "host": "127.0.0.1", "port": 80, "v6only": False, "credit": 64}),
    (
        {"address": None, "port": 0, "index": 2, "backlog": 5, "flags": 1},
        {"transport": "tcp", "host": None, "port": 0, "v6only": True, "credit": 64}
        | {"backlog": 5, "key": "3"},
    ),
    ({"backlog": False}, {"transport": "tcp", "host": "127.0.0.1", "port": 80, "v6only": False,
      "credit": 64}),
    (
        {"addressType": "udp6", "address": "::"},
        {"transport": "udp", "host": "::", "port": 80, "v6only": False},
    ),
    (
        {"addressType": -1, "port": -1, "address": "/x", "readableAll": True},
        {"transport": "unix", "path": "/x", "mode": 0o755, "credit": 64},
    ),
    (
        {"addressType": -1, "port": -1, "address": "/x", "writableAll": True},
        {"transport": "unix", "path": "/x", "mode": 0o777, "credit": 64},
    ),
    ({"fd": 9, "port": None}, {"transport": "fd", "name": 9, "credit": 64}),
]  # fmt: skip


@pytest.mark.parametrize(("query", "request_"), REQUESTS)
def test_a_query_is_a_listen(query: Said, request_: Said) -> None:
    assert [(Listen, 1, request_)] == shape(Talk(ONLINE).says(QUERY | query))


def test_a_port_that_is_bound() -> None:
    talk = Talk(ONLINE, QUERY)
    talk.session.listening(1, address=["127.0.0.1", 4711])
    name = {"address": "127.0.0.1", "family": "IPv4", "port": 4711}
    common = {"cmd": "NODE_CLUSTER", "errno": None, "ack": 1, "seq": 0, "data": None}
    assert [common | {"key": "127.0.0.1:80:4:None:1", "sockname": name}] == talk.hears()


def test_a_path_has_no_name() -> None:
    talk = Talk(ONLINE, QUERY)
    talk.session.listening(1, address="/x")
    assert "sockname" not in talk.hears()[0]


@pytest.mark.parametrize(("kind", "type_"), [(4, "net.Native"), ("udp4", "dgram.Native")])
def test_a_shared_socket_comes_as_a_handle(kind: Any, type_: str) -> None:
    talk = Talk(ONLINE, QUERY | {"addressType": kind})
    talk.session.listening(1, address=["127.0.0.1", 80], handle="socket")
    ((line, handle),) = talk.hears()
    assert ("NODE_HANDLE", type_, "socket") == (line["cmd"], line["type"], handle)
    assert (0, 1) == (line["msg"]["errno"], line["msg"]["ack"])


@pytest.mark.parametrize(
    ("code", "number"), [("os.EADDRINUSE", -98), ("os.EACCES", -13), ("bad_payload", -22)]
)
def test_a_port_that_cannot_be_had(code: str, number: int) -> None:
    talk = Talk(ONLINE, QUERY)
    talk.session.refused(1, {"code": code})
    (answer,) = talk.hears()
    assert (number, 1) == (answer["errno"], answer["ack"])


def test_who_leaves_is_not_answered() -> None:
    talk = Talk(ONLINE)
    talk.session.stop()
    assert [] == talk.says(QUERY)
    talk = Talk(ONLINE, QUERY)
    talk.session.refused(1, {"code": "refused"})
    assert [] == talk.hears()


def test_what_the_first_server_has_all_get_and_it_is_in_no_frame() -> None:
    vault = Vault()
    first, second = (Talk(ONLINE, vault=vault) for _ in range(2))
    (one,) = first.says(QUERY | {"data": {"ticketKeys": "first keys"}})
    (other,) = second.says(QUERY | {"data": {"ticketKeys": "other keys"}})
    assert "first keys" not in str(one.request)
    token = one.request["data"]
    assert token != other.request["data"]
    for talk in (first, second):
        talk.session.listening(1, address=["127.0.0.1", 80], data=token)
        assert {"ticketKeys": "first keys"} == talk.hears()[0]["data"]
    assert vault.get(other.request["data"], None) is None


# ---- connections -----------------------------------------------------------------------------


def test_connections_are_handed_over_one_after_another() -> None:
    talk, key = listening()
    talk.session.connections(1, 1, ["one", "two"])
    ((line, handle),) = talk.hears()
    assert ("one", {"cmd": "NODE_CLUSTER", "act": "newconn", "key": key, "seq": 1}) == (
        handle,
        line["msg"],
    )
    assert [] == talk.hears()
    assert [] == talk.raw({"cmd": "NODE_HANDLE_ACK"})
    assert ["one"] == talk.session.outbox.take_done()
    assert ["two"] == [handle for _, handle in talk.hears()]
    assert [(ConnReply, 1, 1, ()), (ConnCredit, 1, 1, None, None)] == shape(talk.accepted(1))


def test_what_is_declined_is_given_back() -> None:
    talk, _ = listening()
    talk.session.connections(1, 1, ["one"])
    talk.hears()
    talk.raw({"cmd": "NODE_HANDLE_ACK"})
    assert [(ConnReply, 1, 1, (1,)), (ConnCredit, 1, 1, None, None)] == shape(
        talk.accepted(1, is_taken=False)
    )


def test_answers_are_reported_in_the_order_of_the_connections() -> None:
    talk, _ = listening()
    talk.session.connections(1, 1, ["one", "two"])
    for _ in range(2):
        talk.hears()
        talk.raw({"cmd": "NODE_HANDLE_ACK"})
    assert [] == talk.accepted(2, is_taken=False)
    assert [(1, ()), (2, (2,))] == [
        (one.upto, one.rejected) for one in talk.accepted(1) if isinstance(one, ConnReply)
    ]


def test_a_descriptor_that_was_lost_is_sent_again_and_then_given_up() -> None:
    talk, _ = listening()
    talk.session.connections(1, 1, ["one"])
    talk.session.outbox.tell(5, "behind", 100)
    for _ in range(3):
        assert ["one"] == [handle for _, handle in talk.hears()]
        assert [] == talk.raw({"cmd": "NODE_HANDLE_NACK"})
    talk.hears()
    lost = talk.raw({"cmd": "NODE_HANDLE_NACK"})
    assert [(ConnReply, 1, 1, (1,)), (ConnCredit, 1, 1, None, None)] == shape(lost)
    assert ["one"] == talk.session.outbox.take_done()
    assert ["behind"] == talk.hears()


def test_a_closed_server_has_its_connections_given_to_others() -> None:
    talk, key = listening()
    talk.session.connections(1, 1, ["one", "two"])
    talk.hears()
    assert [(ListenClosed, 1)] == shape(talk.says({"act": "close", "key": key}))
    assert ["two"] == talk.session.outbox.take_done()
    talk.raw({"cmd": "NODE_HANDLE_ACK"})
    assert [] == talk.accepted(1, is_taken=False)
    assert [] == talk.hears()
    assert [] == talk.says({"act": "close", "key": key})


# ---- messages --------------------------------------------------------------------------------


def test_a_message_is_a_message() -> None:
    talk = Talk(ONLINE)
    assert [(TellReceived, None, None, {"a": [1]}, (), {}, 0, 0)] == shape(talk.raw({"a": [1]}))
    assert [(TellReceived, "db", None, 5, (), {}, 0, 0)] == shape(
        talk.raw({"$to": "db", "$payload": 5})
    )


def test_ready_is_said_too() -> None:
    assert [TellReceived, Serving] == list(map(type, Talk(ONLINE).raw("ready")))


def test_the_socket_of_a_line_that_is_nested_too_deeply_is_given_up() -> None:
    talk, deep = Talk(ONLINE), json.loads("[" * 200 + "]" * 200)
    with pytest.raises(RemoteProtocolError, match="nested too deeply"):
        talk.raw({"cmd": "NODE_HANDLE", "type": "net.Socket", "msg": deep}, 7)
    assert [7] == talk.session.take_discarded()


def test_a_message_with_a_socket() -> None:
    talk = Talk(ONLINE)
    found = talk.raw({"cmd": "NODE_HANDLE", "type": "net.Socket", "msg": "take"}, 7)
    assert [(TellReceived, None, None, "take", (7,), {"handle": 0}, 0, 0)] == shape(found)
    assert [{"cmd": "NODE_HANDLE_ACK"}] == talk.hears()
    assert [] == talk.session.take_discarded()


def test_a_socket_that_did_not_arrive_is_asked_for_again() -> None:
    talk = Talk(ONLINE)
    assert [] == talk.raw({"cmd": "NODE_HANDLE", "type": "net.Socket", "msg": "take"})
    assert [{"cmd": "NODE_HANDLE_NACK"}] == talk.hears()


def test_books_of_sockets_are_not_kept() -> None:
    talk = Talk(ONLINE)
    talk.raw({"cmd": "NODE_SOCKET_GET_COUNT", "key": "k"})
    talk.raw({"cmd": "NODE_SOCKET_NOTIFY_CLOSE", "key": "k"})
    count = {"cmd": "NODE_SOCKET_COUNT", "key": "k", "count": 0}
    assert [count, {"cmd": "NODE_SOCKET_ALL_CLOSED", "key": "k"}] == talk.hears()


def test_a_message_for_the_worker() -> None:
    talk = Talk(ONLINE)
    talk.session.outbox.tell(1, {"a": 1}, 256)
    out = talk.session.outbox.next_to_send()
    assert out is not None
    assert (b'{"a":1}\n', 256) == (out.line, out.charge)
    talk.session.outbox.tell(2, "take", 256, "socket", type="net.Socket")
    expected = {"cmd": "NODE_HANDLE", "type": "net.Socket", "msg": "take"}
    assert [(expected, "socket")] == talk.hears()


def test_nobody_can_speak_to_the_runtime_through_a_message() -> None:
    with pytest.raises(TypeError, match="whose 'cmd' begins with NODE_"):
        Talk(ONLINE).session.outbox.tell(1, {"cmd": "NODE_CLUSTER", "act": "disconnect"}, 256)


def test_a_message_whose_socket_is_lost_for_good_comes_back() -> None:
    talk = Talk(ONLINE)
    talk.session.outbox.tell(9, "take", 256, "socket", type="net.Socket")
    events = []
    for _ in range(4):
        talk.hears()
        events += talk.raw({"cmd": "NODE_HANDLE_NACK"})
    assert [(Undeliverable, 9, "handle_lost")] == [
        (type(one), one.number, one.error["code"]) for one in events
    ]


# ---- leaving ---------------------------------------------------------------------------------


def test_it_is_told_to_leave_once() -> None:
    talk = Talk(ONLINE)
    talk.session.stop()
    talk.session.stop()
    assert [{"cmd": "NODE_CLUSTER", "act": "disconnect", "seq": 0}] == talk.hears()
    assert talk.session.is_leaving


def test_its_wish_to_leave_is_answered() -> None:
    talk = Talk(ONLINE)
    assert [(Leave, 0)] == shape(talk.says({"act": "exitedAfterDisconnect"}))
    talk.session.stop()
    assert [{"cmd": "NODE_CLUSTER", "ack": 1, "seq": 0}] == talk.hears()


def test_who_was_told_to_leave_and_wants_to_is_told_once() -> None:
    talk = Talk(ONLINE)
    talk.session.stop()
    assert [] == talk.says({"act": "exitedAfterDisconnect"})
    assert 1 == len(talk.hears())


# ---- what is wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (ONLINE, "[NODE-4] 'online' a second time"),
        ({"act": "dance"}, "[NODE-4] an unknown act 'dance'"),
        ({}, "[NODE-4] an unknown act 'None'"),
        ({"act": "close", "key": "k"}, "[NODE-6] 'close' with a key that was never given"),
        ({"act": "close"}, "[NODE-2] 'close' without its key"),
        ({"ack": 3, "accepted": True}, "[NODE-5] an ack of what was not sent, or is answered"),
        ({"ack": {}, "accepted": True}, "[NODE-5] an ack of what was not sent, or is answered"),
        (QUERY | {"port": "80"}, "[NODE-2] queryServer with a wrong 'port'"),
        (QUERY | {"addressType": 5}, "[NODE-2] queryServer with a wrong 'addressType'"),
        (QUERY | {"data": "x" * 20_000}, "[NODE-1] a line of more than 10000 bytes"),
    ],
)
def test_what_no_worker_says(said: Said, text: str) -> None:
    assert text == refusal(Talk(ONLINE), said)


def test_nothing_comes_before_online() -> None:
    assert "[NODE-4] 'queryServer' before 'online'" == refusal(Talk(), QUERY)
    with pytest.raises(RemoteProtocolError, match="a message before 'online'"):
        Talk().raw("hello")


def test_an_acknowledgement_of_nothing() -> None:
    with pytest.raises(RemoteProtocolError, match="a descriptor that was not sent"):
        Talk(ONLINE).raw({"cmd": "NODE_HANDLE_ACK"})


def test_a_connection_that_is_taken_before_it_is_there() -> None:
    talk, _ = listening()
    talk.session.connections(1, 1, ["one", "two"])
    talk.hears()
    assert "[NODE-5] a connection accepted before its descriptor was" == refusal(
        talk, {"ack": 1, "accepted": True}
    )


def test_answers_that_nobody_reads() -> None:
    talk = Talk(ONLINE)
    with pytest.raises(RemoteProtocolError, match="1000 answers were provoked and not read"):
        for _ in range(1001):
            talk.raw({"cmd": "NODE_SOCKET_GET_COUNT", "key": "k"})


def test_unknown_commands_are_counted() -> None:
    talk = Talk(ONLINE)
    assert [] == talk.raw({"cmd": "NODE_WHAT"})
    assert 1 == talk.session.unknown


def test_the_rest_is_closed_in_the_end() -> None:
    talk, _ = listening()
    talk.session.connections(1, 1, ["one", "two"])
    talk.hears()
    assert ["one", "two"] == sorted(talk.session.close())


WORDS = st.sampled_from(
    "act ack seq key accepted online queryServer close listening exitedAfterDisconnect cmd msg"
    " NODE_CLUSTER NODE_HANDLE NODE_HANDLE_ACK NODE_HANDLE_NACK net.Socket type data port".split()
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 5) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=8,
)
MESSAGES = st.one_of(
    VALUES,
    st.builds(
        lambda more: {"cmd": "NODE_CLUSTER", "seq": 1, **more}, st.dictionaries(WORDS, VALUES)
    ),
    st.sampled_from(
        [
            {"cmd": "NODE_CLUSTER", "seq": 1, **QUERY},
            {"cmd": "NODE_CLUSTER", "seq": 1, "ack": 1, "accepted": True},
            {"cmd": "NODE_HANDLE_ACK"},
            {"cmd": "NODE_HANDLE_NACK"},
            {"cmd": "NODE_HANDLE", "type": "net.Socket", "msg": "m"},
        ]
    ),
)


@given(
    st.lists(st.tuples(MESSAGES, st.lists(st.integers(5, 6), max_size=1), st.integers(0, 5))),
    st.binary(max_size=3),
)
def test_whatever_it_says_gives_events_or_an_error(
    said: list[tuple[Any, list[int], int]], junk: bytes
) -> None:
    talk = Talk(ONLINE, QUERY)
    session = talk.session
    session.listening(1, address=["127.0.0.1", 80])
    session.connections(1, 1, ["one", "two"])
    session.outbox.tell(1, "m", 256, "three", type="net.Socket")
    given_in: list[int] = []
    out: list[int] = []
    handles: list[Any] = []
    try:
        for message, fds, sent in said:
            given_in += fds
            for event in session.receive(json.dumps(message).encode() + b"\n", fds):
                out += event.handles if isinstance(event, TellReceived) else ()
            for _ in range(sent):
                talk.hears()
            handles += session.outbox.take_done()
        session.receive(junk)
    except RemoteProtocolError:  # and nothing else
        for event in session.take_events():
            out += event.handles if isinstance(event, TellReceived) else ()
    handles += session.close()
    assert sorted(given_in) == sorted([*out, *session.take_discarded()])
    assert ["one", "three", "two"] == sorted(handles)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"cmd": "NODE_HANDLE", "msg": 1}, "without its type or message"),
        ({"cmd": "NODE_HANDLE", "type": "net.Socket"}, "without its type or message"),
        (
            {"cmd": "NODE_HANDLE", "type": "net.Socket", "msg": {"cmd": "NODE_CLUSTER"}},
            "a descriptor for the runtime",
        ),
    ],
)
def test_a_handle_that_is_wrong_is_not_left_open(said: Said, why: str) -> None:
    talk = Talk(ONLINE)
    with pytest.raises(RemoteProtocolError, match=why):
        talk.raw(said, 7)
    assert [7] == talk.session.take_discarded()


def test_an_answer_for_who_does_not_listen_any_more_is_not_said() -> None:
    talk, _ = listening()
    talk.hears()
    talk.session.listening(9, address=["127.0.0.1", 80])
    talk.session.connections(9, 1, ["a handle"])
    assert [] == talk.hears()
