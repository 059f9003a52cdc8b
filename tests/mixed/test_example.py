"""The example runs as its reader would run it; and where nothing but Python is installed."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from tests.mixed.cluster import PLACE, languages
from tests.program import running

if TYPE_CHECKING:
    from languages import Language

_ROW = r"(\w+) +(\d+|-)  (.+) \(process (\d+)\)"


async def test_it_says_who_served_what(built: tuple[list[Language], Path]) -> None:
    """And who is killed comes back."""
    those, place = built
    async with running(str(PLACE / "mixed.py"), "0", "60", str(place)) as program:
        await program.says("serving http://127.0.0.1:")
        mail = [one.name for one in those if one.has_mail]
        await program.says(f"{len(mail)} answer a message for all: {', '.join(mail)}")
        await program.says("60 requests were served by")
        rows = [await program.says(_ROW) for _ in those]
        assert [one.name for one in those] == [row[1] for row in rows]
        assert 60 == sum(int(row[2]) for row in rows if row[2] != "-")
        await program.says("Ctrl-C ends it")
        os.kill(int(rows[0][4]), signal.SIGKILL)
        await program.says(f"{those[0].name}: SIGKILL, again in")
        program.interrupt()
        assert 0 == await program.ends(), program.text
        assert "Traceback" not in program.text


async def test_what_is_not_installed_is_left_out(tmp_path: Path) -> None:
    nothing = {"PATH": str(tmp_path)}
    async with running(str(PLACE / "mixed.py"), "0", "10", str(tmp_path), env=nothing) as program:
        await program.says("Ctrl-C ends it")
        program.interrupt()
        assert 0 == await program.ends(), program.text
        left_out = re.findall(r"left out: (\w+), for (\S+) is not installed", program.text)
    assert [(one.name, one.needs[0]) for one in languages() if one.needs] == left_out
    assert "2 answer a message for all: python, asyncio" in program.text
