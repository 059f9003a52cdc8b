"""What Node's primary says to a worker of ours, as events, and back; without any process."""

from __future__ import annotations

import errno
import json
import os
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorcluster.adapters.node_child import NodeChild
from actorcluster.errors import RemoteProtocolError
from actorcluster.wire.events import (
    Connections,
    ConnReply,
    ErrorReceived,
    Listening,
    Stop,
    TellReceived,
    Undeliverable,
)

Said = dict[str, Any]
WEB: Said = {"transport": "tcp", "host": "127.0.0.1", "port": 80, "credit": 2}
NAME: Said = {"address": "127.0.0.1", "port": 8080, "family": "IPv4"}


class Talk:
    """A worker that listens on channel 3, if asked, and what its primary says to it."""

    def __init__(self, **listens: Any) -> None:
        self.child = NodeChild(10_000)
        self.query: Said = {}
        self._seq = 100
        if listens:
            self.child.listen(3, listens)
            self.query.update(*self.hears())

    def cluster(self, *fds: int, **said: Any) -> list[Any]:
        """The events of a message about the cluster, as what they hold."""
        message = {"cmd": "NODE_CLUSTER", "seq": self._seq, **said}
        self._seq += 1
        if fds:
            message = {"cmd": "NODE_HANDLE", "type": "net.Native", "msg": message}
        return self.raw(message, *fds)

    def raw(self, value: Any, *fds: int) -> list[Any]:
        events = self.child.receive(json.dumps(value).encode() + b"\n", fds)
        return [(type(one), *attrs.astuple(one)) for one in events]

    def hears(self) -> list[Any]:
        """What is written to the primary now, without what every message has."""
        heard: list[Any] = []
        while (out := self.child.outbox.next_to_send()) is not None:
            value = json.loads(out.line)
            if out.handle is not None:
                self.child.outbox.sent()
            heard.append(value)
        return [{key: one[key] for key in one if key not in ("cmd", "seq")} for one in heard]

    def is_given(self, key: str = "k") -> None:
        """It is told that it listens."""
        (listening,) = self.cluster(ack=0, key=key, sockname=NAME)
        assert (Listening, 3, "handoff", ["127.0.0.1", 8080], None, None, None) == listening


# ---- asking for ports -------------------------------------------------------------------------


def asked(**request: Any) -> Said:
    return Talk(**request).query


def test_ports_are_asked_for_in_nodes_words() -> None:
    plain = {"act": "queryServer", "index": 0, "data": None, "flags": 0, "backlog": 0}
    assert {**plain, "address": "127.0.0.1", "port": 80, "addressType": 4} == asked(**WEB)
    assert {**plain, "address": None, "port": 0, "addressType": 4} == asked(transport="tcp")
    six = {"address": "::1", "port": 7, "addressType": 6, "flags": 1, "backlog": 9, "index": 1}
    request = {"host": "::1", "port": 7, "v6only": True, "backlog": 9, "key": "2"}
    assert plain | six == asked(transport="tcp", **request)
    udp = {"address": "::", "port": 0, "addressType": "udp6"}
    assert plain | udp == asked(transport="udp", host="::", key="mine")
    fd = {"address": None, "port": None, "addressType": None, "fd": 4}
    assert plain | fd == asked(transport="fd", name=4)


@pytest.mark.parametrize(
    ("mode", "readable", "writable"),
    [(None, False, False), (0o666, True, True), (0o664, True, False), (0o662, False, True)],
)
def test_paths_are_absolute_and_their_mode_is_what_node_knows_of_it(
    mode: int | None, readable: bool, writable: bool
) -> None:
    query = asked(transport="unix", path="a/socket", mode=mode)
    assert (os.path.abspath("a/socket"), -1, -1) == (
        query["address"],
        query["port"],
        query["addressType"],
    )
    assert (readable, writable) == (query["readableAll"], query["writableAll"])


def test_an_address_is_of_the_answer_then_of_the_question() -> None:
    (listening,) = Talk(**WEB).cluster(ack=0, key="k", sockname={"port": 9})
    assert ["127.0.0.1", 9] == listening[3]
    (listening,) = Talk(transport="tcp").cluster(ack=0, key="k")
    assert ["::", None] == listening[3]
    (listening,) = Talk(transport="unix", path="/x").cluster(ack=0, key="k")
    assert "/x" == listening[3]


def test_a_shared_socket_comes_with_the_answer() -> None:
    talk = Talk(**WEB)
    assert [(Listening, 3, "shared", ["127.0.0.1", None], None, 7, None)] == talk.cluster(
        7, ack=0, key="k"
    )
    talk.child.listens(3, ["127.0.0.1", 55])
    talk.child.listens(3, "/a/path")
    told = [one for one in talk.hears() if one.get("act") == "listening"]
    assert [55, 80] == [one["port"] for one in told]


@pytest.mark.parametrize(
    ("number", "code"),
    [(-errno.EADDRINUSE, "os.EADDRINUSE"), (-99999, "os.EINVAL"), ("odd", "os.EINVAL")],
)
def test_a_port_that_cannot_be_had(number: Any, code: str) -> None:
    talk = Talk(**WEB)
    (refused,) = talk.cluster(ack=0, errno=number)
    assert (ErrorReceived, 3, code) == (*refused[:2], refused[2]["code"])
    talk.child.credit(3, 5)  # there is nothing to give it to any more
    assert [] == talk.hears()


def test_who_does_not_want_it_any_more_gives_it_back() -> None:
    talk = Talk(**WEB)
    talk.child.close(3)
    assert [] == talk.cluster(9, ack=0, key="k")
    assert [9] == talk.child.take_discarded()
    assert {"act": "close", "key": "k"} in talk.hears()
    refused = Talk(**WEB)
    refused.child.close(3)
    assert [] == refused.cluster(ack=0, errno=-1) + refused.hears()


# ---- connections ------------------------------------------------------------------------------


def test_connections_are_taken_and_declined_one_by_one() -> None:
    talk = Talk(**WEB)
    talk.is_given()
    assert [(Connections, 3, 1, (11,), {})] == talk.cluster(11, act="newconn", key="k")
    assert [(Connections, 3, 2, (12,), {})] == talk.cluster(12, act="newconn", key="k")
    assert [] == talk.cluster(13, act="newconn", key="k")  # beyond its credit
    assert [13] == talk.child.take_discarded()
    talk.child.decided(ConnReply(3, 2, (2,)))
    talk.child.decided(ConnReply(8, 2, ()))  # of nobody
    answers = [one for one in talk.hears() if "accepted" in one]
    # The first answer of the primary had 100, the connections the numbers behind it.
    expected = [(103, False), (101, True), (102, False)]
    assert expected == [(one["ack"], one["accepted"]) for one in answers]
    talk.child.credit(3, 1)
    assert [(Connections, 3, 3, (14,), {})] == talk.cluster(14, act="newconn", key="k")
    talk.child.close(3)
    assert [{"act": "close", "key": "k"}, {"ack": 104, "accepted": False}] == [
        one for one in talk.hears() if one
    ]


def test_connections_of_a_port_that_it_does_not_have_are_declined() -> None:
    talk = Talk(**WEB)
    talk.is_given()
    assert [] == talk.cluster(11, act="newconn", key="another")
    assert [11] == talk.child.take_discarded()
    assert [] == talk.cluster(act="newconn", key="k")  # its descriptor was lost on the way
    assert [] == talk.cluster(12, act="what nobody knows")
    assert [12] == talk.child.take_discarded()


# ---- leaving ----------------------------------------------------------------------------------


def test_it_is_told_to_leave() -> None:
    talk = Talk(**WEB)
    talk.is_given()
    assert [(Stop, None, 0)] == talk.cluster(act="disconnect")
    talk.child.leave()  # it does already
    assert [] == talk.cluster(11, act="newconn", key="k")
    assert [{"ack": 102, "accepted": False}] == [one for one in talk.hears() if one]


def test_it_leaves_when_its_wish_is_answered() -> None:
    talk = Talk()
    talk.child.online()
    talk.child.leave()
    talk.child.leave()
    assert [{"act": "online"}, {"act": "exitedAfterDisconnect"}] == talk.hears()
    assert [(Stop, None, 0)] == talk.cluster(ack=1)
    assert talk.child.is_leaving


# ---- messages ---------------------------------------------------------------------------------


def test_messages_come_with_handles_or_without() -> None:
    talk = Talk()
    assert [(TellReceived, None, None, "hi", (), {}, 0, 0)] == talk.raw("hi")
    given = {"cmd": "NODE_HANDLE", "type": "net.Socket", "msg": [1]}
    assert [(TellReceived, None, None, [1], (5,), {"handle": 0}, 0, 0)] == talk.raw(given, 5)
    assert [] == talk.raw(given)  # it was lost: Node sends it again
    assert [] == talk.raw({"cmd": "NODE_OTHER"})


def test_a_handle_that_the_primary_has_no_room_for() -> None:
    talk = Talk()
    talk.child.outbox.tell(6, "take", 100, "a handle", kind="net.Socket")
    assert 1 == len(talk.hears())
    for _ in range(10):  # it is tried more than once, as Node does
        found = talk.raw({"cmd": "NODE_HANDLE_NACK"})
        if found:
            break
        talk.hears()
    (undeliverable,) = found
    assert (Undeliverable, 6, None, "handle_lost") == (*undeliverable[:3], undeliverable[3]["code"])


def test_a_handle_that_was_taken_is_forgotten() -> None:
    talk = Talk()
    talk.child.outbox.tell(6, "take", 100, "a handle", kind="net.Socket")
    talk.hears()
    assert [] == talk.raw({"cmd": "NODE_HANDLE_ACK"})


# ---- nonsense ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [{"ack": 0}, {"ack": 0, "key": 7}, {"ack": 0, "key": "k", "sockname": [1]}],
)
def test_answers_that_are_wrong(said: Said) -> None:
    with pytest.raises(RemoteProtocolError, match="NODE-2"):
        Talk(**WEB).cluster(**said)


def test_a_connection_without_its_number() -> None:
    talk = Talk(**WEB)
    with pytest.raises(RemoteProtocolError, match="NODE-2"):
        talk.cluster(11, act="newconn", key="k", seq="x")
    assert [11] == talk.child.take_discarded()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-200, 200) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
WORDS = st.sampled_from(["newconn", "disconnect", "k", "NODE_CLUSTER"]) | VALUES
MESSAGES = st.dictionaries(
    st.sampled_from(["ack", "act", "seq", "key", "errno", "sockname", "accepted"]),
    WORDS | st.just(0) | st.just({"port": 1}),
).map(lambda said: {"cmd": "NODE_CLUSTER", **said})
LINES = MESSAGES | st.builds(lambda m: {"cmd": "NODE_HANDLE", "msg": m}, MESSAGES | VALUES) | VALUES


#: Where events have their descriptors, in what `Talk` makes of them.
HANDLES = {TellReceived: 4, Connections: 3, Listening: 5}


def fds_of(event: Any) -> list[int]:
    found = event[HANDLES[event[0]]] if event[0] in HANDLES else None
    return [found] if isinstance(found, int) else list(found or ())


@given(st.lists(st.tuples(LINES, st.booleans()), max_size=6))
def test_whatever_it_says_gives_events_or_an_error_and_loses_no_descriptor(
    said: list[tuple[Any, bool]],
) -> None:
    talk = Talk(**WEB)
    given_fds: list[int] = []
    found: list[int] = []
    try:
        for number, (one, has_fd) in enumerate(said):
            fds = (number,) if has_fd else ()
            given_fds.extend(fds)
            for event in talk.raw(one, *fds):
                found += fds_of(event)
    except RemoteProtocolError:
        pass
    assert sorted(given_fds) == sorted([*found, *talk.child.take_discarded()])


def test_what_came_before_an_error_in_the_same_read_is_not_left_open() -> None:
    lines = [
        {"cmd": "NODE_HANDLE", "type": "net.Socket", "msg": "take"},
        {"cmd": "NODE_CLUSTER", "ack": 0},
    ]
    talk = Talk(**WEB)
    with pytest.raises(RemoteProtocolError, match="NODE-2"):
        talk.child.receive(b"".join(json.dumps(one).encode() + b"\n" for one in lines), (5,))
    assert [5] == talk.child.take_discarded()


def test_a_shared_socket_before_an_error_is_not_left_open() -> None:
    answer = {"cmd": "NODE_CLUSTER", "ack": 0, "key": "k"}
    lines: list[Said] = [
        {"cmd": "NODE_HANDLE", "type": "net.Native", "msg": answer},
        {"cmd": "NODE_CLUSTER", "act": "disconnect"},
    ]
    talk = Talk(**WEB)
    text = b"".join(json.dumps(one).encode() + b"\n" for one in lines)
    with pytest.raises(RemoteProtocolError, match="NODE-1"):
        talk.child.receive(text + b"no json\n", (5,))
    assert [5] == talk.child.take_discarded()
