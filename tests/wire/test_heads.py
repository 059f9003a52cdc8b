"""What the sender of a connection had read from it: it counts as payload, and is checked."""

from __future__ import annotations

from typing import Any

import pytest

from actorcluster.errors import HandleError, MessageTooLarge
from actorcluster.wire import events
from actorcluster.wire._generated import BUILT_CAPABILITIES, Capability, HandleKind, Kind
from tests.wire.pair import ConnectionPair, raw
from tests.wire.talk import frame, pieces, said, with_fds

SMALL = {"limits": {"max_message": 65536, "max_partial": 131072}}
LARGEST = 64 * 1024
#: All that fits beside other things into the first fragment.
MOST = 256 * 1024 - 1024


def started(**options: Any) -> ConnectionPair:
    pair = ConnectionPair(**options)
    pair.start()
    return pair


@pytest.mark.parametrize("size", [0, 1, 8192, LARGEST, MOST - 100])
@pytest.mark.parametrize("body", [None, bytes(300_000)], ids=["short", "long"])
def test_heads_travel(pair: ConnectionPair, size: int, body: Any) -> None:
    one = raw(10, HandleKind.UNIX_STREAM, head=bytes(size))
    channel = pair.primary.send_call(pair.primary.encode(body, one))
    call, _ = pair.run()
    assert isinstance(call, events.CallReceived)
    assert (body, (one,)) == (call.body, call.handles)
    assert max(256, 16 + len(bytes(size)) + len(body or b"")) <= call.charge
    pair.worker.send_reply(channel, pair.worker.encode(body, one))
    reply, _ = pair.run()
    assert isinstance(reply, events.ReplyReceived)
    assert (one,) == reply.handles


def test_no_room_for_so_much() -> None:
    pair = started(worker=SMALL)
    encode = pair.primary.encode
    pair.primary.send_tell(encode(b"", raw(1, head=bytes(LARGEST - 2))))
    event, _ = pair.run()
    assert isinstance(event, events.TellReceived)
    assert LARGEST - 2 == len(event.handles[0].meta["head"])
    for heads in ([LARGEST], [LARGEST // 2] * 2):
        with pytest.raises(MessageTooLarge) as caught:
            encode([raw(fd, head=bytes(size)) for fd, size in enumerate(heads)])
        assert LARGEST == caught.value.limit < caught.value.size
    with pytest.raises(MessageTooLarge):
        encode(bytes(LARGEST // 2), raw(1, head=bytes(LARGEST // 2)))
    # It is part of an envelope, and that does not go in fragments.
    pair = started()
    encoded = pair.primary.encode(None, raw(1, head=bytes(MOST)))
    with pytest.raises(MessageTooLarge) as caught:
        pair.primary.envelope(encoded)
    assert MOST == caught.value.limit
    # All else in an envelope is bounded as ever.
    with pytest.raises(MessageTooLarge) as caught:
        pair.primary.envelope(pair.primary.encode(None, raw(1, head=b"x", name="x" * 8200)))
    assert (8192, True) == (caught.value.limit, caught.value.size > 8192)


@pytest.mark.parametrize("in_pieces", [False, True])
def test_a_peer_that_sends_too_much(in_pieces: bool) -> None:
    pair = started(worker=SMALL)
    envelope = [None, None, [[1, {"head": bytes(LARGEST // 2)}]]]
    body = bytes(LARGEST // 2)
    frames = [frame(Kind.TELL, envelope, body, nfds=1)]
    if in_pieces:
        first, last = pieces(Kind.TELL, 2, envelope, body)
        frames = [with_fds(first, 1), last]
    fds: list[int] = [7]
    for data in frames:
        assert [] == pair.worker.receive(data, fds)
        fds = []
    assert [7] == pair.worker.take_discarded()
    (bounced,) = (one for one in said(pair.worker) if one.kind == Kind.UNDELIVERABLE)
    assert "too_large" == bounced.payload["code"]
    assert "over max_message (65536) with its heads [AWP-HA-7]" == bounced.payload["message"]


@pytest.mark.parametrize(
    ("kind", "head", "text"),
    [
        (1, "text", "a head must be bin, not str"),
        (1, 5, "a head must be bin, not int"),
        (2, b"x", "a handle of kind 2 has no head"),
        (10, b"", "a handle of kind 10 has no head"),
    ],
)
def test_what_is_no_head(pair: ConnectionPair, kind: int, head: Any, text: str) -> None:
    data = frame(Kind.TELL, [None, None, [[kind, {"head": head}]]], nfds=1)
    assert [] == pair.worker.receive(data, [7])
    assert [7] == pair.worker.take_discarded()
    (bounced,) = (one for one in said(pair.worker) if one.kind == Kind.UNDELIVERABLE)
    assert ("bad_payload", f"[AWP-HA-6] {text}") == (
        bounced.payload["code"],
        bounced.payload["message"],
    )


def test_nil_is_no_head(pair: ConnectionPair) -> None:
    data = frame(Kind.TELL, [None, None, [[2, {"head": None}]]], nfds=1)
    (event,) = pair.worker.receive(data, [7])
    assert isinstance(event, events.TellReceived)


@pytest.mark.parametrize("side", ["worker", "primary"])
def test_where_it_is_not_in_force(side: str) -> None:
    pair = started(worker={"capabilities": BUILT_CAPABILITIES - {Capability.HANDLE_HEAD}})
    encode = getattr(pair, side).encode
    with pytest.raises(HandleError, match="takes no head="):
        encode(None, raw(1, head=b"x"))
    encode(None, raw(1, head=b""))


def test_many_unfinished_messages_with_heads() -> None:
    """Heads count as pieces do, against max_partial: what fits there is never too much."""
    pair = started(worker={"limits": {"max_partial": 64 << 20, "window": 64 << 20}})
    envelope = [None, None, [[1, {"head": bytes(250_000)}]]]
    for number in range(60):
        first, _ = pieces(Kind.TELL, 2 * number + 2, envelope, b"xy")
        assert [] == pair.worker.receive(with_fds(first, 1), [100 + number])
    held = pair.worker._reassembly.held
    assert 60 * 249_000 < held
    for number in range(60):
        _, last = pieces(Kind.TELL, 2 * number + 2, envelope, b"xy")
        (event,) = pair.worker.receive(last)
        assert isinstance(event, events.TellReceived)
        assert 250_000 == len(event.handles[0].meta["head"])
    assert 0 == pair.worker._reassembly.held


def test_a_faulty_message_keeps_no_head() -> None:
    pair = started(worker=SMALL)
    envelope = [None, None, [[1, {"head": bytes(50_000)}]]]
    for number in range(8):
        first, _ = pieces(Kind.TELL, 2 * number + 2, envelope, bytes(40_000))
        pair.worker.receive(with_fds(first, 1), [100 + number])
    partials = [pair.worker._reassembly.get(2 * number + 2) for number in range(8)]
    kept = [one for one in partials if one is not None and one.fault is None]
    spoilt = [one for one in partials if one is not None and one.fault is not None]
    assert (2, 6) == (len(kept), len(spoilt))
    assert {None} == {one.envelope[2] for one in spoilt}
