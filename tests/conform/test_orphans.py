"""Nothing of a program outlives its case, however it has tried to get away."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from actorcluster.conform import Outcome, orphans
from actorcluster.conform.orphans import MARK, open_orphanage
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


async def test_two_programs_end_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one of them has left is reaped by one only, whose number might be a stranger's then."""
    reap, goes_on = orphans._reap, trio.Event()

    async def reap_later(pid: int) -> None:
        await goes_on.wait()
        await reap(pid)

    monkeypatch.setattr(orphans, "_reap", reap_later)
    mine, other = -1, -2  # nobody has these numbers
    with open_orphanage() as orphanage, contextlib.ExitStack() as stack:
        orphanage.enter(mine, "mine", "this")
        orphanage.enter(other, "other", "that")
        for _ in range(2):
            left = subprocess.Popen(["sleep", "60"], env=os.environ | {MARK: "mine"})
            stack.enter_context(left)
            while not orphans._has(left.pid, f"{MARK}=mine"):  # it is in the middle of its exec
                await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(orphanage.leave, mine)
            await trio.testing.wait_all_tasks_blocked()
            os.waitid(os.P_PID, left.pid, os.WEXITED | os.WNOWAIT)
            await orphanage.leave(other)
            goes_on.set()
        assert {"this": 2} == orphanage.left
        assert [] == [one for one in orphans._children() if one.pid == left.pid]
