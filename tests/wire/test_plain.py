"""Plain messages read by their heads: what follows a head that is known need not be good."""

from __future__ import annotations

import itertools
from typing import Any

import msgpack
import pytest

from actorcluster.wire import events
from actorcluster.wire._generated import Kind, State
from actorcluster.wire.plain import LONGEST, PlainReader
from actorcluster.wire.values import Values
from tests.wire.talk import frame
from tests.wire.test_connection_properties import connection_in
from tests.wire.test_gathered import outcome

MAX_FRAME = 100_000


def told(payload: bytes, length: int | None = None) -> bytes:
    """A plain message with such a payload, and maybe a length that is not true."""
    data = frame(Kind.TELL, [None])[:-1] + payload
    size = len(data) - 16 if length is None else length
    return data[:2] + size.to_bytes(4, "big") + data[6:]


GOOD = [told(msgpack.packb("x" * size)) for size in range(32)]
"""Of every length that a bad one below has."""

BAD = {
    "a key twice": told(b"\x82\xa1a\x01\xa1a\x02"),
    "a key that is no text": told(b"\x81\xc4\x01a\x01"),
    "text that is none": told(b"\xa2\xff\xff"),
    "a handle": told(b"\xd4\x01\x00"),
    "not msgpack": told(b"\xc1\xc0"),
    "longer than its head says": told(msgpack.packb("y" * 9), 8),
    "shorter than its head says": told(msgpack.packb("y" * 9), 14),
    "two payloads": told(b"\x01\x02\x03"),
    "no payload": told(b""),
    "another address": frame(Kind.TELL, [5], "abc"),
    "a channel": frame(Kind.TELL, [None], "abc", channel=3),
    "another kind": frame(Kind.PONG, None, "abc"),
    "a length in two bytes": b"\x95\xcd\x00\x06" + told(b"\xa5abcde")[6:],
    "an array of four": b"\x94\xce" + told(b"\xa5abcde")[2:],
    "no frame": b"\x95" * 40,
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@pytest.mark.parametrize("split", [0, 1, 17, 18, 25])
def test_what_follows_known_heads_is_looked_at_as_ever(bad: bytes, split: int) -> None:
    data = b"".join(GOOD) + bad + b"".join(GOOD)
    cut = len(b"".join(GOOD)) + split
    pieces = [data[:cut], data[cut:]]
    each = outcome(connection_in("primary", State.ACTIVE), pieces)
    assert each == outcome(connection_in("primary", State.ACTIVE, gather=True), pieces)


def test_nesting_is_counted() -> None:
    """A body that is too deep for us, behind one of the same length that is not."""
    fine, deep = b"\x91" * 63 + b"\x93\x01\x02\x03", b"\x91" * 66 + b"\xc0"
    pieces = [told(fine) + told(deep) + told(fine)]
    each = outcome(connection_in("primary", State.ACTIVE), pieces)
    assert each == outcome(connection_in("primary", State.ACTIVE, gather=True), pieces)


def read(reader: PlainReader, data: bytes) -> tuple[int, list[Any], list[int]]:
    bodies: list[Any] = []
    lengths: list[int] = []
    return reader.read(memoryview(data), MAX_FRAME, bodies, lengths), bodies, lengths


def test_what_comes_first_is_taken() -> None:
    reader = PlainReader(Values())
    one, two = told(b"\x01"), told(b"\xa3two")
    pong = frame(Kind.PONG, None)
    for _ in range(2):
        taken = read(reader, one + two + pong + one)
        assert (len(one + two), [1, "two"], [3, 6]) == taken


def test_what_is_not_complete_is_left() -> None:
    reader = PlainReader(Values())
    one = told(b"\xa3one")
    for length in range(len(one)):
        assert (len(one), ["one"], [6]) == read(reader, one + one[:length])


def test_more_than_the_decoder_is_given_at_once() -> None:
    data = [told(msgpack.packb("x" * size)) for size in range(0, 6000, 100)]
    taken, bodies, lengths = read(PlainReader(Values()), b"".join(data))
    assert len(b"".join(data)) == taken
    assert list(map(len, data)) == [length + 16 for length in lengths]
    assert list(range(0, 6000, 100)) == list(map(len, bodies))


def test_long_messages_are_decoded_among_short_ones() -> None:
    sizes = [1, LONGEST - 10, LONGEST, 2, MAX_FRAME - 7, MAX_FRAME - 7, 3]
    data = [told(msgpack.packb(b"x" * size)) for size in sizes]
    taken, bodies, lengths = read(PlainReader(Values()), b"".join(data))
    assert len(b"".join(data)) == taken
    assert sizes == list(map(len, bodies))
    assert list(map(len, data)) == [length + 16 for length in lengths]


def test_frames_that_are_too_long_are_for_others() -> None:
    assert (0, [], []) == read(PlainReader(Values()), told(msgpack.packb(b"x" * (MAX_FRAME - 6))))


LONG = LONGEST + 100
"""Bytes of envelope and payload of all that are long below."""

BAD_LONG = {
    "a key twice": b"\x82\xa1a\x01\xa1a" + msgpack.packb("x" * (LONG - 10)),
    "a key that is no text": b"\x81\xc4\x01a" + msgpack.packb("x" * (LONG - 9)),
    "text that is none": msgpack.packb(b"\xff" * (LONG - 5)).replace(b"\xc5", b"\xda", 1),
    "a handle": b"\x92\xd4\x01\x00" + msgpack.packb("x" * (LONG - 9)),
    "not msgpack": b"\xc1" * (LONG - 2),
    "longer than its head says": msgpack.packb("y" * (LONG - 4)),
    "shorter than its head says": msgpack.packb("y" * (LONG - 6)),
    "too deep": b"\x91" * 64 + b"\x92\xc0" + msgpack.packb("x" * (LONG - 71)),
    "good, and deep": b"\x91" * 62 + b"\x92\xc0" + msgpack.packb("x" * (LONG - 69)),
    "good, with many elements": b"\xdd" + (LONG - 7).to_bytes(4, "big") + b"\xc0" * (LONG - 7),
    "good, with a timestamp": b"\x92\xd6\xff" + bytes(4) + msgpack.packb("x" * (LONG - 12)),
}


@pytest.mark.parametrize("bad", BAD_LONG.values(), ids=BAD_LONG)
@pytest.mark.parametrize("split", [0, 1, 17, 18, 25, LONG, LONG + 16, LONG + 25])
def test_long_ones_are_what_they_are_to_others(bad: bytes, split: int) -> None:
    good = told(msgpack.packb("x" * (LONG - 5)))
    assert LONG == len(good) - 16
    data = GOOD[5] + good + told(bad, LONG) + good + GOOD[6]
    cut = len(GOOD[5] + good) + split
    pieces = [data[:cut], data[cut:]]
    each = outcome(connection_in("primary", State.ACTIVE), pieces)
    assert each == outcome(connection_in("primary", State.ACTIVE, gather=True), pieces)


def test_one_that_came_in_two_reads_is_of_the_run() -> None:
    connection = connection_in("primary", State.ACTIVE, gather=True)
    data = b"".join(map(told, [b"\x01", msgpack.packb("x" * LONG), b"\x02"]))
    assert 1 == len(connection.receive(data[:100]))
    (event,) = connection.receive(data[100:])
    assert isinstance(event, events.TellsReceived)
    assert ["x" * LONG, 2] == event.bodies


def test_heads_are_forgotten_before_they_are_too_many() -> None:
    reader = PlainReader(Values())
    for size in itertools.chain(range(2000), range(LONGEST, LONGEST + 1100), range(3)):
        data = told(msgpack.packb("x" * size))
        assert (len(data), ["x" * size], [len(data) - 16]) == read(reader, data)
    assert len(reader._heads) <= 1024
    assert len(reader._long_heads) <= 1024
