"""Frames out of any bytes, in any split: the same frames, or the same fault."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterable
from typing import Any

import attrs
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorcluster.errors import RemoteProtocolError
from actorcluster.wire._generated import FLAG_FRAG, FLAG_MORE, FLAG_OPTIONAL, AbortCode, Kind
from actorcluster.wire.frames import (
    HEADER_SIZE,
    Frame,
    FrameReader,
    decode_frame,
    encode_frame,
    encode_head,
)
from actorcluster.wire.values import HandleIndex, Values
from tests.wire.second_opinion import Outcome, read_by_headers
from tests.wire.strategies import FrameDraft, alike, drafts, fragments, hostile_bytes, splits

NIL = b"\xc0"
MAX_FRAME = 200_000  # two of the longest samples


def read(pieces: Iterable[bytes | bytearray | memoryview], max_frame: int = MAX_FRAME) -> Outcome:
    reader = FrameReader(Values(), max_frame=max_frame)
    frames: list[Frame] = []
    for piece in pieces:
        try:
            frames += reader.feed(piece)
        except RemoteProtocolError as exc:
            frames += reader.take_frames()
            return frames, exc.requirement
        assert [] == reader.take_frames()
    return frames, None


def read_few_at_once(pieces: Iterable[bytes], most: int, max_frame: int) -> Outcome:
    """The same, where each piece is taken in by several calls."""
    reader = FrameReader(Values(), max_frame=max_frame)
    frames: list[Frame] = []
    for piece in pieces:
        rest: bytes | memoryview = piece
        while rest:
            try:
                frames += reader.feed(rest, most)
            except RemoteProtocolError as exc:
                return frames + reader.take_frames(), exc.requirement
            assert len(reader.unread) < len(rest)
            rest = reader.unread
    return frames, None


def same(expected: Outcome, found: Outcome) -> bool:
    """The texts of errors aside."""
    one, other = (
        [attrs.evolve(frame, error=None if frame.error is None else "bad") for frame in outcome[0]]
        for outcome in (expected, found)
    )
    return alike(one, other) and expected[1] == found[1]


# ---- properties


@given(st.lists(drafts(), max_size=6), st.data())
def test_any_frames_in_any_split(sent: list[FrameDraft], data: st.DataObject) -> None:
    stream = b"".join(draft.encode() for draft in sent)
    expected = read_by_headers(stream, MAX_FRAME)
    assert (len(sent), None) == (len(expected[0]), expected[1])
    assert same(expected, read([stream]))
    assert same(expected, read(data.draw(splits(stream))))


@given(st.lists(st.one_of(drafts(), fragments, drafts(hostile_bytes)), max_size=6), st.data())
def test_bad_payloads_in_any_split(sent: list[FrameDraft], data: st.DataObject) -> None:
    stream = b"".join(draft.encode() for draft in sent)
    expected = read_by_headers(stream, MAX_FRAME)
    assert same(expected, read([stream]))
    assert same(expected, read(data.draw(splits(stream))))


raw_frames = st.builds(
    lambda head, body: head[:2] + len(body).to_bytes(4, "big") + head[6:16] + body,
    drafts().map(lambda draft: draft.encode()),
    hostile_bytes,
)
streams = st.lists(
    st.one_of(drafts().map(lambda draft: draft.encode()), raw_frames, raw_frames, hostile_bytes),
    max_size=6,
).map(b"".join)


@given(streams, st.data())
def test_any_bytes_in_any_split(stream: bytes, data: st.DataObject) -> None:
    expected = read_by_headers(stream, 20_000)
    assert same(expected, read([stream], 20_000))
    assert same(expected, read(data.draw(splits(stream)), 20_000))
    assert same(expected, read_few_at_once(data.draw(splits(stream)), 1, 20_000))


@pytest.mark.parametrize("most", [1, 7, 64, 100, 1000])
def test_so_many_frames_and_no_more(most: int) -> None:
    """What begins with frames, and with the part of one, waits to be fed next."""
    sent = [encode_frame(0x20, 0, NIL, bytes([number])) for number in range(100)]
    reader = FrameReader(Values(), max_frame=99)
    stream = sent[0][:5], b"".join([sent[0][5:], *sent[1:], sent[0][:9]])
    assert [] == reader.feed(stream[0], most)
    found = [len(reader.feed(stream[1], most))]
    while reader.unread:
        found.append(len(reader.feed(bytes(reader.unread), most)))
    assert 100 == sum(found)
    assert {most} >= set(found[1:-1])
    assert found[0] == min(most + 1, 100)  # with the one that had begun
    assert 9 == reader.buffered()


#: Each within a right length.
BAD_PAYLOADS = {
    "not UTF-8": b"\xa1\xff",
    "the unused byte": b"\xc1",
    "the unused byte inside": b"\x93\x01\xc1\x01",
    "bytes key": b"\x81\xc4\x01a\x01",
    "int key": b"\x81\x01\x01",
    "list key": b"\x81\x90\x01",
    "duplicate key": b"\x82\xa1a\x01\xa1a\x02",
    "depth 65": b"\x91" * 64 + b"\x90",
    "depth 65 behind a long text": b"\x92\xc5\x02\x58" + b"\x91" * 600 + b"\x91" * 64 + b"\x01",
    "depth of maps": b"\x81\xa0" * 65 + b"\x01",
    "depth 1025": b"\x91" * 1025 + b"\x01",
    "depth 2000": b"\x91" * 2000 + b"\x01",
    "year 10000": b"\xc7\x0c\xff\0\0\0\0" + (253402300800).to_bytes(8, "big"),
    "handle that is not there": b"\xd4\x01\x00",
    "handle of two bytes": b"\xd5\x01\x00\x00",
    "long array with one bad str": b"\xdc\x01\x2c" + bytes(299) + b"\xa1\xff",
}


@pytest.mark.parametrize("bad", BAD_PAYLOADS.values(), ids=BAD_PAYLOADS)
def test_bad_payload(bad: bytes) -> None:
    data = encode_frame(0x21, 5, b"\x91\x07", bad)
    (frame,) = FrameReader(Values(), max_frame=MAX_FRAME).feed(data)
    text = frame.error
    assert text
    assert Frame(0x21, 0, 0, 5, 1 + 1 + len(bad), [7], None, None, text) == frame
    assert frame == decode_frame(Values(), data)


@given(st.lists(st.sampled_from([None, *BAD_PAYLOADS.values()]), max_size=9), st.data())
def test_bad_payload_harms_no_other_frame(bad: list[bytes | None], data: st.DataObject) -> None:
    frames, fault = read(
        data.draw(
            splits(
                b"".join(
                    encode_frame(0x20, n, NIL, msgpack.packb({"n": n}) if one is None else one)
                    for n, one in enumerate(bad)
                )
            )
        )
    )
    assert fault is None
    for n, (one, frame) in enumerate(zip(bad, frames, strict=True)):
        assert n == frame.channel
        if one is None:
            assert ({"n": n}, None) == (frame.payload, frame.error)
        else:
            assert (None, True) == (frame.payload, bool(frame.error))


# ---- what a frame says


def test_small_frame() -> None:
    data = encode_frame(
        Kind.TELL, 7, b"\x91\x05", b"\xa2hi", flags=FLAG_OPTIONAL | FLAG_MORE, nfds=3
    )
    assert bytes.fromhex("95 ce 00000005 ce 20 81 03 00 ce 00000007 91 05 a2 68 69") == data
    assert encode_head(Kind.TELL, 7, 5, flags=0x81, nfds=3) == data[:HEADER_SIZE]
    frame = Frame(Kind.TELL, 0x81, 3, 7, 5, [5], "hi")
    assert [frame] == FrameReader(Values(), max_frame=5).feed(data)
    assert frame == decode_frame(Values(), data)


def test_reserved_byte_is_ignored() -> None:
    data = bytearray(encode_frame(0x20, 0, NIL, NIL))
    data[10] = 0xFF
    assert [Frame(0x20, 0, 0, 0, 2, None, None)] == FrameReader(Values(), max_frame=9).feed(data)


@pytest.mark.parametrize("kind", [Kind.PING, Kind.PONG])
@pytest.mark.parametrize(
    ("envelope", "payload"),
    [
        pytest.param(NIL, b"\x01", id="small"),
        pytest.param(b"\x91\xcd\x00\x01", b"\xc4\x01x", id="not canonical"),
        pytest.param(NIL, b"\x81\x01\x02", id="beyond the profile"),
        pytest.param(NIL, b"\xc5\xff\xff" + bytes(65535), id="large"),
        pytest.param(b"", b"", id="nothing"),
        pytest.param(b"", NIL, id="one value"),
        pytest.param(NIL, b"\x01\x02\x03", id="four values"),
        pytest.param(b"\xdd\xff\xff\xff\xff", b"\xc1", id="no msgpack"),
    ],
)
def test_echoes_keep_their_bytes(kind: Kind, envelope: bytes, payload: bytes) -> None:
    data = encode_frame(kind, 0, envelope, payload)
    (frame,) = FrameReader(Values(), max_frame=MAX_FRAME).feed(data)
    assert data[HEADER_SIZE:] == frame.body
    assert type(frame.body) is bytes


def test_handles_below_nfds_are_left_to_their_receiver() -> None:
    payload = b"\x92\xd4\x01\x01\xd4\x01\x00"
    good = encode_frame(0x20, 0, b"\x91\xd4\x01\x01", payload, nfds=2)
    bad = encode_frame(0x20, 0, NIL, payload, nfds=1)
    bad_envelope = encode_frame(0x20, 0, b"\x91\xd4\x01\x01", NIL, nfds=1)
    frames = FrameReader(Values(), max_frame=MAX_FRAME).feed(good + bad + bad_envelope + good)
    assert [HandleIndex(1), HandleIndex(0)] == frames[0].payload
    assert [HandleIndex(1)] == frames[0].envelope
    assert ["handle 1 of 1"] * 2 == [frame.error for frame in frames[1:3]]
    assert frames[0] == frames[3]


def test_envelope_survives_a_bad_payload_but_not_the_other_way() -> None:
    reader = FrameReader(Values(), max_frame=MAX_FRAME)
    (frame,) = reader.feed(encode_frame(0x21, 3, b"\x92\x07\x08", b"\xa1\xff"))
    assert [7, 8] == frame.envelope
    (frame,) = reader.feed(encode_frame(0x21, 3, b"\x92\x07\xa1\xff", b"\x01"))
    assert (None, None) == (frame.envelope, frame.payload)
    assert "utf-8" in (frame.error or "")


@pytest.mark.parametrize("size", [0, 10, 70_000])
def test_fragment_holds_bytes(size: int) -> None:
    reader = FrameReader(Values(), max_frame=MAX_FRAME)
    piece = msgpack.packb(bytes(size))
    (frame,) = reader.feed(encode_frame(0x20, 4, NIL, piece, flags=FLAG_FRAG))
    assert (bytes(size), None) == (frame.payload, frame.error)
    (frame,) = reader.feed(encode_frame(0x20, 4, NIL, b"\xd9\x01x", flags=FLAG_FRAG))
    assert (None, "the payload of a fragment is not bin") == (frame.payload, frame.error)


def test_depth_is_that_of_envelope_and_payload_each() -> None:
    deepest = b"\x91" * 63 + b"\x90"
    data = encode_frame(0x20, 0, deepest, deepest) + encode_frame(0x20, 0, b"\x91" + deepest, NIL)
    good, bad = FrameReader(Values(), max_frame=MAX_FRAME).feed(data)
    assert good.error is None
    assert "nested deeper than 64 levels" == bad.error


# ---- what ends a connection


def fault_of(reader: FrameReader, data: bytes | bytearray) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        reader.feed(data)
    return caught.value


@pytest.mark.parametrize("offset", [0, 1, 6, 11])
def test_signature(offset: int) -> None:
    data = bytearray(encode_frame(0x20, 0, NIL, NIL))
    data[offset] ^= 1
    reader = FrameReader(Values(), max_frame=9)
    assert [] == reader.feed(data[:15])
    fault = fault_of(reader, data[15:16])
    assert ("AWP-FR-4", AbortCode.BAD_SIGNATURE) == (fault.requirement, fault.code)
    fault = fault_of(FrameReader(Values(), max_frame=9), bytes(data))
    assert ("AWP-FR-4", AbortCode.BAD_SIGNATURE) == (fault.requirement, fault.code)
    assert data[:16].hex(" ") in str(fault)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"\x95\x0f\xcc\x20\xcc\x00", id="compact integers"),
        pytest.param(
            b"\xdc\x00\x05\xce\x00\x00\x00\x0d\xce\x20\x00\x00\x00\xce\0\0\0\0", id="array16"
        ),
        pytest.param(b"GET / HTTP/1.1\r\n", id="HTTP"),
        pytest.param(b"\x85\xce\0\0\0\x02\xce\x20\0\0\0\xce\0\0\0\0", id="map"),
    ],
)
def test_other_headers(header: bytes) -> None:
    assert (
        "AWP-FR-4" == fault_of(FrameReader(Values(), max_frame=99), header + bytes(30)).requirement
    )


def test_too_large_is_known_from_the_header() -> None:
    reader = FrameReader(Values(), max_frame=1000)
    assert 1 == len(reader.feed(encode_frame(0x20, 0, NIL, b"\xc5\x03\xe4" + bytes(996))))
    fault = fault_of(reader, encode_head(0x20, 0, 1001))
    assert ("AWP-FR-5", AbortCode.FRAME_TOO_LARGE) == (fault.requirement, fault.code)
    reader = FrameReader(Values(), max_frame=1000)
    assert [] == reader.feed(encode_head(0x20, 0, 2**32 - 1)[:-1])
    assert "AWP-FR-5" == fault_of(reader, b"\0").requirement
    assert 0 == reader.buffered()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(NIL, id="envelope only"),
        pytest.param(NIL * 3, id="three values"),
        pytest.param(NIL + b"\x92\x01", id="incomplete payload"),
        pytest.param(b"\xa2x", id="incomplete envelope"),
        pytest.param(NIL + b"\xdd\xff\xff\xff\xff", id="huge array"),
        pytest.param(NIL + b"\xc6\x00\x01\x00\x00", id="large bin"),
        pytest.param(NIL + b"\xa1\xff" + NIL, id="bad, and one too many"),
        pytest.param(NIL + b"\xc5\xff\xff" + bytes(65534), id="large frame, incomplete"),
        pytest.param(NIL + b"\xc5\xff\xff" + bytes(65536), id="large frame, one too many"),
    ],
)
def test_length_that_does_not_fit(body: bytes) -> None:
    good = encode_frame(0x20, 0, NIL, b"\x01")
    data = good + encode_head(0x20, 0, len(body)) + body + good * 3
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        reader = FrameReader(Values(), max_frame=MAX_FRAME)
        before: list[Frame] = []
        with pytest.raises(RemoteProtocolError) as caught:
            for piece in pieces:
                before += reader.feed(piece)
        before += reader.take_frames()
        assert [1] == [frame.payload for frame in before]
        assert ("AWP-FR-3", AbortCode.BAD_LENGTH) == (caught.value.requirement, caught.value.code)
        assert caught.value is fault_of(reader, good)
        assert [] == reader.take_frames()


def test_length_is_judged_when_the_frame_is_complete() -> None:
    """Otherwise the outcome would depend on the split."""
    reader = FrameReader(Values(), max_frame=MAX_FRAME)
    assert [] == reader.feed(encode_head(0x20, 0, 4) + NIL * 3)
    assert "AWP-FR-3" == fault_of(reader, NIL).requirement


def test_header_counts_as_complete_when_no_body_follows() -> None:
    reader = FrameReader(Values(), max_frame=MAX_FRAME)
    assert [] == reader.feed(encode_head(0x20, 0, 0)[:9])
    assert "AWP-FR-3" == fault_of(reader, encode_head(0x20, 0, 0)[9:]).requirement


@pytest.mark.parametrize("item", [b"\xdc\x27\x10", b"\xde\x27\x10\xa0", b"\xdc\x01\x00"])
def test_headers_allocate_nothing(item: bytes) -> None:
    body = NIL + item * 1000
    reader = FrameReader(Values(), max_frame=MAX_FRAME)
    tracemalloc.start()
    try:
        assert "AWP-FR-3" == fault_of(reader, encode_head(0x20, 0, len(body)) + body).requirement
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


# ---- the reader itself


def test_unfinished_frame_waits() -> None:
    data = encode_frame(0x20, 0, NIL, b"\xa5hello")
    reader = FrameReader(Values(), max_frame=MAX_FRAME)
    for at in range(1, len(data)):
        assert [] == reader.feed(data[at - 1 : at])
        assert at == reader.buffered()
    assert [] == reader.feed(b"")
    (frame,) = reader.feed(data[-1:] + data[:3])
    assert "hello" == frame.payload
    assert 3 == reader.buffered()
    (frame,) = reader.feed(data[3:])
    assert "hello" == frame.payload
    assert 0 == reader.buffered()


def test_max_frame_counts_at_the_header() -> None:
    small, large = (encode_frame(0x20, 0, NIL, msgpack.packb(bytes(size))) for size in (5, 5000))
    reader = FrameReader(Values(), max_frame=100)
    reader.max_frame = 6000
    assert 1 == len(reader.feed(large + large[:100]))
    reader.max_frame = 100
    assert [bytes(5000), bytes(5)] == [frame.payload for frame in reader.feed(large[100:] + small)]
    assert "AWP-FR-5" == fault_of(reader, large).requirement


def test_nothing_of_the_data_is_kept() -> None:
    payload = {"data": b"x" * 70, "text": "y" * 70, "more": [b"z" * 300]}
    data = encode_frame(Kind.PING, 0, b"\x91\x01", msgpack.packb(payload))
    reader = FrameReader(Values(), max_frame=MAX_FRAME)
    buffer = bytearray(data + data + data[:30])
    frames = reader.feed(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    gc.collect()
    buffer.clear()  # BufferError if somebody had a view of it
    frames += reader.feed(data[30:])
    assert [payload] * 3 == [frame.payload for frame in frames]
    assert [data[HEADER_SIZE:]] * 3 == [frame.body for frame in frames]


def test_many_frames_of_all_sizes_at_once() -> None:
    """More than one run, long frames between short ones, a bad one in each run."""
    sizes = [10, 32_740, 32_752, 32_768, 50_000, 1000, 0] * 3
    payloads: list[Any] = []
    stream = b""
    for size in sizes:
        payloads += [{"n": n} for n in range(40)] + [None, [size] * 300, bytes(size)]
        stream += b"".join(encode_frame(0x20, 0, NIL, msgpack.packb({"n": n})) for n in range(40))
        stream += encode_frame(0x20, 0, NIL, b"\xa1\xff")
        stream += encode_frame(0x20, 0, NIL, msgpack.packb([size] * 300))
        stream += encode_frame(0x20, 0, NIL, msgpack.packb(bytes(size)))
    frames, fault = read([stream])
    assert fault is None
    assert payloads == [frame.payload for frame in frames]
    assert len(sizes) == sum(frame.error is not None for frame in frames)
    step = 32_771
    assert frames == read(stream[at : at + step] for at in range(0, len(stream), step))[0]


def test_maximal_frame_in_small_pieces() -> None:
    data = encode_frame(0x20, 0, NIL, msgpack.packb(bytes(MAX_FRAME - 6)))
    frames, fault = read(data[at : at + 100] for at in range(0, len(data), 100))
    assert fault is None
    assert [bytes(MAX_FRAME - 6)] == [frame.payload for frame in frames]
