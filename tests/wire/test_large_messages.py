"""Messages in fragments, ours and other people's."""

from __future__ import annotations

import pytest

from actorcluster.wire import events
from actorcluster.wire._generated import (
    FLAG_FRAG,
    FLAG_MORE,
    FLAG_OPTIONAL,
    LIMIT_DEFAULTS,
    Kind,
)
from tests.wire.pair import ConnectionPair, introduced
from tests.wire.talk import (
    MIB,
    PROTOCOL,
    breaks,
    frame,
    pieces,
    said,
    with_fds,
)


def test_large_messages_both_ways_while_calls_run() -> None:
    """64 times 3 MiB in each direction; small calls never wait for all of it."""
    pair = ConnectionPair()
    pair.start()
    big = bytes(3 * MIB)
    for side in (pair.primary, pair.worker):
        for _ in range(64):
            side.send_call(side.encode(None))
    done = {pair.primary: 0, pair.worker: 0}
    answered_small = 0
    for step in range(5000):
        for side in (pair.primary, pair.worker):
            if step % 10 == 0 and side.has_room(256):
                pair.ask(side, "small")
            for batch in side.data_to_send():
                for event in pair.peer(side).receive(b"".join(batch.buffers)):
                    peer = pair.peer(side)
                    if isinstance(event, events.CallReceived):
                        peer.grant(event.charge)
                        body = event.body if event.body == "small" else big
                        peer.send_reply(event.channel, peer.encode(body))
                    elif isinstance(event, events.ReplyReceived):
                        answered_small += event.body == "small"
                        done[peer] += event.body != "small"
                    else:
                        assert isinstance(event, events.CreditGranted | events.Acknowledged)
        if done == {pair.primary: 64, pair.worker: 64}:
            break
    assert {pair.primary: 64, pair.worker: 64} == done
    assert answered_small > 20


@pytest.mark.parametrize("size", [16 * MIB - 5, 8 * MIB])
def test_the_largest_messages(pair: ConnectionPair, size: int) -> None:
    body = bytes(size)
    pair.send(pair.worker, body)
    (event,) = pair.run()
    assert isinstance(event, events.TellReceived)
    assert body == event.body
    assert LIMIT_DEFAULTS["window"] == event.charge


def test_no_frame_exceeds_the_peers_limit() -> None:
    pair = ConnectionPair(worker={"limits": {"max_frame": 16384}})
    pair.start()
    for size in (16_000, 16_384, 20_000, 100_000):
        pair.send(pair.primary, bytes(size))
    lengths = [one.length for one in said(pair.primary)]
    assert 16384 >= max(lengths)
    assert 4 < len(lengths)


def test_fragments_may_be_interleaved(pair: ConnectionPair) -> None:
    one, two = pieces(Kind.TELL, 2, ["a"], "x" * 20), pieces(Kind.CALL, 4, ["b"], "y" * 20)
    data = one[0] + two[0] + frame(Kind.TELL, [None], "z") + frame(Kind.PING) + two[1] + one[1]
    reported = pair.worker.receive(data)
    assert [(None, "z", 1), ("b", "y" * 20, 2), ("a", "x" * 20, 3)] == [
        (event.to, event.body, event.number)
        for event in reported
        if isinstance(event, events.TellReceived | events.CallReceived)
    ]
    assert 0 == pair.worker.statistics().partial


def test_a_fragmented_body_that_is_broken(pair: ConnectionPair) -> None:
    first, last = pieces(Kind.TELL, 2, ["a"], "x" * 20)
    assert [] == pair.worker.receive(first + last.replace(b"x" * 9, b"\xff" * 9))
    (bounced,) = said(pair.worker)
    assert ([1, "a"], "bad_payload") == (bounced.envelope, bounced.payload["code"])


def test_a_fragment_that_is_no_bin(pair: ConnectionPair) -> None:
    first, last = pieces(Kind.CALL, 2, ["a"], "x" * 20)
    middle = frame(Kind.CALL, None, "text", channel=2, flags=FLAG_FRAG | FLAG_MORE)
    assert [] == pair.worker.receive(first + middle + last)
    (failed,) = said(pair.worker)
    assert "bad_payload" == failed.payload["code"]


def test_a_fragmented_message_over_the_limit() -> None:
    worker = introduced("worker", limits={"max_message": 65536})
    first, last = pieces(Kind.CALL, 2, [None], bytes(65536), cut=40_000)
    assert [] == worker.receive(first + last)
    (failed,) = said(worker)
    assert "too_large" == failed.payload["code"]
    assert worker.due()


def test_a_fragmented_reply(pair: ConnectionPair) -> None:
    channel = pair.ask(pair.primary)
    first, last = pieces(Kind.REPLY, channel, None, "x" * 20)
    assert [] == pair.primary.receive(first)
    (event,) = pair.primary.receive(last)
    assert isinstance(event, events.ReplyReceived)
    assert "x" * 20 == event.body


def test_an_error_ends_a_reply_that_is_not_complete(pair: ConnectionPair) -> None:
    channel = pair.ask(pair.primary)
    first, last = pieces(Kind.REPLY, channel, None, "x" * 20)
    error = frame(Kind.ERROR, None, {"code": "app"}, channel=channel)
    (event,) = pair.primary.receive(first + error + last)
    assert isinstance(event, events.ErrorReceived)
    assert 0 == pair.primary.statistics().partial


def test_a_fragmented_reply_that_nobody_waits_for(pair: ConnectionPair) -> None:
    assert [] == pair.primary.receive(b"".join(pieces(Kind.REPLY, 2, None, "x" * 20)))
    assert 0 == pair.primary.statistics().partial


@pytest.mark.parametrize("kind", [Kind.TELL, Kind.CALL])
def test_an_abandoned_message(pair: ConnectionPair, kind: Kind) -> None:
    first, _ = pieces(kind, 2, [None, None, [[1, {}]]], "x" * 20)
    with_handle = with_fds(first, 1)
    assert [] == pair.worker.receive(with_handle, [7])
    assert [] == pair.worker.receive(frame(Kind.CANCEL, None, None, channel=2))
    assert [7] == pair.worker.take_discarded()
    answers = [one for one in said(pair.worker) if one.kind != Kind.HANDLE_ACK]
    assert ([] if kind == Kind.TELL else ["cancelled"]) == [a.payload["code"] for a in answers]
    (event,) = pair.worker.receive(frame(Kind.CALL, [None], 1, channel=2))
    assert isinstance(event, events.CallReceived)
    assert 1 == event.number


FIRST, LAST = pieces(Kind.TELL, 2, [None], "x" * 20)


@pytest.mark.parametrize(
    ("data", "requirement"),
    [
        (frame(Kind.TELL, [None], b"", flags=FLAG_MORE), "AWP-LG-7"),
        (frame(Kind.ACK, [0], b"", flags=FLAG_FRAG), "AWP-LG-7"),
        (frame(Kind.PING, [0], b"", flags=FLAG_MORE), "AWP-LG-7"),
        (frame(Kind.TELL, [None], b"", flags=FLAG_FRAG), "AWP-CH-2"),
        (frame(Kind.TELL, [None], b"", flags=FLAG_FRAG, channel=3), "AWP-CH-2"),
        (frame(Kind.TELL, [None], b"", channel=2), "AWP-CH-2"),
        (FIRST + frame(Kind.CALL, None, b"", channel=2, flags=FLAG_FRAG), "AWP-LG-7"),
        (FIRST + frame(Kind.CALL, [None], b"", channel=2), "AWP-LG-7"),
        (FIRST + frame(Kind.TELL, [None], b"", channel=2), "AWP-LG-7"),
    ],
)
def test_fragments_out_of_place(pair: ConnectionPair, data: bytes, requirement: str) -> None:
    breaks(pair.worker, data, requirement, PROTOCOL)


def test_a_later_fragment_with_descriptors(pair: ConnectionPair) -> None:
    last = with_fds(LAST, 1)
    pair.worker.receive(FIRST)
    breaks(pair.worker, last, "AWP-LG-7", PROTOCOL, [7])
    assert [7] == pair.worker.take_discarded()


def test_fragments_need_their_capability() -> None:
    worker = introduced("worker", capabilities=["msg"])
    breaks(worker, FIRST, "AWP-HS-3", PROTOCOL)


def test_flags_of_unknown_kinds_mean_nothing(pair: ConnectionPair) -> None:
    data = frame(0xF0, [1], 2, channel=9, flags=FLAG_OPTIONAL | FLAG_FRAG | FLAG_MORE)
    assert [] == pair.worker.receive(data)
