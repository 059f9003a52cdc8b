"""Hostile workers: every fault in every state, against a real primary with an innocent worker."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from actorcluster.wire._generated import REQUIREMENTS, AbortCode
from tests.hostile.loads import FAULTS as COMMITTED
from tests.hostile.replay import VECTORS
from tests.hostile.table import FAULTS, STATES, TABLE, Absent, Breaks, Cell, Ends

Result = dict[str, Any]

PLAYED: Final = [cell for cell, outcome in TABLE.items() if not isinstance(outcome, Absent)]
MIB: Final = 1 << 20
#: Growth of the primary's memory at its peak.
MEMORY: Final = 32 * MIB
#: Seconds that an innocent worker's answer may take, while another is at its worst; it takes less
#: than one where nobody else uses the processor.
WAIT: Final = 30.0

#: Cells that share a primary, ...
CHUNK: Final = 40
#: ... and how many it may be of those that take some seconds on a busy machine.
HEAVY_CHUNK: Final = 5

#: What else is seen of a fault, by the primary's user.
SEEN: Final[dict[Cell, str]] = {
    **{(state, "reply twice"): "first" for state in STATES[2:]},
    ("active", "never answers"): "TooSlowError",
    ("stopping", "never answers"): "PeerClosed",
    ("closing", "never answers"): "PeerClosed",
    ("active", "wrong-kind descriptors"): "[AWP-HA-2] declared tcp-socket, but it is pipe-read",
    ("stopping", "wrong-kind descriptors"): "[AWP-HA-2] declared tcp-socket, but it is pipe-read",
}


def _chunks() -> dict[Cell, tuple[Cell, ...]]:
    """Who is played with whom in one primary: those that wait all at once, the others in turn."""
    slow = [cell for cell in PLAYED if isinstance(TABLE[cell], Ends)]
    heavy = [cell for cell in PLAYED if cell not in slow and cell[1].startswith(("floods", "mem"))]
    quick = [cell for cell in PLAYED if cell not in slow and cell not in heavy]
    chunks = [slow, *_cut(heavy, HEAVY_CHUNK), *_cut(quick, CHUNK)]
    return {cell: chunk for chunk in map(tuple, chunks) for cell in chunk}


def _cut(cells: list[Cell], size: int) -> list[list[Cell]]:
    return [cells[begin : begin + size] for begin in range(0, len(cells), size)]


CHUNKS: Final = _chunks()


@functools.cache
def _play(cells: tuple[Cell, ...]) -> dict[Cell, Result]:
    """Play some cells in a primary of their own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.stage"],
        input="".join(f"{state}\t{fault}\n" for state, fault in cells),
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        # Not measured: that takes several times as long, and memory is what this is about.
        env={name: text for name, text in os.environ.items() if not name.startswith("COVERAGE")},
        timeout=100,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    results = map(json.loads, done.stdout.splitlines())
    return {(result["state"], result["fault"]): result for result in results}


# ---- the table itself --------------------------------------------------------------------------


def test_every_cell_is_filled() -> None:
    assert {(state, fault) for state in STATES for fault in FAULTS} == set(TABLE)
    assert set(FAULTS) == {*COMMITTED, *VECTORS}
    for cell, outcome in TABLE.items():
        if isinstance(outcome, Absent):
            assert outcome.why, cell
        else:
            assert outcome.requirement in REQUIREMENTS, cell


def test_every_vector_that_a_worker_can_say_is_said() -> None:
    """None is left out but for a reason that names it."""
    for name in VECTORS:
        outcomes = [TABLE[state, name] for state in STATES]
        played = [one for one in outcomes if not isinstance(one, Absent)]
        whys = {one.why for one in outcomes if isinstance(one, Absent)}
        assert 1 == len(played) or (not played and 1 == len(whys)), name


# ---- the cells ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", PLAYED, ids=lambda cell: f"{cell[0]}, {cell[1]}")
def test_cell(cell: Cell) -> None:
    outcome, result = TABLE[cell], _play(CHUNKS[cell])[cell]
    errors = result["errors"]
    if isinstance(outcome, Breaks):
        assert [*outcome.after, outcome.error] == [error[0] for error in errors]
        assert "protocol" == result["reason"]
        if outcome.error == "RemoteProtocolError":
            _, requirement, code, _ = errors[-1]
            assert requirement in (outcome.requirement, *outcome.or_requirement)
            assert AbortCode[outcome.code] == code
    else:
        assert [] == errors
        assert (outcome.reason if isinstance(outcome, Ends) else "shutdown") == result["reason"]
    if cell in SEEN:
        assert SEEN[cell] == result["seen"]
    _left_no_trace(result)


def _left_no_trace(result: Result) -> None:
    assert result["is_gone"]
    assert result["served"] > 0
    assert result["waited"] < WAIT
    assert (0, 0) == (result["descriptors"], result["tasks"])
    assert result["memory"] < MEMORY
