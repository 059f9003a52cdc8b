"""Bytes that are read to where they belong."""

from __future__ import annotations

import os

import pytest

from actorcluster._link.fdsocket import FdSocket
from actorcluster._link.handles import close_descriptors
from actorcluster.wire.connection import Connection
from tests.link.fdsockets import at_end, open_memfds, sizes
from tests.link.pair import linked

Pair = tuple[FdSocket, FdSocket]


def gather(sock: FdSocket, place: bytearray) -> tuple[bytes, bytes, list[list[int]]]:
    """What was put in the place, what came behind it, the descriptors."""
    got = sock.gather_now(10, memoryview(place))
    assert got is not None
    data, groups = got
    assert not any(truncated for _, truncated in groups)
    return bytes(place[: sock.placed]), bytes(data), [sizes(fds) for fds, _ in groups]


def test_the_first_bytes_go_there(pair: Pair) -> None:
    ours, theirs = pair
    ours.send_now([b"there", b"behind"])
    assert (b"there", b"behind", []) == gather(theirs, bytearray(5))
    assert not theirs.is_full_read
    assert theirs.gather_now(10, memoryview(bytearray(5))) is None
    assert 0 == theirs.placed


def test_fewer_than_have_room(pair: Pair) -> None:
    ours, theirs = pair
    ours.send_now([b"the"])
    assert (b"the", b"", []) == gather(theirs, bytearray(5))
    assert not theirs.is_full_read


def test_no_more_than_a_head_is_taken_behind_it(pair: Pair) -> None:
    ours, theirs = pair
    ours.send_now([b"there", b"b" * 10_000])
    assert (b"there", b"b" * 4096, []) == gather(theirs, bytearray(5))
    assert theirs.is_full_read
    got = theirs.gather_now()
    assert got is not None
    assert (10_000 - 4096, 0) == (len(got[0]), theirs.placed)


def test_descriptors_come_with_them(pair: Pair) -> None:
    """Those of one read, as nothing is read behind them."""
    ours, theirs = pair
    fds = open_memfds(2)
    for fd in fds:
        ours.send_now([b"ab"], [fd])
    close_descriptors(fds)
    place = bytearray(3)
    assert (b"ab", b"", [[0]]) == gather(theirs, place)
    assert theirs.is_full_read
    assert (b"ab", b"", [[1]]) == gather(theirs, place)


def test_the_end_puts_nothing_there(pair: Pair) -> None:
    ours, theirs = pair
    ours.send_now([b"last"])
    ours.close()
    assert (b"last", b"", []) == gather(theirs, bytearray(5))
    assert (b"", b"", []) == gather(theirs, bytearray(5))
    assert at_end(theirs)


async def test_most_of_a_long_message_is_read_to_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """But of the first one, which has none yet."""
    placed = 0
    place = Connection.placed

    def count(connection: Connection, size: int) -> None:
        nonlocal placed
        placed += size
        place(connection, size)

    monkeypatch.setattr(Connection, "placed", count)
    bodies = [os.urandom(900_000) for _ in range(4)]
    async with linked() as (ours, theirs):
        for body in bodies:
            await ours.channel.send(body)
            assert [body] == await theirs.bodies(1)
    assert 0.5 * 3 * 900_000 < placed < 3 * 900_000
