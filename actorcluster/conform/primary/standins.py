"""Which program is the stand-in: the one in C where that can be compiled, or the one in Python.

Runs in: both

A hostile worker is started for each life. An interpreter takes ten times as long to begin as a
small program does, and longer than all else that a life costs, so what is compiled in a quarter of
a second has soon paid for itself. Both say and do the same; nobody needs a compiler.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

from . import standin

__all__ = ["SOURCE", "compiled", "stand_in"]

SOURCE: Final = Path(__file__).with_name("standin.c")

#: A static program begins still sooner, but not every system has what it takes to link one.
_LINKED: Final = (("-static",), ())
#: Seconds that a compiler may take.
_PATIENCE: Final = 60.0
#: How either of them ends that cannot reach the kit.
_NO_KIT: Final = 1


async def stand_in(place: str) -> Sequence[str]:
    """Give the command line of a stand-in, without the path of the kit's socket.

    Args:
        place: a directory of the kit's own, where a program may be written.
    """
    program = await compiled(place)
    return (program,) if program else (sys.executable, "-I", "-S", standin.__file__)


async def compiled(place: str) -> str | None:
    """Compile the one in C with ``$CC``, or ``cc``; None where that is not possible.

    It is not, either, if the program does not run: in a directory that is mounted without the right
    to, for example.
    """
    program = os.path.join(place, "standin")
    try:
        compiler = shlex.split(os.environ.get("CC", "cc"))
    except ValueError:
        return None
    with trio.move_on_after(_PATIENCE):
        for linked in _LINKED:
            made = await _status([*compiler, "-O1", *linked, "-o", program, str(SOURCE)])
            if made == 0 and await _status([program, os.path.join(place, "nowhere")]) == _NO_KIT:
                return program
    return None


async def _status(command: Sequence[str]) -> int | None:
    """Run a program that says nothing; None if there is none."""
    try:
        done = await trio.run_process(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return None
    return done.returncode
