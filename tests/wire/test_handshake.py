"""The introductions: versions, capabilities, limits, and who says what first."""

from __future__ import annotations

import math
from typing import Any

import pytest

from actorcluster.errors import (
    LocalProtocolError,
    MessageTooLarge,
)
from actorcluster.wire import events
from actorcluster.wire._generated import (
    BUILT_CAPABILITIES,
    LIMIT_DEFAULTS,
    AbortCode,
    Kind,
    State,
)
from actorcluster.wire.connection import Connection
from tests.wire.pair import CLUSTER, ConnectionPair, introduced, raw
from tests.wire.talk import (
    PROTOCOL,
    WELCOME,
    breaks,
    frame,
    hello,
    kinds_said,
)


def test_handshake() -> None:
    pair = ConnectionPair(worker={"limits": {"window": 100_000}, "handle_names": ["tcp-socket"]})
    pair.worker.send_hello(worker=7, pid=1234, implementation={"lang": "python"})
    (hello,) = pair.run()
    assert hello == events.Hello(
        version=(1, 0),
        capabilities=BUILT_CAPABILITIES - {"bulk.memfd"},
        limits={**LIMIT_DEFAULTS, "window": 100_000},
        handles=frozenset({"tcp-socket"}),
        pid=1234,
        worker=7,
        implementation={"lang": "python"},
    )
    pair.primary.send_welcome(
        worker=7, cluster=CLUSTER, name="web.2", config={"args": [1]}, heartbeat=2.5
    )
    (welcome,) = pair.run()
    assert welcome == events.Welcome(
        version=(1, 0),
        worker=7,
        cluster=CLUSTER,
        capabilities=BUILT_CAPABILITIES - {"bulk.memfd"},
        limits=LIMIT_DEFAULTS,
        handles=pair.primary._handle_names,
        heartbeat=2.5,
        config={"args": [1]},
        name="web.2",
    )
    assert [State.STARTING] * 2 == [pair.worker.state, pair.primary.state]
    pair.worker.send_ready({"runtime": "3.11"})
    assert [events.Ready({"runtime": "3.11"})] == pair.run()
    assert [State.ACTIVE] * 2 == [pair.worker.state, pair.primary.state]
    assert 100_000 == pair.primary.available


def test_only_what_both_can_is_in_force() -> None:
    pair = ConnectionPair(
        worker={"capabilities": ["msg", "call", "x-grease"]},
        primary={"capabilities": ["msg", "log"]},
    )
    pair.start()
    assert {"msg"} == pair.worker.capabilities == pair.primary.capabilities
    with pytest.raises(LocalProtocolError, match="CALL needs the capability call"):
        pair.ask(pair.worker)
    pair.send(pair.worker, 1)
    assert [events.TellReceived] == [type(event) for event in pair.run()]
    pair.worker.arrived(1)
    assert not pair.worker.due()


def test_using_what_is_not_in_force_breaks_the_protocol() -> None:
    worker = introduced("worker", capabilities=["msg"])
    error = breaks(worker, frame(Kind.CALL, [None], 1, channel=2), "AWP-HS-3", PROTOCOL)
    assert "needs the capability call" in str(error)


def test_a_worker_of_level_0_says_as_little_as_possible() -> None:
    primary = Connection("primary")
    (event,) = primary.receive(hello())
    assert isinstance(event, events.Hello)
    assert (frozenset(), LIMIT_DEFAULTS) == (event.capabilities, event.limits)
    primary.send_welcome(worker=1, cluster=CLUSTER, name="", config={})
    assert [events.Ready({})] == primary.receive(frame(Kind.READY, None, {}))
    with pytest.raises(LocalProtocolError, match="TELL needs the capability msg"):
        primary.send_tell(primary.encode(1))


def test_no_common_version() -> None:
    error = breaks(
        Connection("primary"), hello(versions=[[2, 0], [3, 1]]), "AWP-HS-2", AbortCode.VERSION
    )
    assert "(1, 0)" in str(error)
    assert "(2, 0), (3, 1)" in str(error)


def test_a_later_version_may_look_different() -> None:
    """Only ``versions`` is frozen; the rest of the map is not looked at before they agree."""
    breaks(Connection("primary"), hello(versions=[[2, 0]], caps=7), "AWP-HS-2", AbortCode.VERSION)


def test_the_lower_minor_version_is_chosen() -> None:
    (event,) = Connection("primary").receive(hello(versions=[[0, 9], [1, 7], [2, 0]]))
    assert isinstance(event, events.Hello)
    assert (1, 0) == event.version


def test_the_worker_learns_that_its_version_is_not_spoken() -> None:
    worker = Connection("worker")
    worker.send_hello()
    (event,) = worker.receive(frame(Kind.ABORT, None, {"code": 5, "detail": "ours: 2"}))
    assert events.Aborted(AbortCode.VERSION, "ours: 2") == event
    assert State.CLOSED is worker.state


def test_a_required_capability_that_is_missing() -> None:
    breaks(
        Connection("primary", capabilities=["msg"]),
        hello(caps=["msg", "call"], require=["call"]),
        "AWP-HS-6",
        AbortCode.REQUIRED_CAPABILITY,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"versions": 1},
        {"versions": [[1]]},
        {"versions": [["1", 0]]},
        {"versions": None},
        {"caps": "msg"},
        {"caps": [1]},
        {"require": {}},
        {"limits": []},
        {"limits": {"window": "1M"}},
        {"limits": {"window": -1}},
        {"limits": {"window": True}},
        {"handles": [b"tcp-socket"]},
        {"worker": "1"},
        {"pid": 1.5},
        {"token": b"x"},
        {"impl": []},
    ],
)
def test_a_malformed_hello(changes: dict[str, Any]) -> None:
    breaks(Connection("primary"), hello(**changes), "AWP-FR-6", PROTOCOL)


@pytest.mark.parametrize("payload", [1, [], "x"])
def test_a_hello_that_is_no_map(payload: Any) -> None:
    breaks(Connection("primary"), frame(Kind.HELLO, None, payload), "AWP-FR-6", PROTOCOL)


def test_unknown_keys_and_low_limits_are_no_offence() -> None:
    primary = Connection("primary")
    limits = {"max_frame": 1, "max_fds": 0, "max_unicorns": "many"}
    (event,) = primary.receive(hello(limits=limits, **{"grease.1": 5}, role="observer"))
    assert isinstance(event, events.Hello)
    assert (16384, 0) == (event.limits["max_frame"], event.limits["max_fds"])
    assert "max_unicorns" not in event.limits


@pytest.mark.parametrize(
    ("changes", "requirement"),
    [
        ({"version": [2, 0]}, "AWP-HS-2"),
        ({"version": [1, 1]}, "AWP-HS-2"),
        ({"version": [1]}, "AWP-FR-6"),
        ({"caps": ["msg", "teleport"]}, "AWP-HS-3"),
        ({"worker": None}, "AWP-FR-6"),
        ({"worker": 0}, "AWP-FR-6"),
        ({"cluster": b"short"}, "AWP-FR-6"),
        ({"heartbeat": -1}, "AWP-FR-6"),
        ({"heartbeat": math.nan}, "AWP-FR-6"),
        ({"config": []}, "AWP-FR-6"),
        ({"name": 1}, "AWP-FR-6"),
    ],
)
def test_a_wrong_welcome(changes: dict[str, Any], requirement: str) -> None:
    worker = Connection("worker")
    worker.send_hello()
    breaks(worker, frame(Kind.WELCOME, None, {**WELCOME, **changes}), requirement, PROTOCOL)


def test_a_short_welcome() -> None:
    worker = Connection("worker")
    worker.send_hello()
    (event,) = worker.receive(frame(Kind.WELCOME, None, WELCOME))
    assert isinstance(event, events.Welcome)
    assert (0, {}, "", frozenset()) == (
        event.heartbeat,
        event.config,
        event.name,
        event.capabilities,
    )


def test_a_welcome_before_hello() -> None:
    data = frame(Kind.WELCOME, None, WELCOME)
    breaks(Connection("worker"), data, "AWP-ST-8", AbortCode.STATE_VIOLATION)


@pytest.mark.parametrize("data", [frame(0x60), frame(Kind.LOG, [20, 1.0, ""], ["x"])])
def test_a_worker_that_does_not_wait_for_welcome(data: bytes) -> None:
    """It is in HANDSHAKE still, and an answer would come before WELCOME."""
    primary = Connection("primary")
    primary.receive(hello())
    breaks(primary, data, "AWP-ST-8", AbortCode.STATE_VIOLATION)


def test_a_worker_may_give_up_before_welcome() -> None:
    primary = Connection("primary")
    primary.receive(hello())
    (event,) = primary.receive(frame(Kind.ABORT, None, {"code": 1}))
    assert isinstance(event, events.Aborted)


def test_introductions_are_made_once_and_first() -> None:
    pair = ConnectionPair()
    pair.worker.send_hello()
    with pytest.raises(LocalProtocolError, match="HELLO is sent once"):
        pair.worker.send_hello()
    with pytest.raises(LocalProtocolError, match="cannot send WELCOME while handshake"):
        pair.primary.send_welcome(worker=1, cluster=CLUSTER, name="", config={})
    pair.run()
    for early in (pair.primary.send_ping, pair.primary.send_stop):
        with pytest.raises(LocalProtocolError, match="WELCOME is the first frame"):
            early()
    pair.primary.send_welcome(worker=1, cluster=CLUSTER, name="", config={})
    with pytest.raises(LocalProtocolError, match="WELCOME is sent once"):
        pair.primary.send_welcome(worker=1, cluster=CLUSTER, name="", config={})
    pair.primary.send_ping()
    assert [Kind.WELCOME, Kind.PING] == kinds_said(pair.primary)


def test_ready_is_not_overtaken() -> None:
    pair = ConnectionPair()
    pair.worker.send_hello()
    pair.run()
    pair.primary.send_welcome(worker=1, cluster=CLUSTER, name="", config={})
    pair.run()
    pair.worker.send_log(20, 1.5, "app", "starting")
    pair.worker.send_ready()
    pair.worker.send_ping()
    pair.worker.send_serving({"port": 80})
    sent = kinds_said(pair.worker)
    assert sent.index(Kind.READY) < sent.index(Kind.PING)
    assert sent.index(Kind.READY) < sent.index(Kind.SERVING)


def test_a_config_that_does_not_fit_into_a_frame() -> None:
    pair = ConnectionPair(worker={"limits": {"max_frame": 16384}})
    pair.worker.send_hello()
    pair.run()
    with pytest.raises(MessageTooLarge) as caught:
        pair.primary.send_welcome(worker=1, cluster=CLUSTER, name="", config={"a": bytes(20_000)})
    assert 16384 == caught.value.limit
    with pytest.raises(TypeError, match="set"):
        pair.primary.send_welcome(worker=1, cluster=CLUSTER, name="", config={"a": {1}})
    with pytest.raises(TypeError, match="handles travel in messages"):
        pair.primary.send_welcome(worker=1, cluster=CLUSTER, name="", config={"a": raw(3)})
    pair.primary.send_welcome(worker=1, cluster=CLUSTER, name="", config={})
    assert [Kind.WELCOME] == kinds_said(pair.primary)


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        ({"max_unicorns": 1}, "there is no limit 'max_unicorns'"),
        ({"window": 1}, "window cannot be 1"),
        ({"max_fds": 254}, "max_fds cannot be 254"),
    ],
)
def test_limits_that_cannot_be_announced(limits: dict[str, int], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Connection("worker", limits=limits)
