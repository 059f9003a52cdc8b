"""What the demo shows, as text: the table, the lines, and where escape codes may be."""

from __future__ import annotations

import io
import os

import pytest

from actorcluster.cli.screen import Row, Screen, table

ROWS = [
    Row(worker="web-1", pid=4711, state="listening", served=12),
    Row(worker="web-2", state="none"),
    Row(worker="web-3", pid=123456, incarnation=2, state="dead", served=7, restarts=1),
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def eighty_by_24(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")


def test_table_has_a_line_for_each_worker() -> None:
    assert [
        "worker      pid  incarnation  state          served  restarts",
        "web-1      4711            1  listening          12         0",
        "web-2                      1  none                0         0",
        "web-3    123456            2  dead                7         1",
    ] == table(ROWS, width=79)


def test_table_colors_states_and_nothing_else() -> None:
    plain, colored = table(ROWS, width=79), table(ROWS, width=79, color=True)
    assert plain[0] == colored[0]
    assert "\x1b[32mlistening   \x1b[0m" in colored[1]
    assert "\x1b[33mnone        \x1b[0m" in colored[2]
    assert "\x1b[31mdead        \x1b[0m" in colored[3]
    assert plain[1] == colored[1].replace("\x1b[32m", "").replace("\x1b[0m", "")


def test_table_is_cut_to_the_width() -> None:
    """Without colours: half an escape code would colour what comes after."""
    assert [line[:30] for line in table(ROWS, width=79)] == table(ROWS, width=30, color=True)


@pytest.mark.parametrize(
    ("stream", "environ", "live", "color"),
    [
        (io.StringIO(), {"TERM": "xterm"}, False, False),
        (Terminal(), {"TERM": "xterm"}, True, True),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": ""}, True, True),
        (Terminal(), {"TERM": "dumb"}, False, False),
        (Terminal(), {}, False, False),
    ],
    ids=["file", "terminal", "no color", "empty NO_COLOR", "dumb", "no TERM"],
)
def test_screen_suits_the_stream(
    stream: io.StringIO, environ: dict[str, str], live: bool, color: bool
) -> None:
    screen = Screen.of(stream, environ)
    assert (live, color) == (screen.live, screen.color)


def test_elsewhere_events_are_lines_and_nothing_is_drawn() -> None:
    stream = io.StringIO()
    screen = Screen(stream)
    screen.event("one")
    screen.draw(ROWS, "summary")
    screen.event("two")
    screen.end("last")
    assert "one\ntwo\nlast\n" == stream.getvalue()


def test_on_a_terminal_events_stand_above_the_table() -> None:
    stream = Terminal()
    screen = Screen(stream, live=True)
    screen.draw(ROWS[:1], "before")
    screen.event("something")
    screen.draw(ROWS[:1], "after")
    screen.end("last")
    assert ["something", "", *table(ROWS[:1], width=79), "after", "last"] == shown(
        stream.getvalue()
    )


def test_a_terminal_too_low_for_the_table_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINES", "6")
    stream = Terminal()
    screen = Screen(stream, live=True)
    screen.draw(ROWS, "summary")
    screen.event("something")
    assert ["something"] == shown(stream.getvalue())


def test_for_stdout_is_the_stdout_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setitem(os.environ, "TERM", "xterm")
    assert stream is Screen.for_stdout().stream


def shown(text: str) -> list[str]:
    """What a terminal shows in the end, without colours; it knows what `Screen` writes."""
    lines, row, column = [""], 0, 0
    for part in split(text):
        if part == "\r":
            column = 0
        elif part == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif part.startswith("\x1b["):
            if part.endswith("A"):
                row -= int(part[2:-1])
                assert row >= 0
            elif part.endswith("K"):
                lines[row] = lines[row][:column]
            else:
                assert part.endswith("m"), part
        else:
            lines[row] = lines[row][:column] + part + lines[row][column + len(part) :]
            column += len(part)
    return lines[:-1] if lines[-1] == "" else lines


def split(text: str) -> list[str]:
    """Tell control characters, escape codes and text apart."""
    import re

    return re.findall(r"\r|\n|\x1b\[[0-9]*[A-Za-z]|[^\r\n\x1b]+", text)
