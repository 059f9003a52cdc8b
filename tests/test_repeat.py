"""``python -m tests.repeat`` counts runs and failures truthfully."""

from __future__ import annotations

import re
import sys

import pytest

from tests.nested import ROOT

FAILS_EVERY_SECOND_TIME = """
import pathlib

def test_flaky():
    count = pathlib.Path(__file__).with_name("count")
    count.write_text(str(int(count.read_text()) + 1))
    assert int(count.read_text()) % 2
"""


@pytest.mark.parametrize(("runs", "failures"), [(1, 0), (2, 1)])
def test_runs_and_failures_are_counted(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, runs: int, failures: int
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    path = pytester.makepyfile(FAILS_EVERY_SECOND_TIME)
    (pytester.path / "count").write_text("0")
    result = pytester.run(
        sys.executable, "-m", "tests.repeat", "-n", str(runs), path, "-p", "no:trio"
    )
    assert min(failures, 1) == result.ret
    assert re.fullmatch(rf"runs={runs} failures={failures} seconds=\d+\.\d", result.outlines[-1])
    assert (failures > 0) == ("assert (2 % 2)" in result.stdout.str())
