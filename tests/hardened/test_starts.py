"""Both start methods make the same worker, but for what docs/reference/start-methods.md lists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.hardened import starts
from tests.program import running
from tests.require import require

PAGE = Path(__file__).parents[2] / "docs/reference/start-methods.md"


def documented(title: str) -> set[str]:
    """The names in the first column of the table below a title of the page."""
    section = re.split(r"(?m)^## ", PAGE.read_text().partition(f"## {title}\n")[2])[0]
    return set(re.findall(r"(?m)^\| `(.+?)` \|", section))


ALWAYS = documented("Differences")
SCRIPTS = documented("Differences of scripts")
LATE = documented("What the primary changed late")


async def differences(*flags: str, form: str, streams: str, late: bool = False) -> set[str]:
    """The names of the facts in which an executed worker differs from a forked one."""
    command = (*flags, "-m", "tests.hardened.starts", form, streams, "late" if late else "")
    async with running(*command, env={"PYTHONUNBUFFERED": ""}) as program:
        assert 0 == await program.ends(), program.text
    told = json.loads(program.text)
    assert list(starts.METHODS) == list(told)
    forked, executed = told.values()
    assert starts.FACTS.keys() == forked.keys() == executed.keys()
    found = {name for name in forked if forked[name] != executed[name]}
    for name in sorted(found - ALWAYS - SCRIPTS - LATE):  # else the set alone says too little
        print(f"{name}\n  forked: {forked[name]}\n  executed: {executed[name]}")
    return found


def test_the_page_names_facts() -> None:
    assert [True] * 3 == [bool(names) for names in (ALWAYS, SCRIPTS, LATE)]
    assert ALWAYS | SCRIPTS | LATE <= starts.FACTS.keys()


@pytest.mark.parametrize("streams", ["inherited", "pipes"])
async def test_a_function(streams: str) -> None:
    assert await differences(form="function", streams=streams) == ALWAYS


@require("pty")
async def test_a_function_with_a_terminal_and_flags() -> None:
    flags = ("-X", "utf8=0", "-b", "-W", "error::UserWarning")
    assert await differences(*flags, form="function", streams="terminal") == ALWAYS


async def test_a_script_without_buffers() -> None:
    assert await differences("-u", form="script", streams="pipes") == ALWAYS | SCRIPTS


async def test_what_the_primary_changed_late() -> None:
    found = await differences(form="function", streams="inherited", late=True)
    # A machine with one processor leaves nothing to choose.
    assert found == (ALWAYS | LATE) - {"processors"}
