"""What leaves when: order, turns, batches, and nothing copied that is large."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorcluster.wire._generated import FLAG_FRAG, FLAG_MORE, Kind
from actorcluster.wire.batches import SMALL, Batch
from actorcluster.wire.fragments import Reassembly
from actorcluster.wire.frames import Frame, FrameReader, encode_frame, encode_head
from actorcluster.wire.outbox import FRAGMENT_SIZE, Outbox
from actorcluster.wire.values import Values

NIL = b"\xc0"
LARGE = msgpack.packb(b"L" * (3 * FRAGMENT_SIZE))


def small(kind: int, channel: int = 0, payload: Any = None) -> bytes:
    return encode_frame(kind, channel, NIL, msgpack.packb(payload))


def frames(batches: list[Batch]) -> list[Frame]:
    reader = FrameReader(Values(), max_frame=1 << 24)
    return reader.feed(b"".join(bytes(part) for batch in batches for part in batch.buffers))


def drain(outbox: Outbox, limit: int = 1 << 18) -> list[Batch]:
    batches: list[Batch] = []
    while outbox:
        batches += outbox.take(limit)
    return batches


def kinds(batches: list[Batch]) -> list[str]:
    return [Kind(frame.kind).name for frame in frames(batches)]


def channels(batches: list[Batch]) -> list[int]:
    return [frame.channel for frame in frames(batches)]


# ---- order


def test_nothing_gives_nothing() -> None:
    outbox = Outbox()
    assert not outbox
    assert outbox.is_empty
    assert [] == outbox.take(1000)


def test_small_frames_keep_their_order_and_become_one_buffer() -> None:
    outbox = Outbox()
    sent = [small(Kind.TELL, payload=n) for n in range(100)]
    for frame in sent:
        outbox.put(frame)
    (batch,) = outbox.take(1 << 18)
    assert [b"".join(sent)] == batch.buffers
    assert ((), 0) == (batch.handles, batch.number)
    assert outbox.is_empty


def test_one_frame_is_not_copied() -> None:
    outbox = Outbox()
    frame = small(Kind.TELL)
    outbox.put(frame)
    (batch,) = outbox.take(1 << 18)
    assert frame is batch.buffers[0]


def test_joined_buffers_are_not_large() -> None:
    outbox = Outbox()
    for _ in range(40):
        outbox.put(small(Kind.TELL, payload=bytes(10_000)))
    (batch,) = outbox.take(1 << 20)
    assert 3 <= len(batch.buffers)
    assert all(len(part) < 150_000 for part in batch.buffers)


def test_the_limit_is_about_kept() -> None:
    outbox = Outbox()
    for _ in range(100):
        outbox.put(small(Kind.TELL, payload=bytes(10_000)))
    outbox.put_message(Kind.TELL, 2, NIL, LARGE)
    size = sum(len(part) for batch in outbox.take(100_000) for part in batch.buffers)
    assert 100_000 <= size < 200_000
    assert outbox


def test_urgent_frames_go_first() -> None:
    outbox = Outbox()
    outbox.put(small(Kind.TELL))
    outbox.put_urgent(small(Kind.CREDIT))
    outbox.put_urgent(small(Kind.ACK))
    assert ["CREDIT", "ACK", "TELL"] == kinds(outbox.take(1 << 18))


def test_urgent_frames_go_alone() -> None:
    outbox = Outbox()
    assert b"" == outbox.take_urgent()
    outbox.put(small(Kind.TELL))
    outbox.put_urgent(small(Kind.CREDIT))
    outbox.put_answer(small(Kind.PONG), urgent=True)
    assert small(Kind.CREDIT) + small(Kind.PONG) == outbox.take_urgent()
    assert 0 == outbox.answers
    assert ["TELL"] == kinds(drain(outbox))


def test_final_frames_go_last() -> None:
    outbox = Outbox()
    outbox.put_final(small(Kind.GOODBYE))
    outbox.put_final(small(Kind.ABORT))
    outbox.put_message(Kind.TELL, 2, NIL, LARGE)
    outbox.put(small(Kind.TELL))
    outbox.put_urgent(small(Kind.PONG))
    expected = ["PONG", "TELL", "TELL", "TELL", "TELL", "TELL", "GOODBYE", "ABORT"]
    assert expected == kinds(drain(outbox))
    assert outbox.is_empty


# ---- large messages


def test_a_large_message_is_cut_into_fragments_and_never_copied() -> None:
    outbox = Outbox()
    payload = bytes(FRAGMENT_SIZE * 2)
    assert outbox.is_large(len(payload))
    outbox.put_message(Kind.TELL, 6, msgpack.packb(["to"]), payload)
    batches = drain(outbox)
    views = [part for batch in batches for part in batch.buffers if len(part) > SMALL]
    assert {memoryview} == {type(view) for view in views}
    assert all(view.obj is payload for view in views if isinstance(view, memoryview))
    pieces = frames(batches)
    assert {FRAGMENT_SIZE} == {frame.length for frame in pieces[:1]}
    assert all(frame.length <= FRAGMENT_SIZE for frame in pieces)
    assert [["to"], None, None] == [frame.envelope for frame in pieces]
    assert [FLAG_FRAG | FLAG_MORE, FLAG_FRAG | FLAG_MORE, FLAG_FRAG] == [f.flags for f in pieces]
    assert payload == b"".join(frame.payload for frame in pieces)


@pytest.mark.parametrize("rest", [10, 255, 256, 65_535, 65_536])
def test_pieces_are_bins_in_their_shortest_form(rest: int) -> None:
    outbox = Outbox()
    envelope = msgpack.packb([None])
    room = FRAGMENT_SIZE - len(envelope) - 5
    outbox.put_message(Kind.TELL, 2, envelope, bytes(room + rest))
    first, last = frames(drain(outbox))
    assert FRAGMENT_SIZE == first.length
    assert 1 + len(msgpack.packb(bytes(rest))) == last.length


@pytest.mark.parametrize("rest", [0, 1, 99, 100, 101])
def test_none_is_made_for_a_few_bytes(rest: int) -> None:
    outbox = Outbox()
    outbox.fragment_size, outbox.slack = 20_000, 100
    room = 20_000 - 1 - 5
    payload = b"ab" * room + b"c" * rest
    outbox.put_message(Kind.TELL, 2, NIL, payload)
    pieces = frames(drain(outbox))
    expected = [room, room + rest] if rest <= 100 else [room, room, rest]
    assert expected == [len(frame.payload) for frame in pieces]
    assert payload == b"".join(frame.payload for frame in pieces)


def test_medium_messages_go_whole() -> None:
    outbox = Outbox()
    payload = msgpack.packb(bytes(SMALL + 1))
    outbox.put_message(Kind.TELL, 0, NIL, payload)
    (batch,) = outbox.take(1 << 18)
    head, body = batch.buffers
    assert isinstance(body, memoryview)
    assert payload is body.obj
    assert 17 == len(head)


def test_what_was_whole_when_it_was_put_stays_whole() -> None:
    """It has no channel; a peer that lowers max_frame takes it up to its SETTINGS_ACK."""
    outbox = Outbox()
    outbox.put_message(Kind.TELL, 0, NIL, msgpack.packb(bytes(100_000)))
    outbox.fragment_size = 16_384
    assert [0] == [frame.flags for frame in frames(drain(outbox))]


def test_fragments_of_a_message_under_way_shrink_with_the_limit() -> None:
    outbox = Outbox()
    outbox.put_message(Kind.TELL, 2, NIL, LARGE)
    sent = outbox.take(1)
    outbox.fragment_size = 16_384
    rest = frames(sent + drain(outbox))[1:]
    assert all(frame.length <= 16_384 for frame in rest)


def test_answers_pass_a_large_mail_and_other_mail_waits() -> None:
    outbox = Outbox()
    outbox.put_message(Kind.CALL, 2, NIL, LARGE)
    outbox.put(small(Kind.TELL, payload="after"))
    outbox.put(small(Kind.REPLY, 1))
    outbox.put(small(Kind.STOP))
    outbox.put(small(Kind.ERROR, 3))
    sent = frames(drain(outbox))
    order = [Kind(frame.kind).name for frame in sent]
    assert ["CALL", "CALL", "CALL", "CALL"] == [name for name in order if name == "CALL"]
    last_piece = len(order) - 1 - order[::-1].index("CALL")
    assert order.index("REPLY") < order.index("ERROR") < last_piece
    assert ["TELL", "STOP"] == order[last_piece + 1 :]


def test_mail_put_while_a_large_one_is_under_way_waits_too() -> None:
    outbox = Outbox()
    outbox.put_message(Kind.TELL, 2, NIL, LARGE)
    sent = outbox.take(1)
    outbox.put(small(Kind.TELL, payload=1))
    outbox.put_message(Kind.TELL, 4, NIL, LARGE)
    outbox.put(small(Kind.TELL, payload=2))
    assert outbox.has_mail
    sent += drain(outbox)
    assert [2, 2, 2, 2, 0, 4, 4, 4, 4, 0] == channels(sent)
    assert not outbox.has_mail


def test_large_answers_take_turns() -> None:
    outbox = Outbox()
    outbox.max_partial = 1 << 24
    for channel in (1, 3, 5):
        outbox.put_message(Kind.REPLY, channel, NIL, LARGE)
    assert [1, 3, 5] * 4 == channels(drain(outbox))


def test_only_so_many_are_begun_as_the_peer_can_hold() -> None:
    outbox = Outbox()
    outbox.max_partial = 2 * len(LARGE) + 10
    for channel in (1, 3, 5, 7):
        outbox.put_message(Kind.REPLY, channel, NIL, LARGE)
    outbox.put(small(Kind.REPLY, 9))
    order = channels(drain(outbox))
    assert [9] + [1, 3] * 4 + [5, 7] * 4 == order


def test_one_goes_even_if_the_peer_cannot_hold_it() -> None:
    outbox = Outbox()
    outbox.max_partial = 65_536
    for channel in (1, 3):
        outbox.put_message(Kind.REPLY, channel, NIL, LARGE)
    assert [1] * 4 + [3] * 4 == channels(drain(outbox))


# ---- handles


def test_a_frame_with_handles_begins_a_batch() -> None:
    outbox = Outbox()
    outbox.put(small(Kind.TELL, payload=1))
    outbox.put_message(Kind.TELL, 0, NIL, NIL, ("a", "b"))
    outbox.put(small(Kind.TELL, payload=2))
    outbox.put_message(Kind.TELL, 0, NIL, NIL, ("c",))
    first, second, third = drain(outbox)
    assert [(), ("a", "b"), ("c",)] == [first.handles, second.handles, third.handles]
    assert [0, 1, 2] == [first.number, second.number, third.number]
    assert [[0], [2, 0], [1]] == [
        [f.nfds for f in frames([batch])] for batch in (first, second, third)
    ]


@pytest.mark.parametrize("size", [SMALL - 1, SMALL, SMALL + 1])
def test_only_frames_with_handles_are_numbered(size: int) -> None:
    """Nobody acknowledges the others."""
    outbox = Outbox()
    head = encode_head(Kind.TELL, 0, 2 + size) + b"\x91\xc0"
    outbox.put_whole(Kind.TELL, head, b"\xc0" * size)
    (batch,) = outbox.take(1 << 20)
    assert (0, 0) == (batch.number, outbox.handle_frames)
    assert head + b"\xc0" * size == b"".join(batch.buffers)


def test_the_first_fragment_has_the_handles() -> None:
    outbox = Outbox()
    outbox.put_message(Kind.TELL, 2, NIL, LARGE, ("a",))
    batches = drain(outbox)
    assert ("a",) == batches[0].handles
    assert all(() == batch.handles for batch in batches[1:])
    assert [1, 0, 0, 0] == [frame.nfds for frame in frames(batches)]


def test_handles_wait_until_others_are_acknowledged() -> None:
    outbox = Outbox()
    outbox.fds_in_flight = 3
    for name in ("ab", "c", "d"):
        outbox.put_message(Kind.TELL, 0, NIL, NIL, tuple(name))
    outbox.put(small(Kind.STOP))
    assert [("a", "b"), ("c",)] == [batch.handles for batch in drain(outbox)]
    assert not outbox
    assert not outbox.is_empty
    outbox.put_urgent(small(Kind.PONG))
    assert ["PONG"] == kinds(drain(outbox))
    assert outbox.acknowledge(1)
    assert ["TELL", "STOP"] == kinds(drain(outbox))
    assert outbox.acknowledge(3)
    assert not outbox.acknowledge(4)


def test_more_handles_than_the_peer_wants_go_alone() -> None:
    outbox = Outbox()
    outbox.fds_in_flight = 1
    outbox.put_message(Kind.TELL, 0, NIL, NIL, ("a", "b"))
    assert [("a", "b")] == [batch.handles for batch in drain(outbox)]


def test_at_the_end_handles_wait_no_longer() -> None:
    outbox = Outbox()
    outbox.fds_in_flight = 1
    outbox.put_message(Kind.TELL, 0, NIL, NIL, ("a",))
    outbox.put_message(Kind.TELL, 0, NIL, NIL, ("b",))
    outbox.put_final(small(Kind.GOODBYE))
    assert ["TELL", "TELL", "GOODBYE"] == kinds(drain(outbox))


def test_what_is_cleared_gives_its_handles_back() -> None:
    outbox = Outbox()
    outbox.put_message(Kind.REPLY, 2, NIL, LARGE, ("left",))
    outbox.take(1)
    outbox.put_message(Kind.REPLY, 4, NIL, LARGE, ("waits",))
    outbox.put_message(Kind.TELL, 0, NIL, NIL, ("stays",))
    outbox.put_answer(small(Kind.ERROR, 7))
    outbox.put_final(small(Kind.ABORT))
    assert ["waits", "stays"] == sorted(outbox.clear(), reverse=True)
    assert outbox.is_empty
    assert 0 == outbox.answers


# ---- answers


@pytest.mark.parametrize("urgent", [False, True])
def test_answers_are_counted_until_they_leave(urgent: bool) -> None:
    outbox = Outbox()
    frame = small(Kind.PONG)
    outbox.put_answer(frame, urgent=urgent)
    outbox.put_answer(frame, urgent=urgent)
    assert 2 * (len(frame) + 64) == outbox.answers  # a frame is an object, too
    assert ["PONG", "PONG"] == kinds(drain(outbox))
    assert 0 == outbox.answers


# ---- all together

SIZES = st.sampled_from([10, SMALL, SMALL + 1, 70_000, FRAGMENT_SIZE, FRAGMENT_SIZE * 2])
puts = st.tuples(
    st.sampled_from([Kind.TELL, Kind.CALL, Kind.REPLY, Kind.ERROR, Kind.CREDIT]),
    SIZES,
    st.integers(0, 2),
)


@given(st.lists(st.one_of(puts, st.none()), max_size=15), st.sampled_from([1, 50_000, 1 << 18]))
def test_everything_leaves_once_and_mail_in_order(
    steps: list[tuple[Kind, int, int] | None], limit: int
) -> None:
    outbox = Outbox()
    outbox.max_partial = 1 << 20
    batches: list[Batch] = []
    put: dict[int, tuple[Kind, int]] = {}
    handles: list[int] = []
    for number, step in enumerate(steps, 1):
        if step is None:
            batches += outbox.take(limit)
            continue
        kind, size, count = step
        payload = msgpack.packb(bytes(size))
        put[number] = (kind, size)
        if kind == Kind.CREDIT:
            outbox.put_urgent(small(kind, number, bytes(size)))
        elif kind == Kind.ERROR:
            outbox.put(small(kind, number, bytes(size)))
        else:
            mine = tuple(number * 10 + index for index in range(count))
            handles += mine
            outbox.put_message(kind, number, NIL, payload, mine)
    batches += drain(outbox, limit)
    assert sorted(handles) == sorted(handle for batch in batches for handle in batch.handles)
    arrived = whole_messages(batches)
    assert {(number, *facts) for number, facts in put.items()} == set(arrived)
    mail = [number for number, kind, _ in arrived if kind in (Kind.TELL, Kind.CALL)]
    assert sorted(mail) == mail


def whole_messages(batches: list[Batch]) -> list[tuple[int, int, int]]:
    """(channel, kind, size) in the order in which they are complete."""
    reassembly = Reassembly(1 << 24, 1 << 20)
    arrived = []
    for batch in batches:
        for at, frame in enumerate(frames([batch])):
            assert (len(batch.handles) if at == 0 else 0) == frame.nfds
            if not frame.flags & FLAG_FRAG:
                arrived.append((frame.channel, frame.kind, len(frame.payload)))
                continue
            partial = reassembly.get(frame.channel) or reassembly.begin(frame, [])
            if reassembly.add(partial, frame):
                assert partial.fault is None
                size = len(msgpack.unpackb(partial.data))
                arrived.append((frame.channel, frame.kind, size))
    return arrived
