"""Nothing of a program outlives its case, however it has tried to get away."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

from actorcluster.conform import Outcome
from actorcluster.conform.orphans import open_orphanage
from actorcluster.conform.process import Program
from tests.conform.kit import tried

PR_GET_CHILD_SUBREAPER = 37
#: That a program leaves processes behind breaks no sentence.
PLAYED = ("hs.hello", "pi.empty", "pi.large")


def is_subreaper() -> bool:
    found = ctypes.c_int()
    ctypes.CDLL(None).prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(found))
    return bool(found.value)


def test_daemons_are_ended_and_reported(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    report = tried([sys.executable, "-m", "tests.conform.daemons", str(note)], only=PLAYED, jobs=2)
    pids = note.read_text().split()
    assert [] == [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
    assert 9 == len(pids)
    assert 9 == sum(report.left.values())
    assert set(PLAYED) == set(report.left)
    assert 3 == report.left["hs.hello"]  # of the others, who runs side by side, not all can be told
    assert [Outcome.PASS] * len(PLAYED) == [one.outcome for one in report.results]
    (line,) = (line for line in report.lines() if "left processes behind" in line)
    assert line.startswith("info ")
    assert line.endswith(f"9 in 3 cases, which were ended: {', '.join(report.left)}")
    assert not is_subreaper()


async def test_children_of_others_are_left_alone() -> None:
    """Who was there before is none of the kit's business; who comes behind a program's back, is."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as other:
        with open_orphanage() as orphanage:
            assert is_subreaper()
            program = Program(["true"], {})
            await program.close()
            assert {} == orphanage.left
        assert not is_subreaper()
        assert other.poll() is None
        other.kill()
