"""What Node gets wrong, by Node's own word: so the tests of test_better.py are about something."""

from __future__ import annotations

import concurrent.futures
import functools
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.node_parity.rows import ROWS
from tests.node_parity.scene import PATIENCE
from tests.require import require

Facts = dict[str, Any]

#: By script: whether what Node 20 says it saw is the fault; and where later ones have none.
SHOWN: Final[dict[str, Callable[[Facts], bool]]] = {
    "x01.js": lambda facts: facts["hung"] == 1,
    "x02.js": lambda facts: (facts["hung"], facts["closed"], facts["refused"]) == (1, 3, True),
    "x03.js": lambda facts: facts["declined"] > 100,
    "x04.js": lambda facts: facts["uncaught"] == "SyntaxError",
    "x05.js": lambda facts: facts["uncaught"] == "Error",
    "x06.js": lambda facts: facts["code"] == 1,
    "x07.js": lambda facts: facts["gone"] < facts["of"],
    "x08.js": lambda facts: facts["heard"] == "nothing",
    "x09.js": lambda facts: facts["taken"],
    "x10.js": lambda facts: facts["seen"] == ["error", "disconnect"],
    "x11.js": lambda facts: facts["data"] == "",
    "x12.js": lambda facts: not facts["stopped"],
    "x13.js": lambda facts: facts["served"] == "",
    "x14.js": lambda facts: facts["written"] == ["handle 0"],
    "x15.js": lambda facts: facts["held"] > facts["backlog"],
    "x16.js": lambda facts: not facts["arrived"],
    "x17.js": lambda facts: facts["read"] == "LATE",
    "x18.js": lambda facts: facts["kept"] == facts["of"] // 2,
}

#: The first version that has it right.
CURED: Final = {"x05.js": 25}

FAULTS: Final = Path(__file__).with_name("faults")


@functools.cache
def version() -> int:
    done = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    return int(done.stdout.removeprefix("v").partition(".")[0])


def play(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["node", str(FAULTS / script)],
        stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip


@functools.cache
def played() -> dict[str, subprocess.CompletedProcess[str]]:
    """What came of all of them: they mostly wait, so two are played at a time."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as threads:
        return dict(zip(SHOWN, threads.map(play, SHOWN), strict=True))


@require("node")
@pytest.mark.parametrize("script", SHOWN)
def test_node_shows_it(script: str) -> None:
    done = played()[script]
    assert 0 == done.returncode
    is_cured = script in CURED and version() >= CURED[script]
    assert SHOWN[script](json.loads(done.stdout)) is not is_cured, done.stdout


def test_every_script_is_played() -> None:
    scripts = {path.name for path in FAULTS.glob("x*.js")}
    assert scripts == set(SHOWN)
    assert scripts == {row.fault for row in ROWS if row.fault}
