"""Settings, liveness, logs, and kinds that nobody knows."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from actorcluster.errors import (
    LocalProtocolError,
    MessageTooLarge,
)
from actorcluster.wire import events
from actorcluster.wire._generated import (
    FLAG_OPTIONAL,
    AbortCode,
    Kind,
)
from actorcluster.wire.frames import encode_frame
from tests.wire.pair import ConnectionPair, joined
from tests.wire.talk import (
    MIB,
    NIL,
    PROTOCOL,
    breaks,
    frame,
)


# ---- settings ----------------------------------------------------------------------------------
def test_settings(pair: ConnectionPair) -> None:
    settings = {"heartbeat": 100, "config": {"a": 1}, "log_level": 20}
    pair.primary.send_settings(settings)
    assert [events.SettingsChanged(settings)] == pair.run()
    assert 0 == len(pair.primary._pending_limits)


def test_a_worker_changes_its_limits_only(pair: ConnectionPair) -> None:
    limits = {"max_message": 65536}
    pair.worker.receive(frame(Kind.SETTINGS, None, {"heartbeat": 1}))
    (event,) = pair.primary.receive(
        frame(Kind.SETTINGS, None, {"heartbeat": 1, "limits": limits, "grease.1": 1})
    )
    assert events.SettingsChanged({"limits": limits}) == event
    with pytest.raises(MessageTooLarge):
        pair.primary.encode(bytes(65536))


def test_a_raised_limit_holds_at_once_a_lowered_one_when_acknowledged(
    pair: ConnectionPair,
) -> None:
    pair.worker.send_settings({"limits": {"max_frame": 2 * MIB, "max_calls": 1}})
    assert (2 * MIB, 1024) == (pair.worker.limits["max_frame"], pair.worker.limits["max_calls"])
    pair.worker.send_settings({"limits": {"max_frame": 65536}})
    assert 2 * MIB == pair.worker.limits["max_frame"]
    pair.run()
    assert (65536, 1) == (pair.worker.limits["max_frame"], pair.worker.limits["max_calls"])
    assert 65536 == pair.primary.peer_limits["max_frame"]
    large = encode_frame(Kind.TELL, 0, msgpack.packb([None]), msgpack.packb(bytes(65536)))
    breaks(pair.worker, large, "AWP-FR-5", AbortCode.FRAME_TOO_LARGE)


@pytest.mark.parametrize("window", [65536, 8 * MIB])
def test_a_window_changes_while_mail_is_under_way(pair: ConnectionPair, window: int) -> None:
    body = bytes(5 * MIB)
    pair.send(pair.primary, body)
    pair.worker.send_settings({"limits": {"window": window}})
    arrived = [event for event in pair.run() if isinstance(event, events.TellReceived)]
    assert [4 * MIB] == [event.charge for event in arrived]
    assert window - 4 * MIB == pair.primary.available
    pair.worker.grant(4 * MIB)
    pair.run()
    pair.send(pair.primary, body)
    (event,) = pair.run()
    assert isinstance(event, events.TellReceived)
    assert min(window, 5 * MIB + 23) == event.charge
    pair.worker.grant(event.charge)
    pair.worker.flush_grants()
    pair.run()
    assert window == pair.primary.available


@pytest.mark.parametrize("limits", [{"unicorns": 1}, {"max_depth": 70}, {"window": 5}])
def test_limits_that_cannot_be_set(pair: ConnectionPair, limits: dict[str, int]) -> None:
    with pytest.raises(LocalProtocolError, match="cannot be set"):
        pair.worker.send_settings({"limits": limits})
    assert not pair.worker.wants_to_send()


def test_a_settings_ack_without_settings(pair: ConnectionPair) -> None:
    breaks(pair.worker, frame(Kind.SETTINGS_ACK), "AWP-SE-1", PROTOCOL)


@pytest.mark.parametrize("settings", [{"limits": 1}, {"limits": {"window": -1}}, {"config": 1}])
def test_malformed_settings(pair: ConnectionPair, settings: dict[str, Any]) -> None:
    breaks(pair.worker, frame(Kind.SETTINGS, None, settings), "AWP-FR-6", PROTOCOL)


# ---- liveness, logs, the unknown ---------------------------------------------------------------
def test_ping_is_answered_byte_for_byte(pair: ConnectionPair) -> None:
    body = b"\xcd\x00\x05" + b"\x81\xa1a\xc3"
    ping = encode_frame(Kind.PING, 9, body[:3], body[3:])
    assert [] == pair.worker.receive(ping)
    ((data, _, _),) = joined(pair.worker)
    assert encode_frame(Kind.PONG, 9, body[:3], body[3:]) == data


def test_ping_with_a_body_that_is_no_value(pair: ConnectionPair) -> None:
    assert [] == pair.worker.receive(encode_frame(Kind.PING, 0, NIL, b"\xa1\xff"))
    ((data, _, _),) = joined(pair.worker)
    assert encode_frame(Kind.PONG, 0, NIL, b"\xa1\xff") == data


def test_pong(pair: ConnectionPair) -> None:
    pair.primary.send_ping([1, "x"])
    assert [events.Pong(NIL + msgpack.packb([1, "x"]))] == pair.run()


def test_answers_that_are_not_read_are_bounded(pair: ConnectionPair) -> None:
    ping = frame(Kind.PING, None, bytes(1_000_000))
    for _ in range(4):
        pair.worker.receive(ping)
    breaks(pair.worker, ping, "AWP-LM-2", AbortCode.LIMIT_EXCEEDED)


def test_answers_that_are_read_are_not(pair: ConnectionPair) -> None:
    ping = frame(Kind.PING, None, bytes(1_000_000))
    for _ in range(10):
        pair.worker.receive(ping)
        joined(pair.worker)


def test_unknown_kinds(pair: ConnectionPair) -> None:
    data = frame(0xF0, [], {}, flags=FLAG_OPTIONAL) + frame(0x60, [], {}, channel=9)
    assert [] == pair.worker.receive(data)
    assert [events.Unimplemented(0x60, 9)] == pair.run()


def test_unknown_kinds_without_end(pair: ConnectionPair) -> None:
    for _ in range(100):
        pair.worker.receive(frame(0x60))
        pair.worker.receive(frame(0x60, flags=FLAG_OPTIONAL))
    breaks(pair.worker, frame(0x60), "AWP-EV-2", AbortCode.LIMIT_EXCEEDED)


def test_an_unimplemented_listen_fails(pair: ConnectionPair) -> None:
    channel = pair.worker.send_listen({"transport": "tcp"})
    (event,) = pair.worker.receive(frame(Kind.UNIMPLEMENTED, [0x10], None, channel=channel))
    assert isinstance(event, events.ErrorReceived)
    assert (channel, "unimplemented") == (event.channel, event.error["code"])
    assert 0 == pair.worker.statistics().listeners


def test_logs(pair: ConnectionPair) -> None:
    pair.worker.send_log(30, 1.5, "app", "text", {"k": 1})
    pair.worker.send_log(300, 2, "app", "text")
    pair.worker.send_log(20, 3.0, "l" * 1000, "m" * MIB, {"k": bytes(MIB)})
    first, second, third = pair.run()
    assert events.Log(30, 1.5, "app", "text", {"k": 1}) == first
    assert events.Log(255, 2.0, "app", "text", {}) == second
    assert isinstance(third, events.Log)
    assert ("l" * 256, {}, 20) == (third.logger, third.attributes, third.level)
    assert 100_000 < len(third.message) < MIB


@pytest.mark.parametrize(
    ("envelope", "payload"),
    [([20, 1.0, "x"], "text"), ([20, 1.0, "x"], []), ([20, 1.0, "x"], [1]), ([20], ["text"])],
)
def test_broken_logs_and_exit_infos_are_ignored(
    pair: ConnectionPair, envelope: Any, payload: Any
) -> None:
    assert [] == pair.primary.receive(frame(Kind.LOG, envelope, payload))
    assert [] == pair.primary.receive(frame(Kind.EXIT_INFO, None, payload))


def test_last_words(pair: ConnectionPair) -> None:
    error = {"code": "app", "message": "no"}
    pair.worker.send_exit_info(error)
    pair.worker.send_exit_info({"code": "app", "message": "m" * 5000, "data": bytes(MIB)})
    first, second = pair.run()
    assert events.ExitInfo(error) == first
    assert events.ExitInfo({"code": "app", "message": "m" * 4096}) == second
