"""Workers that fill their primary with descriptors: one after another, and all at once."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.hostile.hoard import LIMIT
from tests.hostile.hoarder import HANDLES, MESSAGES, TO

#: Handles that wait for all workers together, and those that one of them may have.
BUDGET: Final = LIMIT * 3 // 8
ALONE: Final = LIMIT // 4
#: What is open in a primary that has some workers, and waits for nothing.
FEW: Final = 50

KINDS: Final = (*TO, "half")


@functools.cache
def _played() -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.hoard"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=300,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("kind", [*KINDS, "all of them"])
def test_the_primary_has_room_for_what_it_is_for(kind: str) -> None:
    """It forks, opens files and receives a handle of somebody else; in the end all is closed."""
    facts = _played()[(*KINDS, "all of them").index(kind)]
    assert {"answer": "hi", "given": 1} == {key: facts[key] for key in ("answer", "given")}
    assert facts["open"] < (BUDGET if kind == "all of them" else ALONE) + FEW
    assert {0} == set(facts["after"])
    assert [0, 0] == facts["left"]


@pytest.mark.parametrize("kind", ["tell", "call", "unfinished", "to_late"])
def test_what_waits_is_bounded_and_counted(kind: str) -> None:
    share = _played()[KINDS.index(kind)]["shares"][kind]
    held = ALONE - ALONE % HANDLES
    assert {"held": held, "refused": MESSAGES * HANDLES - held} == {
        key: share[key] for key in ("held", "refused")
    }
    assert (held if kind in ("tell", "call") else 0) == share["waiting"]


def test_what_is_passed_on_counts_for_its_receiver() -> None:
    """It has read nothing, or says that nothing arrived: the sender is not held up by that."""
    facts = _played()[KINDS.index("to_deaf")]
    assert ALONE - ALONE % HANDLES == facts["deaf"]["held"]
    assert 0 == facts["shares"]["to_deaf"]["held"]
    lost = facts["deaf"]["refused"] + facts["shares"]["to_deaf"]["refused"]
    assert MESSAGES * HANDLES == facts["deaf"]["held"] + lost


def test_together_they_have_no_more_than_all_may_have() -> None:
    shares = _played()[-1]["shares"].values()
    assert BUDGET - 2 * HANDLES < sum(share["held"] for share in shares) <= BUDGET
    assert 0 < sum(share["held"] > 0 for share in shares)
