"""Plain messages read by their heads: what follows a head that is known need not be good."""

from __future__ import annotations

import itertools
from typing import Any

import msgpack
import pytest

from actorcluster.wire._generated import Kind, State
from actorcluster.wire.plain import LONGEST, PlainReader
from actorcluster.wire.values import Values
from tests.wire.talk import frame
from tests.wire.test_connection_properties import connection_in
from tests.wire.test_gathered import outcome


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
    return reader.read(memoryview(data), bodies, lengths), bodies, lengths


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


def test_long_messages_are_for_others() -> None:
    assert (0, [], []) == read(PlainReader(Values()), told(msgpack.packb(b"x" * LONGEST)))


def test_heads_are_forgotten_before_they_are_too_many() -> None:
    reader = PlainReader(Values())
    for size in itertools.chain(range(2000), range(3)):
        data = told(msgpack.packb("x" * size))
        assert (len(data), ["x" * size], [len(data) - 16]) == read(reader, data)
    assert len(reader._heads) <= 1024
