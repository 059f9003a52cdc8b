"""The last lines of a text without an end."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import pytest

from actorcluster._worker.lastlines import BYTES, LINE_BYTES, LINES, LastLines


def lines_of(*pieces: bytes) -> LastLines:
    last = LastLines()
    for piece in pieces:
        last.feed(piece)
    return last


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", ()),
        (b"a", ("a",)),
        (b"a\n", ("a",)),
        (b"\n", ("",)),
        (b"a\n\nb", ("a", "", "b")),
        (b"a\r\n", ("a\r",)),
        (b"\xc3\xbc\xff\x00\x1b[2J\n", ("ü\\xff\x00\x1b[2J",)),
        (b"\xc3\n", ("\\xc3",)),
    ],
)
def test_what_is_kept(text: bytes, expected: tuple[str, ...]) -> None:
    assert expected == lines_of(text).lines()
    assert expected == lines_of(*(text[n : n + 1] for n in range(len(text)))).lines()
    assert 0 == lines_of(text).dropped


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_no_more_than_fifty_lines(end: bytes) -> None:
    text = b"\n".join(b"%d" % n for n in range(120)) + end
    last = lines_of(text)
    assert tuple(map(str, range(70, 120))) == last.lines()
    assert 70 == last.dropped


def test_no_more_than_so_many_bytes() -> None:
    last = lines_of(*(b"%d" % n + b"x" * 999 + b"\n" for n in range(10, 60)))
    kept = last.lines()
    assert BYTES // 1001 == len(kept)
    assert (True, "59") == (sum(map(len, kept)) <= BYTES, kept[-1][:2])
    assert 50 - len(kept) == last.dropped


def test_a_long_line_is_cut_and_pushes_nobody_out() -> None:
    last = lines_of(b"before\n", b"y" * 100_000, b"z\nafter\n")
    more = 100_001 - LINE_BYTES
    assert ("before", f"{'y' * LINE_BYTES} ... {more} bytes more", "after") == last.lines()
    assert 0 == last.dropped


def test_a_character_is_not_cut_in_two() -> None:
    (line,) = lines_of("€".encode() * LINE_BYTES).lines()
    whole = LINE_BYTES // 3
    assert f"{'€' * whole} ... {3 * LINE_BYTES - LINE_BYTES} bytes more" == line


@hypothesis.given(st.lists(st.binary(max_size=300) | st.just(b"line\n" * 70), max_size=12))
def test_how_it_is_cut_does_not_matter(pieces: list[bytes]) -> None:
    text = b"".join(pieces)
    expected = text.split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    last = lines_of(*pieces)
    whole = lines_of(text)
    assert (whole.lines(), whole.dropped) == (last.lines(), last.dropped)
    assert len(expected) == len(last.lines()) + last.dropped
    shown = [line.decode("utf-8", "backslashreplace") for line in expected[last.dropped :]]
    assert shown == [*last.lines()]
    assert LINES >= len(last.lines())
