"""Where a process is: a stack as faulthandler writes it, read.

Runs in: primary
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, final

import attrs

__all__ = ["Look", "Stack", "read_stack"]

_THREAD: Final = re.compile(r"(?:Current thread|Thread) 0x[0-9a-f]+.*:")
_FRAME: Final = re.compile(r'  File "(.*)", line (\d+) in (.*)')
#: How it writes what is not ASCII.
_ESCAPE: Final = re.compile(r"\\x([0-9a-f]{2})|\\u([0-9a-f]{4})|\\U([0-9a-f]{8})")
#: Every thread but the main one begins here.
_BOOTSTRAP: Final = ("_bootstrap", "_bootstrap_inner")


@final
@attrs.frozen(kw_only=True)
class Stack:
    """Where each thread of a process is.

    Attributes:
        file: of the innermost call of Python in the main thread.
        line: there.
        function: there.
        text: all threads, most recent call first.
    """

    file: str
    line: int
    function: str
    text: str


@final
@attrs.frozen(kw_only=True)
class Look:
    """What was found when somebody looked into a process that did not answer.

    Attributes:
        stack: where it is, or None.
        no_stack: why there is none, in words; else empty.
        stopped: it is stopped, by SIGSTOP or a debugger.
    """

    stack: Stack | None = None
    no_stack: str = ""
    stopped: bool = False


def read_stack(text: str) -> Stack | None:
    """Read what faulthandler has written of all threads; None if the main thread is missing."""
    # It names the thread that took the signal, which need not be the main one. That one is the
    # oldest, so it comes last, and did not begin as threads do.
    for frames in reversed([*map(_frames, _threads(text))]):
        if frames and frames[-1][2] not in _BOOTSTRAP:
            file, line, function = frames[0]
            return Stack(file=file, line=line, function=function, text=text)
    return None


def _threads(text: str) -> Iterator[list[str]]:
    """Give the lines of each thread."""
    lines: list[str] = []
    for line in text.splitlines():
        if _THREAD.fullmatch(line):
            yield lines
            lines = []
        else:
            lines.append(line)
    yield lines


def _frames(lines: list[str]) -> list[tuple[str, int, str]]:
    found = (_FRAME.fullmatch(line) for line in lines)
    return [(_plain(one[1]), int(one[2]), _plain(one[3])) for one in found if one]


def _plain(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1] or found[2] or found[3], 16)), text)
