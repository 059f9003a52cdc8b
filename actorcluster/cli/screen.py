"""What the demo shows: a table that is drawn again and again, or one line per event.

Runs in: primary

On a terminal the table stands below the events and is drawn over itself; nothing of the
terminal's state is changed, so there is nothing to restore, however the program ends. Elsewhere
there is no table and no escape code. ``NO_COLOR`` takes the colours away and leaves the table.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Final, TextIO

import attrs

__all__ = ["Row", "Screen", "table"]

_UP: Final = "\x1b[{}A"
_CLEAR_LINE: Final = "\x1b[K"
_RESET: Final = "\x1b[0m"
_COLORS: Final = {"listening": "\x1b[32m", "dead": "\x1b[31m", "disconnected": "\x1b[31m"}
_OTHER_COLOR: Final = "\x1b[33m"


@attrs.frozen(kw_only=True)
class Row:
    """One worker, as the table shows it."""

    worker: str
    pid: int | None = None
    incarnation: int = 1
    state: str
    served: int = 0
    restarts: int = 0


_HEADINGS: Final = [field.name for field in attrs.fields(Row)]
_WORDS: Final = ("worker", "state")  # the other columns are numbers
_LEAST: Final = {"pid": 7, "state": 12, "served": 7}  # so that the columns stay where they are


def table(rows: Sequence[Row], *, width: int, color: bool = False) -> list[str]:
    """Lay out the table, a heading and a line for each row.

    Args:
        rows: the workers.
        width: no line is longer.
        color: colour the states, where the line need not be cut.
    """
    cells = [_HEADINGS, *([_cell(value) for value in attrs.astuple(row)] for row in rows)]
    widths = [
        max(_LEAST.get(column[0], 0), *map(len, column)) for column in zip(*cells, strict=True)
    ]
    lines = [[*map(_pad, _HEADINGS, line, widths)] for line in cells]
    if color and len("  ".join(lines[0])) <= width:
        state = _HEADINGS.index("state")
        for row, line in zip(rows, lines[1:], strict=True):
            line[state] = _COLORS.get(row.state, _OTHER_COLOR) + line[state] + _RESET
        return ["  ".join(line) for line in lines]
    return ["  ".join(line)[:width] for line in lines]


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def _pad(heading: str, text: str, width: int) -> str:
    return text.ljust(width) if heading in _WORDS else text.rjust(width)


@attrs.define(eq=False)
class Screen:
    """Where the demo's output goes.

    Attributes:
        stream: takes the text.
        live: it is a terminal, and the table is wanted.
        color: colours are wanted.
    """

    stream: TextIO
    live: bool = False
    color: bool = False
    _table: list[str] = attrs.Factory(list)

    @classmethod
    def of(cls, stream: TextIO, environ: Mapping[str, str]) -> Screen:
        """Choose by what the stream is, and by ``TERM`` and ``NO_COLOR``."""
        live = stream.isatty() and environ.get("TERM", "dumb") != "dumb"
        return cls(stream, live=live, color=live and not environ.get("NO_COLOR"))

    @classmethod
    def for_stdout(cls) -> Screen:
        """The screen of this process."""
        return cls.of(sys.stdout, os.environ)

    def event(self, text: str) -> None:
        """Show that something happened, above the table."""
        self._write(self._erase(), text, *self._table)

    def draw(self, rows: Sequence[Row], summary: str) -> None:
        """Show how things stand; nothing where there is no terminal, or not enough of it."""
        size = shutil.get_terminal_size()
        if self.live and size.lines > len(rows) + 3:
            width = size.columns - 1  # some terminals wrap a line as soon as it is full
            erase = self._erase()
            self._table = ["", *table(rows, width=width, color=self.color), summary[:width]]
            self._write(erase, *self._table)

    def end(self, text: str) -> None:
        """Show the last line, below the table as it stands."""
        self._write("\r" if self.live else "", text)  # over the ^C that the terminal shows

    def _erase(self) -> str:
        """Go back to where the table begins."""
        return "\r" + _UP.format(len(self._table)) if self._table else ""

    def _write(self, before: str, *lines: str) -> None:
        clear = _CLEAR_LINE if self.live else ""
        self.stream.write(before + "".join(f"{line}{clear}\n" for line in lines))
        self.stream.flush()
