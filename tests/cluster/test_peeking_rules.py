"""When enough has been seen of a connection, and what becomes of those that say too little."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorcluster import Peek, sticky
from actorcluster._cluster.balance import address_key
from actorcluster._cluster.peeking import FORWARDED, Peeking, forwarded_for, head_of

# ---- the head of one ------------------------------------------------------------------------

LINES = Peek(sticky, until=b"\r\n", limit=10)  # type: ignore[arg-type]  # never called
SIZED = Peek(sticky, until=lambda there: len(there) > there[0], limit=10)  # type: ignore[arg-type]  # never called


@given(st.binary(max_size=30).map(lambda said: said.replace(b"\x07", b"\r\n")), st.data())
def test_a_head_is_the_same_however_it_comes(said: bytes, data: Any) -> None:
    """In how many pieces ever: the first decision is the same, and nothing follows it."""
    cuts = sorted(data.draw(st.sets(st.integers(0, len(said)))) | {len(said)})
    looks = [head_of(LINES, said[: min(cut, 10)], ended=cut == len(said)) for cut in cuts]
    first = next(head for head in looks if head is not None)
    line, end, _ = said[:10].partition(b"\r\n")
    assert line + end == first
    for cut, head in zip(cuts, looks, strict=True):
        is_decided = b"\r\n" in said[: min(cut, 10)] or cut >= 10 or cut == len(said)
        assert is_decided == (head is not None)


def test_what_ends_a_head() -> None:
    for peek, there, ended, expected in [
        (LINES, b"", False, None),
        (LINES, b"", True, b""),
        (LINES, b"a\r", False, None),
        (LINES, b"a\r", True, b"a\r"),
        (LINES, b"a\r\nb\r\n", False, b"a\r\n"),
        (LINES, b"123456789", False, None),
        (LINES, b"1234567890", False, b"1234567890"),
        (SIZED, b"", False, None),
        (SIZED, b"\x02a", False, None),
        (SIZED, b"\x02ab", False, b"\x02ab"),
        (SIZED, b"\x02abc", False, b"\x02abc"),
        (SIZED, b"\x99bcdefghij", False, b"\x99bcdefghij"),
    ]:
        assert expected == head_of(peek, there, ended=ended), (there, ended)


def test_a_head_of_http_is_enough_once_it_names_the_client() -> None:
    get = b"GET / HTTP/1.1\r\n"
    for there, expected in [
        (b"G", False),
        (get, False),
        (get + b"X-Forwarded-For: 10.0.0.1", False),  # it may go on: 10.0.0.123
        (get + b"x-forwarded-for:10.0.0.1 ,", True),
        (get + b"X-Forwarded-For: 10.0.0.1\r\nCookie: ", True),
        (get + b"Host: a\r\n\r", False),
        (get + b"Host: a\r\n\r\n", True),
        (b"GET / HTTP/1.1\nHost: a\n\n", True),
        (b"\x16\x03\x01\x02\x00\x01", True),  # TLS
        (b"get / http", True),
        (b"GET\r\n", True),
    ]:
        assert expected == (head_of(FORWARDED, there, ended=False) is not None), there


def test_whom_a_proxy_speaks_for() -> None:
    for value, expected in {
        b"10.0.0.1": "10.0.0.1",
        b" \t10.0.0.1 , 10.0.0.2": "10.0.0.1",
        b"10.0.0.1:4711": "10.0.0.1",
        b"::ffff:10.0.0.1": "10.0.0.1",
        b"2001:db8::1": "2001:db8::1",
        b"[2001:db8::1]:4711": "2001:db8::1",
        b"unknown, 10.0.0.1": None,
        b"\xff\xfe": None,
        b"": None,
    }.items():
        head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For:" + value + b"\r\nX-Last: 1\r\n\r\n"
        assert (expected and address_key(expected)) == forwarded_for(head), value
    # Not in a body, nor in another header, nor where nobody speaks HTTP.
    assert forwarded_for(b"POST / HTTP/1.1\r\n\r\nX-Forwarded-For: 10.0.0.1\r\n") is None
    assert forwarded_for(b"GET / HTTP/1.1\r\nA: X-Forwarded-For: 10.0.0.1\r\n\r\n") is None
    assert forwarded_for(b"\x16\nX-Forwarded-For: 10.0.0.1\r\n") is None


# ---- many -----------------------------------------------------------------------------------

SAYS = st.sampled_from([b"", b"a", b"a\r\n", b"1234567890"])
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("new"), SAYS, st.booleans()),
        st.tuples(st.integers(0, 30), SAYS, st.booleans()),
        st.tuples(st.just("wait"), st.floats(0, 2), st.none()),
        st.tuples(st.just("give up"), st.none(), st.none()),
    ),
    max_size=60,
)


@given(EVENTS, st.integers(1, 5))
def test_everyone_is_decided_once_and_in_time(events: list[Any], most: int) -> None:
    peeking: Peeking[int] = Peeking(
        lambda there, ended: head_of(LINES, there, ended=ended), timeout=1.0, most=most
    )
    now, count, given_up = 0.0, 0, 0
    began: dict[int, float] = {}
    for event, what, ended in events:
        oldest = next(iter(began), None)
        if event == "wait":
            now += what
            decided = peeking.late(now)
            assert [one for one, at in began.items() if at + 1.0 <= now] == [d[0] for d in decided]
            given_up += len(decided)
        elif event == "give up":
            decided = peeking.give_up()
            assert list(began) == [one for one, _ in decided]
            given_up += len(decided)
        else:
            if event == "new":
                count += 1
            elif event not in began:
                continue
            one = count if event == "new" else event
            decided = peeking.look(one, what, now, ended=ended)
            head = head_of(LINES, what, ended=ended)
            began.setdefault(one, now)
            if head is not None:
                assert [(one, head)] == decided
            elif len(began) > most:
                assert [(oldest, b"")] == decided
                given_up += 1
            else:
                assert [] == decided
        for one, _ in decided:
            del began[one]  # fails if it was decided before
        assert set(began) == {one for one in range(count + 1) if one in peeking}
        assert (len(began), given_up) == (len(peeking), peeking.fallbacks)
        assert min(began.values(), default=math.inf) + 1.0 == peeking.deadline


# ---- arguments ------------------------------------------------------------------------------


async def coroutine(*_: object) -> None:
    raise AssertionError


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        ({"function": 7}, TypeError, "function must be a plain function, not 7"),
        ({"function": coroutine}, TypeError, "function must be a plain function"),
        ({"until": "\r\n"}, TypeError, r"until must be bytes or a plain function, not '\\r\\n'"),
        ({"until": b""}, ValueError, "until must not be empty"),
        ({"until": coroutine}, TypeError, "until must be a plain function"),
        ({"limit": 0}, ValueError, "limit must be an int of at least 1, not 0"),
        ({"limit": 1.5}, TypeError, "limit must be an int"),
        ({"limit": 32_769}, ValueError, "limit must be a number from 1 to 32768"),
        ({"timeout": 0}, ValueError, "timeout must be a finite number of seconds above 0"),
        ({"timeout": math.inf}, ValueError, "timeout must be a finite number"),
        ({"timeout": "1"}, TypeError, "timeout must be a finite number"),
    ],
)
def test_the_arguments_are_checked(wrong: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Peek(**{"function": sticky, **wrong})
