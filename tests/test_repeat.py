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


NOTES_ITS_ORDER = """
import pathlib, pytest

@pytest.mark.parametrize("number", range(8))
def test_order(number):
    with pathlib.Path(__file__).with_name("order").open("a") as file:
        file.write(str(number))
"""


def test_each_run_has_an_order_of_its_own_that_can_be_had_again(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest((ROOT / "tests/conftest.py").read_text())
    path = pytester.makepyfile(NOTES_ITS_ORDER)
    repeat = (sys.executable, "-m", "tests.repeat", "-n", "2", "--shuffle", path)
    assert 0 == pytester.run(*repeat).ret
    assert 0 == pytester.run(sys.executable, "-m", "pytest", "--shuffle=2", path).ret
    orders = re.findall(".{8}", (pytester.path / "order").read_text())
    assert ["01234567"] * 3 == ["".join(sorted(order)) for order in orders]
    assert orders[0] not in ("01234567", orders[1])
    assert orders[1] == orders[2]
