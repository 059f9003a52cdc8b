"""Lines of JSON: cut, bounded, matched with descriptors; written so that Node can read them."""

from __future__ import annotations

import datetime
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorcluster.adapters.node_lines import LOST, Lines, encode_line, is_internal
from actorcluster.errors import RemoteProtocolError

HANDLE = b'{"cmd":"NODE_HANDLE","type":"net.Socket","msg":1}\n'


def fed(*reads: bytes | tuple[Any, ...], longest: int = 1000) -> list[Any]:
    """What comes of some reads: values, or (value, descriptor) where there is one to come."""
    lines = Lines(longest)
    found: list[Any] = []
    for read in reads:
        arguments = read if isinstance(read, tuple) else (read,)
        found += [
            value if fd is None else (value["msg"], fd) for value, fd in lines.feed(*arguments)
        ]
    assert [] == lines.take_fds()
    return found


def refused(*reads: bytes | tuple[Any, ...], longest: int = 1000) -> str:
    """What is said of reads that are wrong."""
    lines = Lines(longest)
    with pytest.raises(RemoteProtocolError) as caught:
        for read in reads:
            list(lines.feed(*(read if isinstance(read, tuple) else (read,))))
    return str(caught.value)


def test_lines_are_cut_anywhere() -> None:
    text = '{"a":"ü"}\n[1,2]\n"x"\n'.encode()
    for at in range(len(text)):
        assert [{"a": "ü"}, [1, 2], "x"] == fed(text[:at], text[at:])
    assert [{"a": "ü"}, [1, 2], "x"] == fed(*(bytes([byte]) for byte in text))


def test_a_descriptor_belongs_to_the_line_that_says_so() -> None:
    assert [(1, 7)] == fed((HANDLE, [7]))
    assert [0, (1, 7)] == fed((b"0\n" + HANDLE, [7]))
    assert [(1, 7), (1, 8), 5] == fed((HANDLE[:9], [7]), (HANDLE[9:] + HANDLE, [8]), b"5\n")


def test_a_descriptor_that_the_kernel_dropped_is_lost_to_its_line() -> None:
    assert [(1, LOST), (1, 8)] == fed((HANDLE, [], True), (HANDLE, [8]))


def test_more_than_one_descriptor_is_refused() -> None:
    assert "[NODE-3] more than one descriptor at once" == refused((HANDLE, [7, 8]))
    assert "[NODE-3] more than one descriptor at once" == refused((HANDLE, [7], True))
    text = "[NODE-3] a descriptor came with a line that is no NODE_HANDLE"
    assert text == refused((b"5\n", [7]))
    assert text == refused((b"5", [7]), (b"5", [8]))


def test_a_descriptor_of_a_refused_line_can_be_closed() -> None:
    lines = Lines(100)
    with pytest.raises(RemoteProtocolError):
        list(lines.feed(b"{\n", [7]))
    assert [7] == lines.take_fds()


def test_a_line_is_bounded() -> None:
    assert [0] == fed(b" " * 9 + b"0\n", longest=10)
    assert "[NODE-1] a line of more than 10 bytes" == refused(b" " * 11, longest=10)
    assert "[NODE-1] a line of more than 10 bytes" == refused(b"1" * 6, b"1" * 6, longest=10)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"secret", "a line of 6 bytes that is no JSON: Expecting value at 0"),
        (b"", "a line of 0 bytes that is no JSON: Expecting value at 0"),
        (b'"\xff"', "a line of 3 bytes that is no UTF-8 at byte 1"),
        (b"NaN", "a line of 3 bytes that is no JSON: NaN is no JSON"),
        (b"[" * 100_000, "a line that is nested too deeply"),
    ],
)
def test_what_is_no_json_is_refused_and_not_quoted(line: bytes, text: str) -> None:
    assert f"[NODE-1] {text}" == refused(line + b"\n", longest=10**6)


def test_half_of_a_surrogate_pair_is_replaced_as_node_does() -> None:
    said = {
        rb'"cut \ud83d"': "cut \ufffd",
        rb'"\uDE00\ud83d\ude00 \uD83D\uDE00\ud83d"': "\ufffd\U0001f600 \U0001f600\ufffd",
        rb'"\\ud83d \\\ud83d"': "\\ud83d \\\ufffd",  # only the second is an escape
        rb'{"\ud800":"\ud7ff"}': {"\ufffd": "\ud7ff"},
    }
    assert list(said.values()) == fed(*(line + b"\n" for line in said))


def test_numbers_are_what_they_were_in_javascript() -> None:
    assert [2**64 - 1, -(2**63)] == fed(b"18446744073709551615\n-9223372036854775808\n")
    found = fed(b"18446744073709551616\n" + b"9" * 400 + b"\n")
    assert [2.0**64, math.inf] == found
    assert [float, float] == list(map(type, found))


def test_what_is_for_the_runtime_alone() -> None:
    assert is_internal({"cmd": "NODE_X"})
    assert not is_internal({"cmd": "NODE_"})
    assert not is_internal({"cmd": 5})
    assert not is_internal("NODE_X")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=9) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@given(st.lists(JSON, max_size=3), st.integers(1, 50))
def test_what_is_written_is_read(values: list[Any], size: int) -> None:
    text = b"".join(map(encode_line, values))
    reads = [text[at : at + size] for at in range(0, len(text), size)]
    assert _as_json(values) == fed(*reads, longest=10**6)


def _as_json(value: Any) -> Any:
    """NaN and infinite numbers are null there."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return list(map(_as_json, value))
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    return value


def test_what_json_does_not_have_is_written_as_node_does() -> None:
    assert b'{"type":"Buffer","data":[0,255]}\n' == encode_line(b"\0\xff")
    zone = datetime.timezone(datetime.timedelta(hours=2))
    when = datetime.datetime(2024, 2, 29, 13, 5, 6, 789_123, tzinfo=zone)
    assert b'"2024-02-29T11:05:06.789Z"\n' == encode_line(when)
    with pytest.raises(TypeError, match="a set in the body cannot be sent to a Node program"):
        encode_line({"a": {1}})


@given(st.lists(st.tuples(st.binary(max_size=40), st.lists(st.integers(5, 9), max_size=2))))
def test_any_bytes_give_values_or_an_error_and_every_descriptor_once(
    reads: list[tuple[bytes, list[int]]],
) -> None:
    lines, given_in, out = Lines(60), [], []
    try:
        for data, fds in reads:
            given_in += fds
            for _, fd in lines.feed(data, fds):
                out += [] if fd in (None, LOST) else [fd]
    except RemoteProtocolError:
        pass  # and nothing else
    assert sorted(given_in) == sorted([*out, *lines.take_fds()])


@pytest.mark.parametrize("value", [{"a": "\ud800"}, ["\udfff"]])
def test_half_a_character_is_written_as_something(value: Any) -> None:
    json.loads(encode_line(value))


def test_what_json_has_no_word_for_becomes_null_wherever_it_is() -> None:
    value = {"a": [math.nan, 1, (math.inf, "x")], "b": {"c": -math.inf}, "d": 1.5}
    assert b'{"a":[null,1,[null,"x"]],"b":{"c":null},"d":1.5}\n' == encode_line(value)
