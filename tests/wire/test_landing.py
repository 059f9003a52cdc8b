"""Long pieces that are read to where they belong: all is as if they had been read elsewhere."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import attrs
import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorcluster.errors import RemoteProtocolError
from actorcluster.wire import events
from actorcluster.wire._generated import FLAG_FRAG, FLAG_MORE, ErrorCode, Kind
from actorcluster.wire.connection import Connection
from actorcluster.wire.frames import encode_frame, encode_head
from tests.wire.pair import introduced, joined
from tests.wire.talk import frame

KIB = 1024
LIMITS = {"max_frame": 128 * KIB, "max_message": 300 * KIB, "max_partial": 450 * KIB}
MORE = FLAG_FRAG | FLAG_MORE
#: What a socket takes behind a place, as `FdSocket` does.
BEHIND = 4096


def primary() -> Connection:
    return introduced("primary", limits={**LIMITS, "window": 1 << 30})


def fragments(kind: int, channel: int, body: Any, size: int) -> list[bytes]:
    """A message in pieces of that size."""
    data = msgpack.packb(body)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    flags = [MORE] * (len(pieces) - 1) + [FLAG_FRAG]
    envelopes = [[None] if kind != Kind.REPLY else None] + [None] * (len(pieces) - 1)
    parts = zip(envelopes, pieces, flags, strict=True)
    return [frame(kind, about, piece, channel=channel, flags=flag) for about, piece, flag in parts]


Outcome = tuple[list[tuple[Any, ...]], str | None, bytes, int]
Read = Callable[[Connection, bytes], Iterator[events.Event]]


def outcome(connection: Connection, stream: bytes, sizes: Iterator[int], read: Read) -> Outcome:
    """What the reads of a stream bring, how it ends, what was answered, what is held."""
    found: list[events.Event] = []
    fault, at = None, 0
    while at < len(stream) and fault is None:
        size = next(sizes)
        try:
            for event in read(connection, stream[at : at + size]):
                found.append(event)  # noqa: PERF402  (also those before a fault)
        except RemoteProtocolError as exc:
            found += connection.take_events()
            fault = exc.requirement
        at += size
    answers = b"".join(data for data, _, _ in joined(connection))
    told = [(type(event), *attrs.astuple(event, recurse=False)) for event in found]
    return told, fault, answers, connection.statistics().partial


def read_elsewhere(connection: Connection, data: bytes) -> Iterator[events.Event]:
    yield from connection.receive(data)


def read_in_place(connection: Connection, data: bytes) -> Iterator[events.Event]:
    """As from a socket that has so much; a buffer is read over."""
    left = memoryview(data)
    while left:
        place, placed = connection.place(), 0
        if place is not None:
            placed = min(len(place), len(left))
            place[:placed] = left[:placed]
            connection.placed(placed)
        size = placed + BEHIND if place is not None else len(left)
        buffer = bytearray(left[placed:size])
        yield from connection.receive(memoryview(buffer))
        buffer[:] = bytes(len(buffer))
        left = left[size:]


# ---- whatever comes


def messages(random: Random) -> list[list[bytes]]:
    """A few of them, each as its frames; some are not as they should be."""
    drawn = []
    for number in range(random.randint(2, 5)):
        kind = random.choice([Kind.TELL, Kind.TELL, Kind.CALL])
        body = random.randbytes(random.choice([10, 66_000, 130_000, 250_000, 310_000]))
        size = random.choice([20_000, 66_000, 70_000, 100_000])
        frames = fragments(kind, 1 + 2 * number, body, size)
        frames[1:] = [spoilt(one, random) if random.random() < 0.05 else one for one in frames[1:]]
        if random.random() < 0.1:
            frames[-1:] = [frame(Kind.CANCEL, None, None, channel=1 + 2 * number)]
        drawn.append(frames)
    return drawn


def spoilt(one: bytes, random: Random) -> bytes:
    """A frame with one byte changed, in its head mostly."""
    at = random.randrange(min(len(one), 24))
    return one[:at] + bytes([one[at] ^ 1 << random.randrange(8)]) + one[at + 1 :]


def mixed(drawn: list[list[bytes]], random: Random) -> bytes:
    """Their frames in some order, with small ones between."""
    stream = []
    while drawn := [frames for frames in drawn if frames]:
        stream.append(drawn[random.randrange(len(drawn))].pop(0))
        if random.random() < 0.2:
            stream.append(frame(Kind.TELL, [None], "small"))
    return b"".join(stream)


def cuts(seed: int) -> Iterator[int]:
    random = Random(seed)
    while True:
        yield random.choice([1, 20, 30, 1000, 70_000, 150_000])


@given(st.integers(0, 2**32))
@settings(max_examples=settings().max_examples // 8)
def test_the_same_comes_of_it(seed: int) -> None:
    random = Random(seed)  # one that Hypothesis looks into takes forty times as long
    first = b"".join(fragments(Kind.TELL, 99, random.randbytes(260_000), 100_000))
    stream = first + mixed(messages(random), random)
    expected = outcome(primary(), stream, cuts(seed), read_elsewhere)
    assert expected == outcome(primary(), stream, cuts(seed), read_in_place)
    assert expected == outcome(primary(), stream, cuts(~seed), read_in_place)


@pytest.mark.parametrize("begin", [read_in_place, read_elsewhere])
def test_cut_anywhere(begin: Read) -> None:
    """At each byte of the heads, and round the ends of frames."""
    bodies = [bytes([number]) * 140_000 for number in range(3)]
    drawn = [fragments(Kind.TELL, 1, body, 70_000) for body in bodies]
    ends = [0]
    for one in (one for frames in drawn for one in frames):
        ends.append(ends[-1] + len(one))
    stream = b"".join(b"".join(frames) for frames in drawn)
    for cut in sorted({end + off for end in ends[:-1] for off in range(-3, 30)} - {-3, -2, -1, 0}):
        connection = primary()
        head, tail = stream[:cut], stream[cut:]
        found = [*begin(connection, head), *read_in_place(connection, tail)]
        assert bodies == [event.body for event in found if isinstance(event, events.TellReceived)]


# ---- what has a place


def with_room(size: int = 210_000) -> Connection:
    """One that has received a message, and kept what that was put together in."""
    connection = primary()
    for one in fragments(Kind.TELL, 1, bytes(size), 100_000):
        connection.receive(one)
    return connection


def placed_of(connection: Connection, data: bytes) -> int:
    """How much of what is to come has a place."""
    connection.receive(data)
    place = connection.place()
    return 0 if place is None else len(place)


def test_the_rest_of_a_long_piece_has_a_place() -> None:
    first, second, last = fragments(Kind.TELL, 1, bytes(209_000), 70_000)
    connection = with_room()
    assert len(first) - 100 == placed_of(connection, first[:100])
    assert 0 == placed_of(connection, first[100:])
    assert len(second) - 25 == placed_of(connection, second[:25])
    assert len(second) - 26 == placed_of(connection, second[25:26])
    assert len(last) - 1000 == placed_of(connection, second[26:] + last[:1000])
    (event,) = connection.receive(last[1000:])
    assert isinstance(event, events.TellReceived)
    assert bytes(209_000) == event.body
    assert connection.place() is None


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (fragments(Kind.TELL, 3, bytes(80_000), 70_000)[0][:22], "an incomplete head"),
        (fragments(Kind.TELL, 3, bytes(80_000), 60_000)[0][:100], "short"),
        (frame(Kind.TELL, [None], bytes(70_000))[:100], "no fragment"),
        (frame(Kind.PING, None, bytes(70_000), flags=MORE)[:100], "no message"),
        (frame(Kind.TELL, ["x"], bytes(70_000), channel=3, flags=MORE)[:100], "to somebody"),
        (frame(Kind.TELL, [None], "x" * 70_000, channel=3, flags=MORE)[:100], "no bin"),
    ],
)
def test_what_has_none(head: bytes, why: str) -> None:
    assert 0 == placed_of(with_room(), head), why


@pytest.mark.parametrize("size", [69_999, 70_001, 2**32 - 1])
def test_a_bin_that_ends_elsewhere_than_its_frame(size: int) -> None:
    payload = b"\xc6" + size.to_bytes(4, "big") + bytes(70_000)
    lie = encode_frame(Kind.TELL, 3, b"\x91\xc0", payload, flags=MORE)
    connection = with_room()
    assert 0 == placed_of(connection, lie[:100])
    with pytest.raises(RemoteProtocolError) as caught:
        connection.receive(lie[100:])
    assert "AWP-FR-3" == caught.value.requirement


def test_a_head_makes_no_room() -> None:
    """Nobody gets memory by saying that much is to come."""
    size = LIMITS["max_frame"]
    payload = b"\xc6" + (size - 5 - 2).to_bytes(4, "big")
    head = encode_head(Kind.TELL, 3, size, flags=MORE) + b"\x91\xc0" + payload
    for connection in (primary(), with_room(20_000)):
        tracemalloc.start()
        try:
            assert 0 == placed_of(connection, head)
            assert tracemalloc.get_traced_memory()[1] < 16 * KIB
        finally:
            tracemalloc.stop()


def test_a_message_that_becomes_too_large_has_none_any_more() -> None:
    """It is bounced, and what was kept for the next one is gone."""
    connection = with_room(210_000)
    frames = fragments(Kind.TELL, 3, bytes(330_000), 110_000)
    assert len(frames[0]) - 100 == placed_of(connection, frames[0][:100])
    assert 0 == placed_of(connection, frames[0][100:])
    assert 0 == placed_of(connection, frames[1][:100])
    connection.receive(frames[1][100:])
    assert 0 == placed_of(connection, frames[2][:100])
    assert [] == connection.receive(frames[2][100:] + frames[3])
    answer = b"".join(data for data, _, _ in joined(connection))
    assert ErrorCode.TOO_LARGE.encode() in answer
    assert 0 == connection.statistics().partial


def test_several_at_once_have_one_each() -> None:
    """What was kept is that of the first; the other is put together as ever."""
    connection = with_room()
    one = fragments(Kind.TELL, 3, b"1" * 200_000, 70_000)
    other = fragments(Kind.TELL, 5, b"2" * 200_000, 70_000)
    stream = b"".join([one[0], other[0], one[1], other[1], one[2], other[2]])
    found = read_in_place(connection, stream)
    assert [b"1" * 200_000, b"2" * 200_000] == [
        event.body for event in found if isinstance(event, events.TellReceived)
    ]


def test_memory_is_given_back_at_the_end() -> None:
    connection = with_room()
    connection.receive(fragments(Kind.TELL, 3, bytes(80_000), 70_000)[0][:100])
    assert connection.place() is not None
    connection.shrink()
    assert connection.place() is None
