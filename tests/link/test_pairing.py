"""Frames and the handles of a lane: whatever comes first, in whatever pieces."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorcluster._link.nodelines import ACK, KINDS, NACK, handle_line, read_line
from actorcluster._link.pairing import Pairing
from actorcluster.wire._generated import FLAG_LANE, HandleKind, Kind
from actorcluster.wire.frames import encode_frame


def frame(nfds: int, *, flags: int = FLAG_LANE, body: bytes = b"\x01") -> bytes:
    return encode_frame(Kind.TELL, 0, b"\xc0", body, flags=flags, nfds=nfds)


PLAIN = frame(0, flags=0)
Groups = list[tuple[list[int], bool]]


def taken(pairing: Pairing) -> tuple[bytes, Groups]:
    return pairing.take()


def test_frames_without_handles_pass() -> None:
    pairing = Pairing()
    pairing.feed(PLAIN * 2 + PLAIN[:15])
    assert (PLAIN * 2, []) == taken(pairing)
    pairing.feed(PLAIN[15:])
    assert (PLAIN, []) == taken(pairing)
    assert not pairing.awaits


def test_handles_that_are_there_before_their_frame() -> None:
    pairing = Pairing()
    pairing.bring(2, 102)
    pairing.bring(1, 101)
    assert 2 == pairing.unclaimed
    pairing.feed(frame(2) + PLAIN)
    assert (frame(2) + PLAIN, [([101, 102], False)]) == taken(pairing)
    assert (0, []) == (pairing.unclaimed, pairing.discarded)


def test_a_frame_waits_for_its_handles_and_what_is_behind_it_too() -> None:
    pairing = Pairing()
    pairing.feed(PLAIN + frame(2) + PLAIN)
    assert (PLAIN, []) == taken(pairing)
    assert pairing.awaits
    pairing.bring(1, 101)
    assert (b"", []) == taken(pairing)
    pairing.bring(2, 102)
    assert (frame(2) + PLAIN, [([101, 102], False)]) == taken(pairing)


def test_its_body_need_not_be_there() -> None:
    pairing = Pairing()
    whole = frame(1, body=b"\xc4\x64" + bytes(100))
    pairing.bring(1, 101)
    pairing.feed(whole[:20])
    assert (whole[:20], [([101], False)]) == taken(pairing)
    pairing.feed(whole[20:] + PLAIN)
    assert (whole[20:] + PLAIN, []) == taken(pairing)


def test_what_is_given_up_is_lost_and_the_next_one_is_not() -> None:
    pairing = Pairing()
    pairing.feed(frame(2) + frame(1))
    pairing.bring(2, 102)
    pairing.give_up()
    assert pairing.awaits  # the next one
    assert (frame(2), [([102], True)]) == taken(pairing)
    pairing.bring(1, 101)
    assert [101] == pairing.discarded
    pairing.bring(3, 103)
    assert (frame(1), [([103], False)]) == taken(pairing)


def test_the_end_of_the_lane() -> None:
    pairing = Pairing()
    pairing.feed(frame(1) + frame(2))
    pairing.bring(2, 102)
    pairing.end()
    assert (frame(1) + frame(2), [([], True), ([102], True)]) == taken(pairing)
    pairing.bring(4, 104)
    pairing.feed(frame(1))
    assert [104] == pairing.discarded
    assert (frame(1), [([], True)]) == taken(pairing)


@pytest.mark.parametrize("number", [1, 2, 1027, 2**70])
def test_numbers_that_are_nobodys(number: int) -> None:
    """Twice the same, one that is over, one far ahead."""
    pairing = Pairing()
    pairing.bring(1, 101)
    pairing.feed(frame(1))
    pairing.take()
    pairing.bring(2, 102)
    pairing.bring(number, 200)
    assert [200] == pairing.discarded


def test_frames_without_the_flag_have_no_handles_here() -> None:
    """What becomes of them says who counts descriptors."""
    pairing = Pairing()
    pairing.bring(1, 101)
    pairing.feed(frame(1, flags=0) + frame(1))
    assert (frame(1, flags=0) + frame(1), [([101], False)]) == taken(pairing)


def test_more_than_can_be_is_not_waited_for() -> None:
    pairing = Pairing()
    pairing.feed(frame(255))
    assert (frame(255), []) == taken(pairing)


def test_behind_what_is_no_frame_all_is_given_on() -> None:
    pairing = Pairing()
    pairing.feed(PLAIN + b"GET / HTTP/1.1\r\n\r\n")
    pairing.feed(frame(1))
    assert (PLAIN + b"GET / HTTP/1.1\r\n\r\n" + frame(1), []) == taken(pairing)


def test_the_end_in_the_middle_of_a_header() -> None:
    pairing = Pairing()
    pairing.feed(PLAIN + PLAIN[:5])
    assert (PLAIN, []) == taken(pairing)
    assert PLAIN[:5] == pairing.take_rest()


def test_all_that_is_here_can_be_had_at_the_end() -> None:
    pairing = Pairing()
    pairing.bring(1, 101)
    pairing.bring(1, 102)
    pairing.bring(3, 103)
    pairing.feed(frame(1))
    assert [101, 102, 103] == sorted(pairing.take_all())
    assert [] == pairing.take_all()


@given(
    counts=st.lists(st.integers(0, 3), max_size=6),
    cuts=st.lists(st.integers(1, 40), max_size=30),
    order=st.randoms(use_true_random=False),
)
def test_in_whatever_order_and_pieces(
    counts: Sequence[int], cuts: Sequence[int], order: random.Random
) -> None:
    """Bytes and groups come out as if they had been beside each other from the beginning."""
    stream = b"".join(frame(count) if count else PLAIN for count in counts)
    pieces, rest = [], stream
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    steps: list[bytes | int] = [*pieces, rest]
    for number in range(1, sum(counts) + 1):
        steps.insert(order.randint(0, len(steps)), number)
    pairing, data = Pairing(), b""
    groups: Groups = []
    for step in steps:
        if isinstance(step, int):
            pairing.bring(step, 100 + step)
        else:
            pairing.feed(step)
        more, found = pairing.take()
        data, groups = data + more, groups + found
    numbers = iter(range(101, 100 + sum(counts) + 1))
    assert stream == data
    assert [([next(numbers) for _ in range(n)], False) for n in counts if n] == groups
    assert ([], 0) == (pairing.discarded, pairing.unclaimed)


# ---- lines --------------------------------------------------------------------------------------


def test_a_line_with_a_handle() -> None:
    line = handle_line(7, HandleKind.TCP_SOCKET)
    assert b'{"cmd":"NODE_HANDLE","type":"net.Socket","msg":{"handle":7}}\n' == line
    assert 7 == read_line(line)


def test_datagrams_have_a_type_more() -> None:
    assert b'"dgramType":"udp4"' in handle_line(1, HandleKind.UDP_SOCKET)
    assert b'"dgramType":"udp6"' in handle_line(1, HandleKind.UDP_SOCKET, is_ipv6=True)


def test_what_would_end_node_has_no_line() -> None:
    for kind in set(HandleKind) - KINDS:
        with pytest.raises(KeyError):
            handle_line(1, kind)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (ACK, "ack"),
        (NACK, "nack"),
        (b"5", "other"),
        (b'"NODE_HANDLE"', "other"),
        (b'{"cmd":"hello"}', "other"),
        (b'{"cmd":5}', "other"),
        (b'{"cmd":["NODE_HANDLE_ACK"]}', "other"),
        (b'{"cmd":"NODE_HANDLE"}', 0),
        (b'{"cmd":"NODE_HANDLE","msg":5}', 0),
        (b'{"cmd":"NODE_HANDLE","msg":{}}', 0),
        (b'{"cmd":"NODE_HANDLE","msg":{"handle":-1}}', 0),
        (b'{"cmd":"NODE_HANDLE","msg":{"handle":true}}', 0),
        (b'{"cmd":"NODE_HANDLE","msg":{"handle":1.0}}', 0),
        (b'{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"handle":9,"more":1}}', 9),
    ],
)
def test_what_lines_say(line: bytes, said: object) -> None:
    assert said == read_line(line)


@pytest.mark.parametrize("line", [b"", b"{", b"\xff", b"[" * 60_000, b"1" * 60_000])
def test_what_is_no_line(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        read_line(line)
